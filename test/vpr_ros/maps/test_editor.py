"""Maps made of maps: nothing lost on the way, and after SLAM every place where SLAM says it is, or no change at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import Track
from vpr_ros.localize.localizer import Localizer
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps import map_file
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.editor import merge_maps, set_poses
from vpr_ros.maps.info import map_info
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import Storage
from vpr_ros.maps.writing import Writing

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
SECOND = 1_000_000_000
MOUNT = geometry.transform(geometry.matrix_from_rpy(0, 0.1, 0.3), np.array([0.5, 0.1, 1.2])) @ geometry.T_BODY_OPTICAL


def test_merging(tmp_path, describer, painted_drive):
    """Places of both, each once; another world is refused."""
    street = build_map(tmp_path / "street.vprmap", [painted_drive()], describer)
    other = build_map(tmp_path / "b.vprmap", [painted_drive(name="b", start=200.0)], describer)
    merged = merge_maps(tmp_path / "both.vprmap", [street.path, other.path, street.path])
    assert len(merged) == 48
    assert merged.thumbnail(48) is not None
    elsewhere = build_map(tmp_path / "c.vprmap", [painted_drive(world="elsewhere")], describer)
    with pytest.raises(MapError, match="cannot be merged"):
        merge_maps(tmp_path / "d.vprmap", [street.path, elsewhere.path])


@pytest.mark.parametrize("kind", ["int8", "int2", "bit"])
def test_images_that_are_only_alike_stay_two_places(tmp_path, kind):
    """Stamps of recordings may begin at zero, and codes of two corridors have like errors: one drive was lost."""
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((2, 40, 1024))
    descriptors[1] = 0.9 * descriptors[0] + np.sqrt(1 - 0.9**2) * descriptors[1]
    descriptors /= np.linalg.norm(descriptors, axis=2, keepdims=True)
    paths = [tmp_path / "north.vprmap", tmp_path / "south.vprmap"]
    for path, corridor in zip(paths, descriptors, strict=True):
        model = MapModel("toy", "f" * 64, 1024, Preprocessing(32, 32))
        with PlaceMap.create(path, model, "house", storage=Storage(kind)) as made, made.together():
            for number, descriptor in enumerate(corridor.astype(np.float32)):
                made.add("images", number, np.eye(4), descriptor)
    with merge_maps(tmp_path / "both.vprmap", paths) as both:
        assert len(both) == 80 and both.drive_names() == ["images", "images (2)"]
    with merge_maps(tmp_path / "again.vprmap", [paths[0], paths[0]]) as again:
        assert len(again) == 40


def test_merging_keeps_closed_loops(tmp_path, toy_world):
    """Two copies of one session, saved at different times, give what the later one knew, in whatever order."""
    path, copy = tmp_path / "s.vprmap", tmp_path / "copy.vprmap"
    with KeyframeStore.grow(path, MODEL) as store:
        for row in range(10):
            store.add(f"s-{1 + row // 5}", row, toy_world.pose(5.0 * (row % 5)), toy_world.descriptor(row))
        store.link([Link(7, 2, np.eye(4))])
        store.place_map.save(copy)
        store.add("s-2", 10, toy_world.pose(25.0), toy_world.descriptor(10))
        store.link([Link(8, 3, np.eye(4)), Link(11, 5, np.eye(4))])
    for number, sources in enumerate([[path, copy], [copy, path]]):
        merged = tmp_path / f"{number}.vprmap"
        merge_maps(merged, sources).close()
        with KeyframeStore.open(merged) as store:
            assert sorted((link.query_id, link.match_id) for link in store.place_map.links()) == [
                (7, 2), (8, 3), (11, 5)
            ]  # fmt: skip
            assert len(store) == 11 and set(store.anchored(np.arange(11))[0]) == {0}


def base(seconds: float) -> np.ndarray:
    """Where the robot truly is after some seconds: a bend, 2 m/s."""
    return geometry.transform(geometry.matrix_from_rpy(0, 0, 0.02 * seconds), np.array([2.0 * seconds, seconds, 0.0]))


def trajectory(first: float = 0.0, last: float = 30.0, every: float = 0.5) -> Track:
    """Of the base, as an optimiser gives it."""
    seconds = np.arange(first, last + every / 2, every)
    return Track.of((seconds * SECOND).astype(np.int64), [base(s) for s in seconds], 2 * SECOND)


@pytest.fixture
def session(tmp_path, toy_world):
    """A session of thirty keyframes whose odometry went astray."""
    path = tmp_path / "session.vprmap"
    with KeyframeStore.grow(path, MODEL) as store:
        for second in range(30):
            T_odom_camera = geometry.transform(np.eye(3), np.array([0.05 * second, 0.0, 0.0])) @ base(second) @ MOUNT
            store.add("session-1", second * SECOND, T_odom_camera, toy_world.descriptor(second))
    return path


def test_places_lie_where_the_trajectory_says(session, tmp_path):
    """Of the camera, not of the base; the world is the trajectory's; the old map is untouched."""
    before = session.read_bytes()
    assert set_poses(session, trajectory(), MOUNT, "town", tmp_path / "new.vprmap") == (30, 0)
    assert session.read_bytes() == before
    with PlaceMap.open(tmp_path / "new.vprmap") as new, PlaceMap.open(session) as old:
        assert new.world == "town"
        np.testing.assert_allclose(new.places.T_map_camera, [base(s) @ MOUNT for s in range(30)], atol=1e-9)
        np.testing.assert_array_equal(new.places.descriptors, old.places.descriptors)
        new.check_intact()


def test_in_place_it_is_one_transaction(session):
    """Closed loops go with it: the poses are of one world now, and say what they did."""
    with KeyframeStore.grow(session, MODEL) as store:
        store.link([Link(25, 5, np.eye(4))])
    with PlaceMap.open(session) as old:
        revision = old.revision
    assert set_poses(session, trajectory(), MOUNT) == (30, 0)
    with PlaceMap.open(session) as place_map:
        assert place_map.revision == revision + 1 and place_map.world == "map" and place_map.links() == []
        np.testing.assert_allclose(place_map.places.T_map_camera[7], base(7) @ MOUNT, atol=1e-9)
    with pytest.raises(MapError, match="choose another file for this session"):
        KeyframeStore.grow(session, MODEL)


def test_poses_are_not_set_while_another_process_adds(session):
    """Places that came between the reading and the change were deleted, as they had no pose."""
    with Writing(session), pytest.raises(MapError, match="another process adds to"):
        set_poses(session, trajectory(), MOUNT)
    with PlaceMap.open(session) as place_map:
        assert len(place_map) == 30 and place_map.is_odometry
    assert set_poses(session, trajectory(), MOUNT) == (30, 0)


def test_a_change_that_fails_midway_leaves_all_as_it_was(session, tmp_path, monkeypatch):
    """A disk that fills up after half the places: no map with poses in two frames."""
    connect = map_file.connect

    def filling_up(path, writable=False):
        connection = connect(path, writable)
        connection.execute(
            "CREATE TEMP TRIGGER full BEFORE UPDATE ON main.places WHEN NEW.id = 20 "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        return connection

    monkeypatch.setattr(map_file, "connect", filling_up)
    with PlaceMap.open(session) as old:
        T_before = old.places.T_map_camera
    for output in (None, tmp_path / "new.vprmap"):
        with pytest.raises(MapError, match="disk full"):
            set_poses(session, trajectory(), MOUNT, "map", output)
    with PlaceMap.open(session) as old:
        np.testing.assert_array_equal(old.places.T_map_camera, T_before)
        assert old.world == "odometry of session" and old.is_odometry
    assert [path.name for path in tmp_path.iterdir()] == ["session.vprmap"]


def older(path: Path) -> None:
    """Make a map one of an earlier version, which had no key for the frame of the poses."""
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'odometry_world'")
    connection.close()


@pytest.mark.parametrize("version", ["now", "earlier"])
def test_raw_odometry_stays_marked_until_it_is_replaced(session, tmp_path, version):
    """Raw odometry taken for a world's poses sends a robot astray: maps of earlier versions are understood as well."""
    if version == "earlier":
        older(session)
    session.chmod(0o444)  # a reader adds nothing to an earlier version's map
    with PlaceMap.open(session) as place_map:
        assert place_map.is_odometry and map_info(place_map)["poses"] == "raw odometry"
    session.chmod(0o644)
    KeyframeStore.grow(session, MODEL).close()
    merged = tmp_path / "merged.vprmap"
    merge_maps(merged, [session]).close()
    for path in (session, merged):
        with PlaceMap.open(path) as place_map:
            assert place_map.is_odometry
        set_poses(path, trajectory(), MOUNT, "town")
        with PlaceMap.open(path) as place_map:
            assert not place_map.is_odometry and place_map.world == "town"
            assert map_info(place_map)["poses"] == "of the world"


def test_poses_that_an_earlier_version_set_are_no_odometry(session):
    """It changes the world of the meta table and leaves the key, which it has never heard of."""
    with sqlite3.connect(session) as connection:
        connection.execute("UPDATE meta SET value = 'town' WHERE key = 'world'")
    connection.close()
    with PlaceMap.open(session) as place_map:
        assert not place_map.is_odometry


def test_a_world_is_no_odometry_because_of_its_name(tmp_path, toy_world):
    """A surveyed world may have any name; it is not merged with a session that has the same."""
    for name, is_odometry in (("surveyed", False), ("session", True)):
        path = tmp_path / f"{name}.vprmap"
        with PlaceMap.create(path, MODEL, "odometry of session", is_odometry=is_odometry) as place_map:
            place_map.add("drive", 0, toy_world.pose(0.0), toy_world.descriptor(0.0))
            assert place_map.is_odometry == is_odometry
    with pytest.raises(MapError, match=r"only one of .* raw odometry"):
        merge_maps(tmp_path / "merged.vprmap", [tmp_path / "surveyed.vprmap", tmp_path / "session.vprmap"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda T: T, ""),
        (lambda T: geometry.transform(T[:3, :3], 0.07 * T[:3, 3]), "by 0.06"),
        (lambda T: geometry.transform(np.eye(3), T[[1, 0, 2], 3]), "move otherwise"),
        (geometry.inverse, "move otherwise"),
    ],
)
def test_a_trajectory_that_moves_otherwise_than_odometry_is_told(session, tmp_path, change, told):
    """Of another drive, in another unit, of another body: the map was wrong, without a word."""
    tally, right = Tally(), trajectory()
    track = Track.of(right.stamps_ns, [change(T) for T in right.T], 2 * SECOND)
    set_poses(session, track, MOUNT, "town", tmp_path / "new.vprmap", tally=tally)
    assert bool(tally) == bool(told) and told in "".join(tally.lines())


def test_a_trajectory_of_one_drive_leaves_the_others_out(session, tmp_path, toy_world):
    """Simulated clocks start at zero each time: the other drive's keyframes got this drive's poses."""
    with KeyframeStore.grow(session, MODEL) as store:
        store.add("session-2", 5 * SECOND, base(100.0) @ MOUNT, toy_world.descriptor(90.0))
    assert set_poses(session, trajectory(), MOUNT, "town", tmp_path / "new.vprmap", "session-1") == (30, 1)
    with pytest.raises(MapError, match="no drive 'session-3': give one of session-1, session-2"):
        set_poses(session, trajectory(), MOUNT, "town", tmp_path / "other.vprmap", "session-3")


def test_two_odometries_of_one_recording_are_not_mixed(tmp_path, toy_world):
    """Their frames have nothing to do with each other; of a map with a frame, what became of the poses is said."""
    paths = []
    for name, aside in (("wheels", 0.0), ("vio", 200.0)):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "session.vprmap")
        with KeyframeStore.grow(paths[-1], MODEL) as store:
            for second in range(3 + len(name)):
                T = geometry.transform(np.eye(3), np.array([0.0, aside, 0.0])) @ base(second) @ MOUNT
                store.add("monday", second * SECOND, T, toy_world.descriptor(second))
    with pytest.raises(MapError, match=r"other poses of the images of drive monday .* `vpr map set-poses`"):
        merge_maps(tmp_path / "both.vprmap", paths)


def test_keyframes_outside_are_left_out_of_a_new_map_only(session, tmp_path):
    """With a count; in place nothing is thrown away. Rounded stamps at the ends are not outside."""
    short = trajectory(5.0 + 4e-7, 20.0 - 4e-7)
    with pytest.raises(MapError, match=r"14 of the 30 places of .* give -o"):
        set_poses(session, short, MOUNT)
    assert set_poses(session, short, MOUNT, "map", tmp_path / "new.vprmap") == (16, 14)
    with PlaceMap.open(tmp_path / "new.vprmap") as new:
        assert len(new) == 16 and new.whereabouts.stamps_ns[0] == 5 * SECOND
    with pytest.raises(MapError, match="exists already"):
        set_poses(session, short, MOUNT, "map", tmp_path / "new.vprmap")


def test_wide_gaps_are_not_bridged(session, tmp_path):
    assert set_poses(session, trajectory(every=5.0), MOUNT, "map", tmp_path / "new.vprmap") == (6, 24)


def test_a_trajectory_of_another_day_says_both_times(session):
    with pytest.raises(
        DriveError, match=r"places are of 0\.000 to 29\.000 s, the trajectory of 100\.000 to 130\.000 s"
    ):
        set_poses(session, trajectory(100.0, 130.0), MOUNT)


def test_a_forgotten_mounting_is_noticed(session):
    """The base's axes taken for the camera's: every camera would look at the sky."""
    with pytest.raises(DriveError, match="give --camera-pose"):
        set_poses(session, trajectory(), np.eye(4))


def test_a_session_that_is_driving_is_left_alone(session, toy_world):
    """Its next keyframes would be in odometry's frame, among places in the map's."""
    with KeyframeStore.grow(session, MODEL) as store:
        with pytest.raises(MapError, match="another process adds to"):
            set_poses(session, trajectory(), MOUNT)
        store.add("session-1", 100 * SECOND, base(3) @ MOUNT, toy_world.descriptor(3))
    assert set_poses(session, trajectory(0.0, 110.0), MOUNT) == (31, 0)


def test_large_coordinates_are_made_small(session):
    """A trajectory in UTM gets an origin, as maps of drives do."""
    utm = np.array([620084.0, 5735712.0, 100.0])
    track = trajectory()
    track.T[:, :3, 3] += utm
    set_poses(session, track, MOUNT, "utm 30U")
    with PlaceMap.open(session) as place_map:
        assert place_map.origin.tolist() == [620100.0, 5735700.0, 0.0]
        T = place_map.places.T_map_camera[4]
        np.testing.assert_allclose(T[:3, 3] + place_map.origin, (base(4) @ MOUNT)[:3, 3] + utm, atol=1e-6)


def test_one_localises_on_it(tmp_path, describer, painted_drive):
    """From a session to a map: what is recognised is told in the trajectory's frame."""
    drive = painted_drive(length=60.0)
    path = build_map(tmp_path / "m.vprmap", [drive], describer).path
    shift = geometry.transform(geometry.matrix_from_rpy(0, 0, 1.0), np.array([100.0, 50.0, 3.0]))
    track = Track.of([f.stamp_ns for f in drive], [shift @ f.T_map_camera for f in drive], 2 * SECOND)
    set_poses(path, track, np.eye(4))
    localizer = Localizer.open(path, backend="onnx")
    errors = [
        np.linalg.norm(localizer.localize(frame.load()).matches[0].T_map_camera[:3, 3] - (shift @ T)[:3, 3])
        for frame in painted_drive(length=60.0, noise=10.0)
        if (T := frame.T_map_camera) is not None
    ]
    assert np.mean(np.array(errors) < 10) > 0.8
