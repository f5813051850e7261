"""Drive formats of other packages: registered by entry points, used like this package's own."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from packages import install

from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.drives import open as opening
from vpr_ros.drives.formats import OWN, all_formats
from vpr_ros.drives.open import DriveOptions, open_drive, open_drives

# A recording is a folder with a file stripes.txt: an image every metre along x, each of one grey.
STRIPES = """
from dataclasses import dataclass
from functools import partial
import numpy as np
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.formats import Format
from vpr_ros.drives.options import DriveOptions

@dataclass(frozen=True)
class StripesOptions(DriveOptions):
    spacing_m: float = 1.0
    lens: str = ""

class StripesDrive:
    def __init__(self, path, options):
        self.path, self.name, self.world, self.options = path, path.name, "local", options
        self.greys = [int(line) for line in (path / "stripes.txt").read_text().split()]

    def __len__(self):
        return len(self.greys)

    def __iter__(self):
        for i, grey in enumerate(self.greys):
            T = np.eye(4)
            T[0, 3] = i * self.options.spacing_m
            yield DriveFrame(i * 10**9, partial(np.full, (48, 64, 3), grey, np.uint8), T)

FORMAT = Format("a stripes recording", lambda path: (path / "stripes.txt").is_file(), StripesDrive, StripesOptions)
"""


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of a format that an installed package registers. It holds an image too, as a plain folder would."""
    install(tmp_path / "stripes_pkg", monkeypatch, "vpr.drives", {"stripes": "stripes_fmt:FORMAT"}, stripes_fmt=STRIPES)
    recording = tmp_path / "garden"
    recording.mkdir()
    (recording / "stripes.txt").write_text("10\n20\n30\n")
    cv2.imwrite(str(recording / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    yield recording
    sys.modules.pop("stripes_fmt", None)


def folder_of_images(path: Path) -> Path:
    path.mkdir()
    cv2.imwrite(str(path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    return path


def test_a_registered_format_is_recognised_before_the_general_ones(stripes: Path, tmp_path: Path) -> None:
    """Any folder of images is a drive for this package; a format that knows the recording must be asked before."""
    drive, plain = open_drives([stripes, folder_of_images(tmp_path / "walk")])
    assert (drive.name, drive.world, len(drive)) == ("garden", "local", 3)
    assert [int(frame.read()[0, 0, 0]) for frame in drive] == [10, 20, 30]
    assert (plain.name, len(plain)) == ("walk", 1)


def test_a_registered_format_has_options_of_its_own(stripes: Path) -> None:
    """They are read like the built-in ones: by type, text fields as text; and those of every drive still count."""
    drive = open_drive(stripes, {"spacing_m": "2.5", "lens": "8", "name": "backyard", "world": "campus"})
    assert [frame.T_map_camera[0, 3] for frame in drive] == [0, 2.5, 5]
    assert (drive.options.lens, drive.name, drive.world) == ("8", "backyard", "campus")
    assert open_drive(stripes, DriveOptions(name="backyard")).options.spacing_m == 1.0
    with pytest.raises(ConfigError, match="--drive-option: unknown parameter 'spacing'; did you mean 'spacing_m'"):
        open_drive(stripes, {"spacing": "2"})
    with pytest.raises(ConfigError, match="--drive-option: spacing_m is 'wide'; expected float"):
        open_drive(stripes, {"spacing_m": "wide"})


def test_options_of_one_format_are_unknown_to_another(stripes: Path, tmp_path: Path) -> None:
    """An option that has no effect would mislead."""
    with pytest.raises(ConfigError, match="--drive-option: unknown parameter 'spacing_m'"):
        open_drive(folder_of_images(tmp_path / "walk"), {"spacing_m": "2"})


def test_a_map_is_built_from_a_registered_format(
    stripes: Path, tmp_path: Path, vpr: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """What one registration gives: the command line with the format's own options."""
    command = f"map build {stripes} -o {tmp_path / 'm.vprmap'} --backend onnx --views 1 -d spacing_m=10"
    assert vpr(*command.split()) == 0
    assert "3 places of 1 drive(s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unimportable", "import a_package_that_is_not_there"),
        ("failing", "raise RuntimeError('broken on import')"),
        ("nameless", "OTHER = 1"),
        ("wrong", "FORMAT = 'a string'"),
        (
            "crashing",
            "from vpr_ros.drives.formats import Format\nFORMAT = Format('x', lambda path: 1 / 0, lambda p, o: None)",
        ),
    ],
)
def test_a_broken_format_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, source: str
) -> None:
    """Somebody else's package must cost one warning, not the robot's drives."""
    entries = {name: f"{name}_fmt:FORMAT"}
    install(tmp_path / f"{name}_pkg", monkeypatch, "vpr.drives", entries, **{f"{name}_fmt": source})
    folder = folder_of_images(tmp_path / "walk")
    with caplog.at_level(logging.WARNING):
        assert len(open_drive(folder)) == 1
    assert [f"drive format '{name}'" in message for message in caplog.messages] == [True]


def test_what_is_no_drive_is_answered_with_every_format(stripes: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DriveError, match="is not a drive of a known format: give a stripes recording, a ROS bag, "):
        open_drive(tmp_path / "notes.txt")


FAILING = """
import numpy as np
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.formats import Format

def read():
    raise KeyError("left_eye")

class Drive:
    name, world = "walk", "local"

    def __init__(self, path, options):
        self.when = (path / "fails.txt").read_text().strip()
        if self.when == "open":
            raise IndexError("no header")

    def __len__(self):
        return 1

    def __iter__(self):
        yield DriveFrame(0, read if self.when == "read" else lambda: np.zeros((8, 8, 3), np.uint8), np.eye(4))
        if self.when == "iterate":
            raise ZeroDivisionError("stamps")

FORMAT = Format("a failing recording", lambda path: (path / "fails.txt").is_file(), Drive)
"""


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ("open", "IndexError: no header"),
        ("iterate", "ZeroDivisionError: stamps"),
        ("read", "KeyError: 'left_eye'"),
    ],
)
def test_faults_of_a_registered_format_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, fault: str
) -> None:
    """A traceback through this package's code sent its users to the wrong authors."""
    install(tmp_path / "failing_pkg", monkeypatch, "vpr.drives", {"failing": "fails_fmt:FORMAT"}, fails_fmt=FAILING)
    (tmp_path / "fails.txt").write_text(when)
    with pytest.raises(DriveError) as raised:
        [frame.read() for frame in open_drive(tmp_path)]
    assert str(raised.value) == f"drive format 'failing' failed on {tmp_path}: {fault}"
    sys.modules.pop("fails_fmt", None)


YIELDING = """
import numpy as np
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.formats import Format

IMAGE = np.zeros((8, 8, 3), np.uint8)

class Drive:
    name, world = "walk", "local"

    def __init__(self, path, options):
        self.what = (path / "yields.txt").read_text()

    def __len__(self):
        return 1

    def __iter__(self):
        yielded = eval(self.what, {"np": np, "I": np.eye(4), "IMAGE": IMAGE})
        if not isinstance(yielded, tuple):
            yield yielded
            return
        stamp, pose, image, *depth = yielded
        yield DriveFrame(stamp, lambda: image, pose, read_depth=(lambda: depth[0]) if depth else None)

FORMAT = Format("a recording", lambda path: (path / "yields.txt").is_file(), Drive)
"""


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("0, I, IMAGE", ""),
        ("np.int64(0), None, IMAGE", ""),
        ("0, I.tolist(), IMAGE", "T_map_camera at stamp 0 is a list; give a \\(4, 4\\) array"),
        ("0, np.zeros(7), IMAGE", "T_map_camera at stamp 0 is of shape \\(7,\\)"),
        ("0, np.zeros((4, 4)), IMAGE", "a rotation, a translation in metres"),
        ("0, I[:3], IMAGE", "of shape \\(3, 4\\)"),
        ("0, np.full((4, 4), np.nan), IMAGE", "finite floats"),
        ("0.5, I, IMAGE", "stamp_ns is 0.5; give integer nanoseconds"),
        ("0, I, IMAGE[..., 0]", "an image is uint8 of shape \\(8, 8\\); give an \\(H, W, 3\\) array of uint8"),
        ("0, I, IMAGE.astype(float)", "an image is float64 of shape"),
        ("0, I, IMAGE[:0]", "an image is uint8 of shape \\(0, 8, 3\\)"),
        ("'a frame'", "a frame is str; give a DriveFrame"),
        ("0, I, IMAGE, np.ones(8)", "depth is float64 of shape \\(8,\\); give an \\(H, W\\) array of floats"),
        ("0, I, IMAGE, np.full((8, 8), 1500, np.uint16)", "depth is uint16 of shape"),
    ],
)
def test_what_a_registered_format_yields_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, fault: str
) -> None:
    """A list for a pose was a traceback in the map builder, a zero matrix gave a map of one place without a word."""
    install(tmp_path / "yield_pkg", monkeypatch, "vpr.drives", {"yielding": "yields_fmt:FORMAT"}, yields_fmt=YIELDING)
    (tmp_path / "yields.txt").write_text(what)
    drive = open_drive(tmp_path)
    if fault:
        with pytest.raises(DriveError, match=f"drive format 'yielding' failed on {tmp_path}: .*{fault}"):
            [(frame.read(), frame.read_depth and frame.read_depth()) for frame in drive]
    else:
        assert [frame.read().shape for frame in drive] == [(8, 8, 3)]
    sys.modules.pop("yields_fmt", None)


READS = {  # the modules of a format that read its options
    "bag": ("bag", "bag_poses"),
    "robotcar": ("robotcar",),
    "kitti": ("kitti",),
    "euroc": ("euroc",),
    "utm_folder": ("utm_folder",),
    "folder": ("folder",),
}


def test_each_format_says_which_options_it_takes() -> None:
    """An option that is missing there would be refused though it is read; another would be taken and do nothing."""
    assert set(READS) == set(OWN)
    properties = {"mount": "T_base_camera", "max_pose_gap_ns": "max_pose_gap_s"}
    for name, modules in READS.items():
        texts = [Path(opening.__file__).with_name(f"{module}.py").read_text() for module in modules]
        read = {found for text in texts for found in re.findall(r"options\.([a-zA-Z_]+)", text)} - {"world"}
        assert {properties.get(one, one) for one in read} == set(all_formats()[name].takes), name


def test_options_that_do_nothing_are_refused(tmp_path: Path) -> None:
    """A camera's topic, given for a folder of images, was taken without a word."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DriveError, match=r"camera is of no use for a folder .*: leave camera and depth out"):
        open_drive(tmp_path, {"camera": "left", "depth": "false", "world": "campus"})
    with pytest.raises(DriveError, match="image_topic is of no use"):
        open_drives([tmp_path], {"image_topic": "/front"})
    bag = Path(__file__).parents[3] / "demo" / "bags" / "sun"
    with pytest.raises(DriveError, match=r"/front"):  # one of the two uses it
        open_drives([tmp_path, bag], {"image_topic": "/front"})
