"""A street is driven more than twice: each pass closes its loops, and only the copies of one place count as one.

The street is a circle of landmarks. An image is of one colour, which says where it was taken: the toy network and the
toy extractor read it there, and all that follows is the real thing.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Frame
from vpr_ros.inference.describer import Description, Manifest
from vpr_ros.loops.candidates import Refused
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.place_map import MapModel
from vpr_ros.matching.local_features import LocalFeatures

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
CAMERA = Intrinsics.pinhole(320, 240, 250.0)
CONFIG = LoopCloserConfig(features="sift", keyframe_distance=4.9, drift=0.1)
LAP, EVERY, PIXEL = 200.0, 5.0, 1 / 250
TUNNEL = 40.0  # metres at the start of a lap in which nothing can be measured: every lap has to be found anew
KEYFRAMES = int((LAP - TUNNEL) / EVERY)


class Street:
    """Describer and extractor of the toy world."""

    def __init__(self, world) -> None:
        self.world, self.kind = dataclasses.replace(world, length=LAP), "sift"
        self.manifest = Manifest(MODEL.name, MODEL.fingerprint, MODEL.dimension, True, MODEL.preprocessing)
        rng = np.random.default_rng(5)
        radius, angle = LAP / (2 * np.pi) + rng.choice([-1, 1], 900) * rng.uniform(5, 12, 900), rng.uniform(0, 7, 900)
        self.points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0, 7, 900)])
        self.looks = rng.integers(0, 256, (900, 128), dtype=np.uint8)

    def image(self, along: float) -> np.ndarray:
        """(240, 320, 3) uint8: centimetres in two colours."""
        image = np.full((240, 320, 3), (*divmod(round(100 * (along % LAP)), 256), 0), np.uint8)
        image[:, 160:] = 255  # an image of one colour shows nothing, and is no keyframe
        return image

    def along(self, image: np.ndarray) -> float:
        return float(256 * int(image[0, 0, 0]) + int(image[0, 0, 1])) / 100

    def describe(self, images: np.ndarray) -> Description:
        return Description(self.world.descriptor(self.along(images[0]))[None], None)

    def extract(self, image: np.ndarray, depth: None, intrinsics: Intrinsics) -> LocalFeatures:
        """What is seen from there, with a pixel's noise; depths are guesses."""
        along = self.along(image)
        T, rng = self.world.pose(along), np.random.default_rng(round(100 * along))
        seen = (self.points - T[:3, 3]) @ T[:3, :3]
        front = (seen[:, 2] > 3) & (seen[:, 2] < 30)
        rays = seen[:, :2] / np.where(front, seen[:, 2], 1)[:, None]
        rows = np.flatnonzero(front & (np.abs(rays) < [0.64, 0.48]).all(axis=1))
        rays = rays[rows] + 0.5 * PIXEL * rng.standard_normal((len(rows), 2))
        depths = seen[rows, 2] * np.exp(0.2 * rng.standard_normal(len(rows)))
        return LocalFeatures("sift", rays.astype(np.float32), depths.astype(np.float32), self.looks[rows], PIXEL)


@pytest.fixture(scope="module")
def street(toy_world):
    return Street(toy_world)


class Robot:
    """Drives round and round; a clock that never stops."""

    def __init__(self, street: Street, path, earlier=(), drift: float = CONFIG.drift) -> None:
        session, config = KeyframeStore.grow(path, MODEL), dataclasses.replace(CONFIG, drift=drift)
        self.closer = LoopCloser(session, street, config, [KeyframeStore.open(other) for other in earlier])
        self.closer.extractor = self.street = street
        self.stamp_ns = 10**9 * (1 + len(session))

    def lap(self, odometry, shift: float = 0.0) -> tuple[float, float]:
        """Shares of a lap's keyframes that closed a loop, on the own past and on an earlier map.

        odometry: way -> (4, 4), from the truth to the odometry frame. shift: of the keyframes along the way, metres.
        """
        own, earlier = set(), set()
        for way in np.arange(0.0, LAP, EVERY) + shift:
            self.stamp_ns += 10**9
            image, T_odom_camera = self.street.image(way), odometry(way) @ self.street.world.pose(way)
            frame = Frame(self.stamp_ns, image, T_odom_camera, None if way < TUNNEL else CAMERA)
            for closure in self.closer.observe(frame).closures:
                (earlier if closure.match_map else own).add(closure.keyframe_id)
        return len(own) / KEYFRAMES, len(earlier) / KEYFRAMES

    def close(self) -> None:
        self.closer.close()


def astray(x: float, y: float, yaw: float = 0.0) -> np.ndarray:
    return geometry.transform(geometry.matrix_from_rpy(0, 0, yaw), [x, y, 0.0])


def drifting(lap: int):
    """14 m in every lap of one drive."""
    return lambda way: astray(0.0, 14.0 * (lap + way / LAP))


def elsewhere(lap: int):
    """Odometry of another origin in every lap."""
    origin = [astray(0, 0), astray(300, 200, 0.7), astray(-500, 100, -1.0), astray(40, 900, 3.0)][lap]
    return lambda way: origin


def passes(street, path, odometry, begin: bool, laps: int = 4) -> list[float]:
    """Shares of own closures in each of some laps; begin: odometry begins anew with each."""
    robot, shares = Robot(street, path), []
    for lap in range(laps):
        if begin and lap:
            robot.closer.begin()
        shares.append(robot.lap(odometry(lap), 0.5 * lap)[0])
    robot.close()
    return shares


def test_every_lap_of_a_drive_that_drifts_closes_its_loops(street, tmp_path):
    """The copies of earlier laps lie 14 m apart by odometry, and are one place all the same."""
    first, *others = passes(street, tmp_path / "drift.vprmap", drifting, begin=False)
    assert first == 0 and min(others) > 0.7, others


@pytest.mark.parametrize(("off_m", "drift"), [(3.5, 0.02), (7.0, 0.04)])
def test_loops_that_odometry_allows_are_closed(street, tmp_path, caplog, off_m, drift):
    """After 200 m a drift of 0.02 allows 4.5 m, and one of 0.04 8.5 m."""
    robot = Robot(street, tmp_path / "drift.vprmap", drift=drift)
    robot.lap(lambda way: astray(0, 0))
    assert robot.lap(lambda way: astray(0, off_m), 0.5)[0] > 0.7
    assert not robot.closer.refused and "loops.drift" not in caplog.text
    robot.close()


def test_a_neighbour_that_looks_alike_closes_no_loop(street, tmp_path, caplog):
    """7 m aside by odometry that is off by at most 4.5 m: it is another aisle, or odometry is worse. Both are said.

    With 5 m beyond what the drift allows for measured poses, each aisle was closed on the one before.
    """
    robot = Robot(street, tmp_path / "aisles.vprmap", drift=0.02)
    robot.lap(lambda way: astray(0, 0))
    assert robot.lap(lambda way: astray(0, 7.0), 0.5)[0] == 0
    assert robot.closer.refused > 0.7 * KEYFRAMES
    (said,) = [record.getMessage() for record in caplog.records if "loops.drift" in record.getMessage()]
    assert "3 keyframe(s) in a row look like places of this session that are 7.0 m" in said, said
    assert "loops.drift 0.02 allows 4.6 m" in said and "set loops.drift to 0.035" in said, said
    robot.close()


def test_odometry_that_is_far_off_is_said(street, tmp_path, caplog):
    """30 m after 200: no keyframe of the first lap is within what ``loops.drift`` allows, and nothing was said."""
    robot = Robot(street, tmp_path / "far.vprmap", drift=0.02)
    robot.lap(lambda way: astray(0, 0))
    assert robot.lap(lambda way: astray(0, 30.0), 0.5)[0] == 0
    (said,) = [record.getMessage() for record in caplog.records if "loops.drift" in record.getMessage()]
    assert "that are 30.0 m from where odometry has the robot" in said and "set loops.drift to 0.14" in said, said
    robot.close()


@pytest.mark.parametrize(("off_m", "driven_m", "advised"), [(30.5, 200.0, 0.165), (199.0, 200.0, 1.0), (2.0, 0.0, 1.0)])
def test_a_drift_that_is_advised_is_one_that_can_be_set(off_m, driven_m, advised):
    """A place like one at the other end of a straight road: "set loops.drift to 1.1", which the node refuses."""
    assert Refused(off_m, 0.5, driven_m).advised_drift == pytest.approx(advised)


def test_every_drive_of_a_session_closes_its_loops(street, tmp_path):
    """Each has another origin, so nothing but closures says that two of them lie in one street."""
    first, *others = passes(street, tmp_path / "drives.vprmap", elsewhere, begin=True)
    assert first == 0 and min(others) > 0.7, others


def test_killed_between_laps_a_session_knows_them_all(street, tmp_path):
    """What had been believed is on the disk, and the anchors are those of the session that lived on."""
    shares = []
    path = tmp_path / "0" / "s.vprmap"
    path.parent.mkdir()
    for lap in range(3):
        robot = Robot(street, path)
        shares.append(robot.lap(elsewhere(lap), 0.5 * lap)[0])
        rows = np.arange(len(robot.closer.session))
        lived = robot.closer.session.anchored(rows)
        path = tmp_path / str(lap + 1) / "s.vprmap"
        path.parent.mkdir()
        for file in (tmp_path / str(lap)).glob("s.vprmap*"):  # as a kill would leave them
            if file.suffix != ".lock":
                shutil.copy(file, path.with_name(file.name))
        robot.close()
        with KeyframeStore.open(path) as reopened:
            np.testing.assert_array_equal(reopened.anchored(rows)[0], lived[0])
            np.testing.assert_allclose(reopened.anchored(rows)[1], lived[1], atol=1e-6)
    assert shares[0] == 0 and min(shares[1:]) > 0.7, shares


@pytest.mark.parametrize(("odometry", "begin"), [(drifting, False), (elsewhere, True)], ids=["drift", "origins"])
def test_an_earlier_map_with_copies_is_met_again(street, tmp_path, odometry, begin):
    """Read only. Without its links, as an older version left it, two copies are two places: refused, not guessed."""
    earlier = tmp_path / "earlier.vprmap"
    passes(street, earlier, odometry, begin, laps=2)
    earlier.chmod(0o444)
    robot = Robot(street, tmp_path / "now.vprmap", [earlier])
    assert robot.lap(elsewhere(2), 1.0)[1] > 0.7
    robot.close()
    old = tmp_path / "old.vprmap"
    shutil.copy(earlier, old)
    old.chmod(0o644)
    with sqlite3.connect(old) as connection:
        connection.execute("DROP TABLE links")
    connection.close()
    robot = Robot(street, tmp_path / "then.vprmap", [old])
    assert robot.lap(elsewhere(2), 1.0)[1] < 0.3
    robot.close()


def test_streets_that_are_alike_stay_refused(street, tmp_path):
    """Two streets of one town, the same down to the last landmark, driven one after the other: which one is this?"""
    earlier = tmp_path / "twins.vprmap"
    robot = Robot(street, earlier)
    robot.lap(lambda way: np.eye(4))
    robot.lap(lambda way: astray(800.0, 0.0))
    robot.closer.begin()
    assert robot.lap(elsewhere(1), 0.5) == (0, 0)  # the next drive of the session
    robot.close()
    robot = Robot(street, tmp_path / "now.vprmap", [earlier])
    assert robot.lap(elsewhere(2), 1.0) == (0, 0)  # and another session
    robot.close()
