"""A fleet's lake: no keyframe is lost or twice, whoever pushes at once or is killed, and nothing wrong is released."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.drives.bag import write_bag
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.editor import store_otherwise
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import Storage

lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed (pip install 'vpr_ros[fleet]')")

from vpr_ros.fleet.keyframes import Keyframe  # noqa: E402
from vpr_ros.fleet.lake import Lake  # noqa: E402
from vpr_ros.fleet.outbox import GrowingOutbox, send  # noqa: E402
from vpr_ros.fleet.release import first_release, joined, next_release, roll_back  # noqa: E402

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
WORLD = "utm 33 north"
ORIGIN = np.array([458_000.0, 5_550_000.0, 0.0])
SECOND = 10**9
CALIBRATED = Calibration(source="held out")


def along_street(first: float = 0.0, last: float = 400.0, every: float = 5.0) -> np.ndarray:
    return np.arange(first, last, every)


@pytest.fixture
def write(tmp_path, toy_world) -> Callable[..., Path]:
    """write(name, along) -> a map of the toy world's street at those metres.

    offset: of the poses, metres. places: metres at which the images were truly taken. noise: of the descriptors; 0.3
    looks like the place, 8 does not: another season.
    """

    def made(name: str, along: np.ndarray, offset: Any = (0.0, 0.0, 0.0), places: Any = None, noise: Any = 0.3,
             model: MapModel = MODEL, world: str = WORLD, folder: str = "") -> Path:  # fmt: skip
        path = tmp_path / folder / f"{name}.vprmap"
        path.parent.mkdir(exist_ok=True)
        noises = np.broadcast_to(noise, len(along))
        with PlaceMap.create(path, model, world, ORIGIN) as place_map:
            for k, (a, true, noisy) in enumerate(zip(along, along if places is None else places, noises, strict=True)):
                T = toy_world.pose(float(a))
                T[:3, 3] += offset
                seed = sum(map(ord, name + folder)) * 1000 + k
                place_map.add(name, k * SECOND, T, toy_world.descriptor(float(true), noisy, seed)[None], b"jpeg")
        return path

    return made


@pytest.fixture
def lake(tmp_path, write) -> Lake:
    """A lake whose first release is a summer's drive."""
    lake = Lake(str(tmp_path / "lake"))
    first_release(lake, write("summer", along_street(), noise=0.0))
    return lake


@pytest.fixture
def held_out(toy_world) -> list[DescribedDrive]:
    """A drive that was not pushed."""
    along = along_street(2.0, 398.0, 4.0)
    poses = np.stack([toy_world.pose(a) for a in along])
    poses[:, :3, 3] += ORIGIN
    descriptors = np.stack([toy_world.descriptor(a, 0.5, 9000 + int(a)) for a in along])
    return [DescribedDrive("held out", (along * SECOND).astype(np.int64), descriptors, poses, list(poses))]


def release(lake: Lake, held_out: list[DescribedDrive]):
    return next_release(lake, held_out, lambda places: CALIBRATED)


def count(lake: Lake) -> tuple[int, int]:
    """Keyframes that were pushed, and how many of them differ."""
    table = lake._table("keyframes").to_arrow()
    rows = list(zip(table.column("drive").to_pylist(), table.column("stamp_ns").to_pylist(), strict=True))
    return len(rows), len(set(rows))


def test_a_push_that_is_repeated_arrives_once(lake, write):
    """The answer of a push got lost: the robot sends again."""
    path = write("winter", along_street(), noise=8.0)
    assert (lake.push(path, "r1"), lake.push(path, "r1"), lake.push(path, "r2")) == (80, 0, 80)
    assert count(lake) == (160, 160)
    head, rows = lake.batch(lake.batches()[0])
    with PlaceMap.open(path) as sent:
        np.testing.assert_array_equal(rows.places.descriptors, sent.places.descriptors)
        np.testing.assert_allclose(rows.places.T_map_camera[:, :3, 3], sent.places.positions + sent.origin, atol=1e-6)
        assert MapModel.from_dict(head.model) == sent.model and set(rows.thumbnails) == {b"jpeg"}


def test_a_batch_that_two_push_at_one_moment_is_in_a_release_once(lake, write, held_out, monkeypatch):
    """Of a copied outbox: both find that it is not there, both add it, and no robot could pull what was made of it."""
    path = write("winter", along_street(), noise=np.where(np.arange(80) % 10, 8.0, 0.3))
    lake.push(path, "r1")
    lake._table("keyframes").add(lake._table("keyframes").to_arrow())
    assert count(lake) == (160, 80)
    made = release(lake, held_out)
    assert 60 < made.added <= 80
    lake.pull(path.with_name("pulled.vprmap"), made.release).close()


def test_keyframes_that_are_stored_in_another_way_are_taken(lake, write, held_out):
    """Of a robot whose map has no thumbnails, or fewer bits: they were set aside as of another model."""
    path = write("winter", along_street(), noise=np.where(np.arange(80) % 10, 8.0, 0.3))
    store_otherwise(path, Storage("int4", thumbnails=False), path.with_name("bits.vprmap")).close()
    lake.push(path.with_name("bits.vprmap"), "r1")
    made = release(lake, held_out)
    assert made.added > 60 and not made.release.set_aside


_SEND = """
import sys
from pathlib import Path
from vpr_ros.fleet.lake import Lake
from vpr_ros.fleet.outbox import send
print("ready", flush=True)
send(Lake(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


def test_robots_that_push_at_once_and_are_killed_lose_nothing(lake, write, tmp_path):
    """kill -9 at random moments, then the same command again: every keyframe is there, and once."""
    for robot in ("r1", "r2", "r3"):
        for drive in range(6):
            write(f"drive{drive}", along_street(0.0, 50.0), folder=robot)
    rng = random.Random(3)

    def start(robot: str) -> subprocess.Popen[str]:
        code = [sys.executable, "-c", _SEND, lake.uri, str(tmp_path / robot), robot]
        return subprocess.Popen(code, stdout=subprocess.PIPE, text=True)

    running = {robot: start(robot) for robot in ("r1", "r2", "r3")}
    for process in running.values():
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(rng.uniform(0.0, 0.2))
    for process in list(running.values()):
        time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
    for robot, process in running.items():
        process.communicate()
        assert start(robot).wait() == 0
    assert count(lake) == (180, 180)
    assert not list(tmp_path.glob("r?/*.vprmap"))


def test_what_cannot_be_sent_is_kept(tmp_path, write):
    """A robot without a network loses nothing."""
    path = write("drive", along_street(), folder="outbox")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises((MapError, OSError)):
        send(Lake(str(tmp_path / "file" / "lake")), path.parent, "r1")
    with pytest.raises(MapError, match="there is no lake"):  # a typing error must not make one
        send(Lake(str(tmp_path / "lak")), path.parent, "r1")
    assert not (tmp_path / "lak").exists()
    assert path.exists()


def test_a_push_while_the_node_drives(lake, write, tmp_path):
    """It takes what is finished. What the node adds to comes with the next push, or when the node was killed."""
    with PlaceMap.open(write("street", along_street(0.0, 50.0))) as place_map:
        T, descriptors = place_map.places.T_map_camera[0], place_map.descriptors(1)
        growing = GrowingOutbox(tmp_path / "outbox", place_map, 1e9)
    for stamp in (1, 2):
        growing.add(Keyframe(stamp, T, descriptors, b"jpeg"), "morning")
    growing.finish()
    growing.add(Keyframe(3, T, descriptors, b"jpeg"), "morning")
    assert send(lake, tmp_path / "outbox", "r1") == 2
    growing._lock.close()  # as of a process that was killed
    assert send(lake, tmp_path / "outbox", "r1") == 1
    assert count(lake) == (3, 3) and not list((tmp_path / "outbox").glob("*.vprmap"))


def test_a_release_takes_what_is_new(lake, write, held_out):
    """A winter drive brings its looks; what the map knows, or another robot brings too, is not stored again."""
    noise = np.where(np.arange(80) % 4 == 0, 0.3, 8.0)  # every fourth keyframe is an anchor
    lake.push(write("winter", along_street(), noise=noise), "r1")
    lake.push(write("summer again", along_street()), "r2")
    made = release(lake, held_out)
    assert made.release.number == 2 and made.added == 60 and made.release.places == 140
    assert made.after >= made.before - 0.005 and not made.release.set_aside
    assert lake.release().calibration["source"] == "held out"
    with pytest.raises(MapError, match="nothing was pushed"):
        release(lake, held_out)


def test_an_offset_of_one_day_is_taken_out(lake, write, held_out, toy_world):
    """Satellites that were 4 m off on that day."""
    noise = np.where(np.arange(80) % 4 == 0, 0.3, 8.0)
    lake.push(write("winter", along_street(), offset=(3.0, -2.5, 0.0), noise=noise), "r1")
    made = release(lake, held_out)
    new = next(iter(lake.rows(made.release)))
    added = new.places.positions[new.places.drives == "r1/winter"]
    truth = np.stack([toy_world.pose(a)[:3, 3] for a in along_street()])[noise > 1] + ORIGIN
    assert np.abs(np.median(added - truth, axis=0)).max() < 0.5


def test_bad_drives_are_set_aside_and_the_rest_released(lake, write, held_out, toy_world):
    """Another city, 0, 0, a wrong frame, another model: each with its reason, and none in the map."""
    lake.push(write("good", along_street(), noise=np.where(np.arange(80) % 4 == 0, 0.3, 8.0)), "r1")
    lake.push(write("city", along_street(), offset=(50_000.0, 0.0, 0.0)), "r2")
    lake.push(write("zero", along_street(), offset=-ORIGIN), "r2")
    lake.push(write("frame", along_street(), places=np.roll(along_street(), 40)), "r2")
    lake.push(write("model", along_street(), model=MapModel("other", "e" * 64, 64, Preprocessing(32, 32))), "r2")
    lake.push(write("unseen", along_street(), noise=8.0), "r2")
    made = release(lake, held_out)
    reasons = [why for _, why in made.release.set_aside]
    wanted = ("near the map", "near the map", "disagree", "another model", "too few to check")
    assert len(reasons) == 5 and all(part in why for part, why in zip(wanted, reasons, strict=True)), reasons
    drives = {str(drive) for rows in lake.rows(made.release) for drive in rows.places.drives}
    assert drives == {"summer", "r1/good"}
    assert len(lake.batches()) == 6, "what was set aside is still there to look at"


def test_a_drive_that_a_robot_pushed_is_not_held_out(lake, write, held_out, toy_world):
    """A release was tested and calibrated on its own places, and was better than the last one every time."""
    pushed = next(iter(lake.rows(lake.release()))).places
    asked = DescribedDrive(
        "summer", pushed.stamps_ns, pushed.descriptors[:, 0], pushed.T_map_camera, [None] * len(pushed)
    )
    lake.push(write("winter", along_street(), noise=np.where(np.arange(80) % 4 == 0, 0.3, 8.0)), "r1")
    with pytest.raises(MapError, match=r"images of summer, so it measures nothing"):
        release(lake, [*held_out, asked])
    assert lake.release().number == 1


def test_a_worse_release_is_refused(lake, write, held_out, toy_world):
    """A drive that looks more like the held-out one than the map does, some metres too far away.

    A good drive that was pushed beside it is released all the same: the bad one blocked the lake for ever.
    """
    lake.push(liar(lake, write, held_out, toy_world), "r1")
    with pytest.raises(MapError, match=r"recognises .* so it is not released.*push [0-9a-f]{12} of r1 \(r1/liar\)"):
        release(lake, held_out)
    assert lake.release().number == 1 and sum(map(len, lake.rows(lake.release()))) == 80
    lake.push(write("good", along_street(102.0, 160.0, 4.0), noise=0.6), "r2")
    made = release(lake, held_out)
    ((_, why),) = made.release.set_aside
    assert made.release.number == 2 and made.after >= made.before - 0.005 and "are recognised" in why


def liar(lake, write, held_out, toy_world):
    """The map of a drive that shows what the held-out drive saw, at poses that are 25 m off: no more than may be."""
    along = along_street(2.0, 398.0, 4.0)
    (old,) = [rows.places for rows in lake.rows(lake.release())]
    truth, poses = held_out[0].T_map_camera[:, :2, 3], along.copy()
    for row in range(0, len(along), 6):  # others are right
        place = old.positions[np.argmax(old.descriptors[:, 0] @ held_out[0].descriptors[row]), :2]
        for moved in along[row] + np.arange(-28.0, 28.0, 0.05):
            at = toy_world.pose(float(moved))[:2, 3] + ORIGIN[:2]
            if np.linalg.norm(at - place) < 25.0 < np.linalg.norm(at - truth[row]):
                poses[row] = moved
                break
    path = write("liar", poses, places=along, noise=0.0)
    with PlaceMap.open(path, writable=True) as place_map, place_map.together():
        for row in range(0, len(along), 6):
            blob = held_out[0].descriptors[row].astype("<f4").tobytes()
            place_map._connection.execute("UPDATE places SET descriptor = ? WHERE id = ?", (blob, row + 1))
    return path


def test_drives_that_are_called_alike_stay_two(lake, write, held_out):
    """Folders named images, with stamps that begin at zero: no pull of any later release worked."""
    for day, along in (("monday", (100.0, 200.0)), ("tuesday", (220.0, 320.0))):
        at = along_street(*along, 4.0)
        lake.push(write("images", at, noise=np.where(np.arange(len(at)) % 4, 8.0, 0.3), folder=day), "robot")
        assert not release(lake, held_out).release.set_aside
    rows = joined(list(lake.rows(lake.release()))).places
    keys = list(zip(rows.drives.tolist(), rows.stamps_ns.tolist(), strict=True))
    assert len(keys) == len(set(keys)) and len({drive for drive, _ in keys if "images" in drive}) == 2


def test_pushes_of_other_images_are_other_pushes(lake, write):
    """The second one of equal names and stamps counted as the first, and its keyframes were deleted unsent."""
    assert lake.push(write("images", along_street(100.0, 200.0, 4.0), folder="monday"), "robot") == 25
    assert lake.push(write("images", along_street(200.0, 300.0, 4.0), folder="tuesday"), "robot") == 25


def test_new_streets_are_no_loss(tmp_path, write, held_out):
    """The share of all images that a map covers fell, as new streets are harder, and the release was refused."""
    lake = Lake(str(tmp_path / "half"))
    first_release(lake, write("half", along_street(0.0, 200.0), noise=0.0))
    along = along_street(150.0, 398.0, 4.0)
    lake.push(write("rest", along, noise=np.where(along < 200, 0.3, 3.0)), "r1")
    made = release(lake, held_out)
    assert made.release.number == 2 and made.after >= made.before - 0.005
    assert made.new_images > 20 and made.new_streets < made.before


def test_keyframes_far_from_all_others_are_left_out(lake, write, held_out):
    """Some poses at 0, 0 in a good drive were released, and the map was kilometres wide."""
    along = along_street(100.0, 200.0, 2.0)
    path = write("some", along, noise=np.where(np.arange(len(along)) % 4, 8.0, 0.3))
    with PlaceMap.open(path, writable=True) as place_map, place_map.together():
        for number in (7, 20, 33):  # the 33rd looks like its place
            pose = place_map._connection.execute("SELECT pose FROM places WHERE id = ?", (number,)).fetchone()[0]
            away = np.frombuffer(pose, "<f8") + np.array([5000.0 * number, 0, 0, 0, 0, 0, 0])
            place_map._connection.execute("UPDATE places SET pose = ? WHERE id = ?", (away.tobytes(), number))
    lake.push(path, "r1")
    made = release(lake, held_out)
    ((_, why),) = made.left_out
    assert why.startswith("3 of 50 keyframes")
    extent = np.ptp(joined(list(lake.rows(lake.release()))).places.positions, axis=0)
    assert extent.max() < 1000


def test_a_release_can_be_rolled_back(lake, write, held_out):
    """What a robot met in the street shows more than held-out drives do; and releases are never changed."""
    lake.push(write("winter", along_street(), noise=np.where(np.arange(80) % 4 == 0, 0.3, 8.0)), "r1")
    second = release(lake, held_out).release
    third = roll_back(lake, 1)
    assert (third.number, third.places) == (3, 80) and "rolled back" in third.set_aside[0][1]
    assert sum(map(len, lake.rows(lake.release()))) == 80
    assert sum(map(len, lake.rows(lake.release(2)))) == second.places == 140
    with pytest.raises(MapError, match="nothing was pushed"):
        release(lake, held_out)
    with pytest.raises(MapError, match="was made meanwhile"):
        lake.publish(second.__class__(**{**second.__dict__, "parts": ("0" * 32,)}))


def test_pulling_an_area(lake, tmp_path, vpr, capsys):
    """A robot takes what lies around it, as an ordinary map with the release's calibration."""
    last = lake.release()
    with lake.pull(tmp_path / "all.vprmap", last) as whole:
        assert len(whole) == 80 and whole.world == WORLD and whole.drive_names() == ["summer"]
        places, origin = whole.places, whole.origin
    east, north = places.positions[0, :2] + origin[:2]
    with lake.pull(tmp_path / "some.vprmap", last, (east - 20, north - 20, east + 20, north + 20)) as some:
        near = (np.abs(places.positions[:, :2] - places.positions[0, :2]) <= 20).all(axis=1)
        assert len(some) == near.sum() > 3
        inside = places.subset(near)
        np.testing.assert_array_equal(some.places.stamps_ns, inside.stamps_ns)
        np.testing.assert_allclose(some.places.descriptors, inside.descriptors)
        assert np.abs(some.places.positions).max() < 1000
    with pytest.raises(MapError, match="has no places there"):
        lake.pull(tmp_path / "none.vprmap", last, (0.0, 0.0, 1.0, 1.0))
    import pyproj

    back = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    longitude, latitude = back.transform(east, north)
    output = tmp_path / "near.vprmap"
    assert vpr("fleet", "pull", lake.uri, "-o", output, "--near", latitude, longitude, 20) == 0
    assert f"{near.sum()} places" in capsys.readouterr().out


def test_the_commands_from_a_map_to_the_next_release(tmp_path, describer, painted_drive, vpr, capsys):
    """What a fleet's keeper types in a month, with the real network on bags."""
    build_map(tmp_path / "street.vprmap", [painted_drive(length=150.0)], describer).close()
    for name, start, noise in (("fog", 1.0, 40.0), ("held_out", 2.0, 0.0)):
        write_bag(tmp_path / name, painted_drive(name=name, length=150.0, start=start, noise=noise))

    def fleet(*arguments: object) -> str:
        return f"{vpr('fleet', *arguments)} {''.join(capsys.readouterr())}"

    lake = tmp_path / "lake"
    assert fleet("push", lake, "--outbox", tmp_path / "outbox").startswith("1 ")
    assert "release 1: 30 places" in fleet("release", lake, "--first", tmp_path / "street.vprmap")
    outbox = ("--outbox", tmp_path / "outbox", "--robot", "r1")
    assert "--map is missing" in fleet("push", lake, tmp_path / "fog", *outbox)
    assert "keyframes sent" in fleet("push", lake, tmp_path / "fog", "--map", tmp_path / "street.vprmap", *outbox)
    assert "no held-out drive" in fleet("release", lake)
    told = fleet("release", lake, tmp_path / "held_out")
    assert told.startswith("0 ") and "release 2:" in told and "Recall@1" in told
    assert "places of 2 drive(s)" in fleet("pull", lake, "-o", tmp_path / "new.vprmap")
    assert "2 drive(s)" not in fleet("pull", lake, "-o", tmp_path / "old.vprmap", "--release", 1)
    assert "release 3: 30 places" in fleet("release", lake, "--roll-back-to", 1)


def test_of_two_releases_made_at_once_the_first_counts(lake, write, held_out):
    """The lake has both rows: within milliseconds its insertion is not unique. The refused one was used."""
    first = lake.release()
    table = lake._table("releases")
    row = table.search().to_arrow().slice(0, 1).to_pylist()[0]
    data = json.loads(row["data"])
    for note in ("mine", "theirs"):
        table.add([{**row, "number": 2, "data": json.dumps({**data, "number": 2, "note": note})}])
    assert [release.number for release in lake.releases()] == [1, 2] and lake.release().note == "mine"
    with pytest.raises(MapError, match="was made meanwhile"):
        lake.publish(replace(first, number=2, time_s=1.0))


def test_a_release_that_cannot_be_calibrated_adds_nothing(lake, write, held_out):
    """Each night's failure left its places in the lake for ever."""
    lake.push(write("autumn", along_street(), noise=0.6), "r1")
    before = lake._table("places").count_rows()

    def fails(places):
        raise MapError("no image on the map")

    with pytest.raises(MapError, match="no image"):
        next_release(lake, held_out, fails)
    assert lake._table("places").count_rows() == before
