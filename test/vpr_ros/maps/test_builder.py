"""From drives to a map with the shipped network: what users do first, and what must not go wrong twice."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, ImageError, MapError
from vpr_ros.base.image import preprocess
from vpr_ros.base.tally import Tally
from vpr_ros.drives.left_out import UNREADABLE
from vpr_ros.inference.describer import check_description
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import describe_drive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import add_drive, build_map, coarser
from vpr_ros.maps.editor import store_otherwise
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.storage import Storage


@pytest.fixture
def street(tmp_path, describer, painted_drive) -> PlaceMap:
    return build_map(tmp_path / "street.vprmap", [painted_drive()], describer)


def test_a_drive_finds_itself(street, describer, painted_drive):
    """The whole chain: images in, a map out, and the same street with noise is recognised on it."""
    assert len(street) == 24
    localizer = Localizer(street.places, describer)
    errors = [
        abs(localizer.localize(frame.load()).matches[0].T_map_camera[0, 3] - frame.T_map_camera[0, 3])
        for frame in painted_drive(start=1.0, noise=10.0)
    ]
    assert np.mean(np.array(errors) < 10) > 0.8


def test_adding_again_changes_nothing_and_more_goes_on(street, describer, painted_drive):
    """A killed build is continued with the same command: places that are there stay, the rest comes."""
    assert add_drive(street, painted_drive(), describer).new == 0
    assert add_drive(street, painted_drive(length=150.0), describer).new == 6
    assert add_drive(street, painted_drive(name="again", start=2.0), describer).new == 24
    assert map_info(street)["drives"] == {"again": 24, "painted": 30}


def test_what_a_continued_build_leaves_out_is_counted_in_full(tmp_path, describer, painted_drive):
    """Second images of stamps whose first was stored before a kill were counted as places that are there."""

    class Twice(painted_drive):  # type: ignore[misc]
        def __iter__(self):
            for frame in super().__iter__():
                yield frame
                yield frame

    whole, again = Tally(), Tally()
    with build_map(tmp_path / "m.vprmap", [Twice(length=60.0)], describer, every_m=0.0, tally=whole) as made:
        count = len(made)
        added = add_drive(made, Twice(length=60.0), describer, every_m=0.0, tally=again)
    assert added.new == 0 and added.there == count
    assert again.lines() == whole.lines() and f"{count} image(s) left out" in whole.lines()[0]


def test_an_image_without_a_descriptor_is_left_out_and_counted(tmp_path, describer, painted_drive):
    """Some networks divide by zero on a plain image: the build ended, and did not say which one it was.

    The last image is in a group of its own.
    """

    class Divides:
        """A describer that has no number for one image, and, later, for none."""

        manifest, batch_sizes, always = describer.manifest, describer.batch_sizes, False

        def describe(self, images):
            description = describer.describe(images)
            numbers = description.descriptors.copy()
            numbers[[self.always or np.array_equal(image, plain) for image in images]] = np.nan
            found = dataclasses.replace(description, descriptors=numbers)
            check_description(found, self.manifest, len(images))
            return found

    drive = painted_drive(length=5.0 * (max(describer.batch_sizes) + 1))
    for bad in (3, len(drive) - 1):
        plain = preprocess(list(drive)[bad].read(), describer.manifest.preprocessing)
        divides, tally, path = Divides(), Tally(), tmp_path / f"{bad}.vprmap"
        with build_map(path, [drive], divides, tally=tally, views_each=1) as place_map:
            assert len(place_map) == len(drive) - 1
        assert tally.count(UNREADABLE) == 1 and f"stamp {bad + 1}000000000: the model" in tally.example(UNREADABLE)
    divides.always = True
    with pytest.raises(DriveError, match=r"no image of drive painted can be used: .* makes no descriptor of 1 of 1"):
        build_map(tmp_path / "n.vprmap", [painted_drive()], divides, views_each=1)


def test_nobody_else_writes_while_a_map_is_built(tmp_path, describer, painted_drive):
    """Upgrading a map that was being built replaced its file, and the build died; two builds spoilt each other's."""
    path, other = tmp_path / "town.vprmap", painted_drive(name="other", length=20.0)
    refused = 0

    class Meddled:
        """A drive during which others try to write to the map."""

        def __init__(self) -> None:
            self._drive = painted_drive(length=60.0)
            self.name, self.world = self._drive.name, self._drive.world

        def __len__(self) -> int:
            return len(self._drive)

        def __iter__(self):
            nonlocal refused
            for number, frame in enumerate(self._drive):
                if number == 3:
                    for meddle in (
                        lambda: store_otherwise(path, Storage("float16")),
                        lambda: build_map(path, [other], describer, resume=True),
                    ):
                        with pytest.raises(MapError, match="another process adds to"):
                            meddle()
                        refused += 1
                yield frame

    with build_map(path, [Meddled()], describer) as made:
        assert refused == 2 and len(made) == 12 and made.drive_names() == ["painted"]
    store_otherwise(path, Storage("float16")).close()
    assert not list(tmp_path.glob("*.lock"))


def test_sampling_by_distance(tmp_path, describer, painted_drive):
    with build_map(tmp_path / "a.vprmap", [painted_drive(every=2.0)], describer, every_m=10.0) as place_map:
        assert place_map.places.spacing == pytest.approx(10.0)


def test_progress_reaches_the_total(tmp_path, describer, painted_drive):
    seen: list[tuple[int, int]] = []
    build_map(tmp_path / "a.vprmap", [painted_drive()], describer, on_progress=lambda *p: seen.append(p)).close()
    assert seen[-1] == (24, 24)


def test_utm_coordinates_are_made_small(tmp_path, describer, painted_drive):
    """Large coordinates get an origin; the truth of a later drive is moved by the same."""

    class Utm(painted_drive):  # type: ignore[misc]
        def pose(self, along):
            T = super().pose(along)
            T[:3, 3] += [620084.0, 5735712.0, 100.0]
            return T

    with build_map(tmp_path / "utm.vprmap", [Utm()], describer) as place_map:
        assert place_map.origin.tolist() == [620100.0, 5735700.0, 0.0]
        assert np.abs(place_map.places.positions[:, :2]).max() < 200
        assert place_map.map_pose(Utm().pose(5.0)) == pytest.approx(place_map.places.T_map_camera[1])


def test_what_cannot_be_a_map_is_refused(tmp_path, street, describer, painted_drive):
    class Unposed(painted_drive):  # type: ignore[misc]
        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, T_map_camera=None)

    with pytest.raises(DriveError, match="--numbered"):
        build_map(tmp_path / "x.vprmap", [Unposed()], describer)
    assert not (tmp_path / "x.vprmap").exists()
    with pytest.raises(
        DriveError, match="share a map; if its poses are in that frame, say so with -d world='painted street'"
    ):
        add_drive(street, painted_drive(world="elsewhere"), describer)
    zones = [painted_drive(world=f"utm {zone} north") for zone in (31, 32)]
    with pytest.raises(DriveError, match=r"to its zone with -d world='utm 31 north'$"):
        build_map(tmp_path / "x.vprmap", zones, describer)
    unposed = Unposed(world="")  # as of a live bag, replayed on the map: it lies in no other world
    street.check_world(unposed.name, unposed.world)
    with pytest.raises(DriveError, match="has no poses"):
        add_drive(street, unposed, describer)
    with pytest.raises(DriveError, match="no drive given"):
        build_map(tmp_path / "x.vprmap", [], describer)


def test_calibration_on_a_held_out_drive(street, describer, painted_drive):
    """Fitting names its source and keeps probabilities honest enough to localise."""
    described = describe_drive(painted_drive(name="held out", start=1.5, noise=20.0), street, describer)
    street.set_calibration(fit(street.places, describer, [described]).calibration)
    assert street.calibration.source == "held out"
    localizer = Localizer(street.places, describer, calibration=street.calibration)
    answers = [localizer.localize(frame.load()) for frame in painted_drive(start=0.7, noise=20.0)]
    assert np.mean([answer.best is not None for answer in answers[3:]]) > 0.8
    far = dataclasses.replace(described, T_map_camera=described.T_map_camera + np.eye(4)[:, 3:] @ [[0, 0, 0, 0.0]])
    far.T_map_camera[:, 0, 3] += 5000.0
    with pytest.raises(DriveError, match="calibrate with a drive on it"):
        fit(street.places, describer, [far])


def test_a_map_whose_poses_were_set_meanwhile_is_not_added_to_in_its_old_frame(street, describer, painted_drive):
    """`vpr map add` opens the map seconds before it writes; `vpr map set-poses` may move it in between."""
    with PlaceMap.open(street.path, writable=True) as other:
        places = other.places
        other.set_poses(places.ids, places.T_map_camera, "campus", np.zeros(3))
    with pytest.raises(DriveError, match=r"the map .* in 'campus'"):
        add_drive(street, painted_drive(name="more"), describer)


def test_a_damaged_map_is_not_added_to(street, describer, painted_drive):
    """Writing into a damaged file buries what could be saved: refuse first, change nothing."""
    street.close()
    content = bytearray(street.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20000] = np.random.default_rng(0).bytes(20000)
    street.path.write_bytes(content)
    with pytest.raises(MapError, match="corrupt"), PlaceMap.open(street.path, writable=True) as damaged:
        add_drive(damaged, painted_drive(name="more", start=2.0), describer)
    assert street.path.read_bytes() == bytes(content)


def test_a_bad_image_is_left_out_and_told(tmp_path, describer, painted_drive):
    """One broken file in an hour of driving must not cost the map."""

    class Broken(painted_drive):  # type: ignore[misc]
        def image(self, along):
            if along == 10.0:
                raise ImageError("frame 10 is truncated")
            return super().image(along)

    tally = Tally()
    with build_map(tmp_path / "a.vprmap", [Broken()], describer, tally=tally) as place_map:
        assert len(place_map) == 23
    assert tally.lines() == ["1 image(s) left out: they cannot be read or described (frame 10 is truncated)"]


def test_images_are_read_where_the_drive_is_iterated_and_only_if_they_are_needed(tmp_path, describer, painted_drive):
    """A renderer's OpenGL context belongs to one thread; and an image that sampling drops must not be decoded."""
    threads, read = set(), []

    class Watched(painted_drive):  # type: ignore[misc]
        def image(self, along):
            threads.add(threading.get_ident())
            read.append(along)
            return super().image(along)

    with build_map(tmp_path / "a.vprmap", [Watched(every=2.5)], describer, every_m=10.0) as place_map:
        assert threads == {threading.get_ident()}
        assert len(read) == len(place_map) == 12


def test_the_map_is_the_same_however_the_stations_are_timed(tmp_path, street, describer, painted_drive):
    """Threads hand images on in order: every place keeps its own pose, descriptor and thumbnail."""

    class Slow(painted_drive):  # type: ignore[misc]
        def image(self, along):
            time.sleep(0.02 * (along % 3))
            return super().image(along)

    with build_map(tmp_path / "slow.vprmap", [Slow()], describer) as slow:
        assert slow.places.stamps_ns.tolist() == street.places.stamps_ns.tolist()
        np.testing.assert_array_equal(slow.places.T_map_camera, street.places.T_map_camera)
        np.testing.assert_array_equal(slow.places.descriptors, street.places.descriptors)
        assert [slow.thumbnail(k) for k in slow.places.ids] == [street.thumbnail(k) for k in street.places.ids]


def test_images_that_any_thread_can_read_are_read_by_workers(tmp_path, street, describer, painted_drive):
    """Decoding must not keep the caller's thread from reading on; a bad image is still left out and told."""
    threads = set()

    class Detached(painted_drive):  # type: ignore[misc]
        def image(self, along):
            threads.add(threading.get_ident())
            if along == 10.0:
                raise ImageError("frame 10 is truncated")
            return super().image(along)

        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, detach=lambda read=frame.read: read)

    tally = Tally()
    with build_map(tmp_path / "a.vprmap", [Detached()], describer, tally=tally) as place_map:
        assert threading.get_ident() not in threads
        assert tally.lines() == ["1 image(s) left out: they cannot be read or described (frame 10 is truncated)"]
        kept = street.places.stamps_ns != 3_000_000_000
        np.testing.assert_array_equal(place_map.places.descriptors, street.places.descriptors[kept])


_BUILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import PaintedDrive
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map
build_map(Path({path!r}), [PaintedDrive(length=20000.0)], open_describer("demixvpr_mobilenet", "onnx", 2),
          on_progress=lambda done, total: print(done, flush=True))
"""


def test_a_killed_build_loses_only_what_was_in_flight(tmp_path, describer, painted_drive):
    """kill -9 in the middle: the map is whole, lacks at most what the stations held, and the same command goes on."""
    path = tmp_path / "killed.vprmap"
    code = _BUILD.format(tests=str(Path(__file__).parents[2]), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    read = next(done for done in map(int, process.stdout) if done >= 150)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with PlaceMap.open(path, writable=True) as killed:
        killed.check_intact()
        group = max(8, max(describer.batch_sizes) // 3)
        assert len(killed) >= read - 5 * group
        stamps = killed.places.stamps_ns.tolist()
        assert stamps == [1_000_000_000 * (1 + k) for k in range(len(stamps))]
        drive = painted_drive(length=5.0 * (len(stamps) + 4))
        assert add_drive(killed, drive, describer).new == 4


def test_a_drive_added_at_another_spacing_is_told(tmp_path, describer, painted_drive):
    """A build that was stopped at --every 2 went on at 5, with two spacings in one map. A facade is no dense street."""

    class Climbing(painted_drive):  # 5 m higher and 0.1 m further with each image
        def pose(self, along):
            return geometry.transform(geometry.R_BODY_OPTICAL, np.array([0.02 * along, 0.0, along]))

    for drive in (painted_drive(length=30.0), Climbing(length=30.0)):
        path = tmp_path / f"{type(drive).__name__}.vprmap"
        with build_map(path, [drive], describer, every_m=0.0, views_each=1) as place_map:
            assert coarser(place_map, 5.0) == ""
            assert "has a place every 5.0 m: --every 5.0 gives" in coarser(place_map, 20.0)
