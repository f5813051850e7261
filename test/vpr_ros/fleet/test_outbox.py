"""What a robot sends: only what the map does not know, only where the robot was sure, with poses of the map."""

from __future__ import annotations

import dataclasses
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.keyframes import KNOWN, UNSURE, Keyframe
from vpr_ros.fleet.lake import Head
from vpr_ros.fleet.outbox import GrowingOutbox, collect
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import MapModel, PlaceMap, session_world

LENGTH = 150.0


@pytest.fixture
def street(tmp_path, describer, painted_drive) -> Path:
    path = tmp_path / "street.vprmap"
    build_map(path, [painted_drive(length=LENGTH)], describer).close()
    return path


@pytest.fixture
def localizer(street):
    with Localizer.open(street, backend="onnx", threads=1) as opened:
        yield opened


def only(outbox: Path) -> PlaceMap:
    (path,) = outbox.glob("*.vprmap")
    return PlaceMap.open(path)


def test_what_the_map_knows_stays_at_home_but_for_anchors(localizer, tmp_path, painted_drive):
    """The same street in the same light: one keyframe in ten goes, to check the poses by."""
    tally = Tally()
    count = collect(localizer, painted_drive(name="again", length=LENGTH, start=1.0), tmp_path / "outbox", tally)
    assert tally.count(KNOWN) + tally.count(UNSURE) + count == 30 and tally.count(UNSURE) <= 2  # the first images
    assert count == 30 / OUTBOX.anchor_every


def test_the_vocabulary_stays_at_home(tmp_path, painted_drive):
    """The lake has it, by its fingerprint: 7 MB with every few keyframes would be most of what a robot sends."""
    path = tmp_path / "own.vprmap"
    with build_map(path, [painted_drive(length=LENGTH)], open_describer("demixvpr_lite0", "onnx", 1)) as made:
        head = Head.of(made)
    with Localizer.open(path, backend="onnx", threads=1) as opened:
        drive = painted_drive(name="again", length=LENGTH, start=1.0)
        assert collect(opened, drive, tmp_path / "outbox")
    with only(tmp_path / "outbox") as sent:
        assert head.model["vocabulary"] and Head.of(sent) == head
        assert sent.path.stat().st_size < 1e6 < path.stat().st_size


def test_another_look_of_a_street_is_sent_once_the_robot_is_sure(localizer, tmp_path, painted_drive):
    """With poses, views and pictures as the map has them; the unsure start before is not guessed at."""
    tally = Tally()
    drive = painted_drive(name="fog", length=LENGTH, start=1.0, noise=60.0)
    count = collect(localizer, drive, tmp_path / "outbox", tally)
    assert count >= 10 and tally.count(UNSURE) >= OUTBOX.least_pass
    truth = {frame.stamp_ns: frame.T_map_camera for frame in drive}
    with only(tmp_path / "outbox") as sent:
        assert sent.model == localizer.place_map.model and sent.drive_names() == ["fog"]
        for stamp_ns, T in zip(sent.places.stamps_ns, sent.places.T_map_camera, strict=True):
            np.testing.assert_allclose(T, localizer.place_map.map_pose(truth[int(stamp_ns)]), atol=1e-9)
        assert all(sent.thumbnail(place_id) for place_id in sent.places.ids)
    before = next((tmp_path / "outbox").glob("*.vprmap")).read_bytes()
    assert collect(localizer, drive, tmp_path / "outbox") == count  # waits already
    assert next((tmp_path / "outbox").glob("*.vprmap")).read_bytes() == before


def test_without_poses_the_localisers_are_sent(localizer, tmp_path, painted_drive):
    """Most robots of a fleet have nothing better."""

    class Unposed(painted_drive):  # type: ignore[misc]
        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, T_map_camera=None)

    drive = Unposed(name="unposed", world="", length=LENGTH, start=1.0, noise=40.0)
    assert collect(localizer, drive, tmp_path / "outbox") >= 10
    with only(tmp_path / "outbox") as sent:
        seconds = (sent.places.stamps_ns - 10**9) / 1e9
        assert np.median(np.abs(sent.places.positions[:, 0] - (1.0 + 5.0 * seconds))) < 6.0


def test_a_robot_that_is_lost_sends_nothing(localizer, tmp_path, painted_drive):
    """Walls that the map does not have."""
    tally = Tally()
    drive = painted_drive(name="elsewhere", length=LENGTH, start=5000.0)
    assert collect(localizer, drive, tmp_path / "outbox", tally) == 0
    assert tally.count(UNSURE) == 30 and not list((tmp_path / "outbox").glob("*"))
    with pytest.raises(DriveError, match="lies in world 'mars'"):
        collect(localizer, painted_drive(world="mars"), tmp_path / "outbox")


def keyframe(number: int) -> Keyframe:
    """A keyframe of the map that ``make_map`` makes."""
    return Keyframe(number, np.eye(4), np.eye(4, dtype=np.float32)[:1], b"jpeg")


def stamps(outbox: Path) -> list[int]:
    """Of all keyframes that are ready to be sent. Each file is opened, and so is whole."""
    found: list[int] = []
    for path in outbox.glob("*.vprmap"):
        with PlaceMap.open(path) as place_map:
            place_map.check_intact()
            found += place_map.places.stamps_ns.tolist()
    return sorted(found)


_FILL = """
import sys
from pathlib import Path
import numpy as np
from vpr_ros.fleet.keyframes import Keyframe
from vpr_ros.fleet.outbox import GrowingOutbox
from vpr_ros.maps.place_map import PlaceMap
with PlaceMap.open(Path(sys.argv[1])) as place_map:
    outbox = GrowingOutbox(Path(sys.argv[2]), place_map, 1e9)
first = int(sys.argv[3])
print("ready", flush=True)
for number in range(first, first + 1_000_000):
    outbox.add(Keyframe(number, np.eye(4), np.eye(4, dtype=np.float32)[:1], b"jpeg"), "drive")
    print(number, flush=True)
"""


def test_kills_lose_no_keyframe_that_was_stored(make_map: Callable[..., PlaceMap], tmp_path: Path) -> None:
    """kill -9 at any moment, also while a file is finished: what was stored is there once the node starts again."""
    rng, outbox = random.Random(5), tmp_path / "outbox"
    make_map("town.vprmap", [("monday", 1, 0.0, 0.0)]).close()
    confirmed: set[int] = set()
    for round_ in range(4):
        command = [sys.executable, "-c", _FILL, str(tmp_path / "town.vprmap"), str(outbox), str(1_000_000 * round_)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.2, 1.0))
        process.send_signal(signal.SIGKILL)
        confirmed |= {int(line) for line in process.communicate()[0].splitlines()}
        stamps(outbox)
    with PlaceMap.open(tmp_path / "town.vprmap") as place_map:
        GrowingOutbox(outbox, place_map, 1e9).close()
    found = stamps(outbox)
    assert len(confirmed) > 20 and confirmed <= set(found) and len(found) == len(set(found))
    assert len(found) <= len(confirmed) + 4, "one that was not confirmed yet for each kill"


def test_keyframes_are_ready_when_there_are_enough_or_the_robot_rests(
    make_map: Callable[..., PlaceMap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push finds what was driven, although the node runs on."""
    outbox = tmp_path / "outbox"
    with make_map("town.vprmap", [("monday", 1, 0.0, 0.0)]) as place_map:
        growing = GrowingOutbox(outbox, place_map, 1e9)
    for number in range(OUTBOX.together + 3):
        assert growing.add(keyframe(number), "drive")
    assert len(stamps(outbox)) == OUTBOX.together
    growing.on_timer()
    assert len(stamps(outbox)) == OUTBOX.together
    later = time.monotonic() + OUTBOX.rest_s + 1.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    growing.on_timer()
    growing.close()
    assert stamps(outbox) == list(range(OUTBOX.together + 3))
    assert {path.suffix for path in outbox.iterdir()} == {".vprmap", ".lock"}


def test_a_damaged_file_is_put_aside(make_map: Callable[..., PlaceMap], tmp_path: Path) -> None:
    """A disk that failed must not keep the robot from its next drive."""
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "growing").write_bytes(b"zeros" * 1000)
    with make_map("town.vprmap", [("monday", 1, 0.0, 0.0)]) as place_map:
        growing = GrowingOutbox(tmp_path / "outbox", place_map, 1e9)
        assert growing.add(keyframe(1), "drive")
        growing.close()
    assert stamps(tmp_path / "outbox") == [1] and (tmp_path / "outbox" / "damaged").exists()


def test_poses_that_are_raw_odometry_are_refused(tmp_path: Path) -> None:
    """They drift: no release could use them, and the operator hears it at once."""
    model = MapModel("by hand", "f" * 64, 4, Preprocessing(8, 8))
    made = PlaceMap.create(tmp_path / "m.vprmap", model, session_world("monday"), is_odometry=True)
    with made, pytest.raises(MapError, match="raw odometry"):
        GrowingOutbox(tmp_path / "outbox", made, 1e9)


@pytest.mark.parametrize("whole", [False, True])
def test_an_outbox_that_somebody_removes_is_made_again(
    make_map: Callable[..., PlaceMap], tmp_path: Path, whole: bool
) -> None:
    """Of the file or the folder: the node stored nothing more until it was started again."""
    outbox = tmp_path / "outbox"
    with make_map("town.vprmap", [("monday", 1, 0.0, 0.0)]) as place_map:
        growing = GrowingOutbox(outbox, place_map, 1e9)
    assert growing.add(keyframe(0), "drive")
    if whole:
        shutil.rmtree(outbox)
    else:
        for path in outbox.glob("growing*"):
            path.unlink()
    with suppress(MapError):  # of the file that is gone
        growing.add(keyframe(1), "drive")
    assert growing.add(keyframe(2), "drive")
    growing.close()
    assert 2 in stamps(outbox)


def test_an_outbox_that_is_made_again_is_still_one_node_s(make_map: Callable[..., PlaceMap], tmp_path: Path) -> None:
    """Its lock went with the folder: another node, and a push, took the file that the first one was writing."""
    outbox = tmp_path / "outbox"
    with make_map("town.vprmap", [("monday", 1, 0.0, 0.0)]) as place_map:
        growing = GrowingOutbox(outbox, place_map, 1e9)
        shutil.rmtree(outbox)
        assert growing.add(keyframe(0), "drive")
        with pytest.raises(MapError, match="another process fills"):
            GrowingOutbox(outbox, place_map, 1e9)
    growing.close()
    assert stamps(outbox) == [0]
