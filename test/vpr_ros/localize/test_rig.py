"""Several cameras, one belief: what one of them cannot recognise, another can, and each speaks of the same robot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.covariance import moved
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.records import Estimate
from vpr_ros.localize.config import FilterConfig, LocalizerConfig
from vpr_ros.localize.hypotheses import cluster
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.temporal import Belief
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

SECOND = 1_000_000_000
SURE = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)
FRONT = geometry.transform(np.eye(3), [1.0, 0.0, 0.0]) @ geometry.T_BODY_OPTICAL
REAR = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi), [-1.0, 0.0, 0.0]) @ geometry.T_BODY_OPTICAL


class Robot:
    """A robot on the toy street. Looking along the street it sees one world, looking back another."""

    def __init__(self, world: Any, places: Places, forwards: bool, odometry: bool = True, **config: Any) -> None:
        self.world, self.forwards, self._odometry = world, forwards, odometry
        self.other_way = type(world)(seed=world.seed + 1)
        self.localizer = Localizer(places, None, LocalizerConfig(**config), SURE)  # type: ignore[arg-type]

    def base(self, along: float) -> np.ndarray:
        """T_map_base (4, 4)."""
        T = self.world.pose(along) @ geometry.inverse(geometry.T_BODY_OPTICAL)
        return T if self.forwards else T @ geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi), np.zeros(3))

    def see(self, stamp_ns: int, along: float, camera: str, noise: float = 0.4, seed: int = -1) -> Estimate:
        """One image of a camera. seed: of the noise, by default another one for each stamp."""
        T_base_camera = FRONT if camera == "front" else REAR
        T = self.base(along) @ T_base_camera
        seen = self.world if (camera == "front") == self.forwards else self.other_way
        descriptor = seen.descriptor(along, noise, stamp_ns % 1_000_003 if seed < 0 else seed)
        T_odom = T if self._odometry else None
        return self.localizer.recognise(stamp_ns, descriptor, T_odom, camera=camera, T_base_camera=T_base_camera)

    def error(self, estimate: Estimate, along: float, camera: str) -> tuple[float, float]:
        """Metres and radians between the base of the best pose and the true one; inf without a pose."""
        if estimate.best is None:
            return np.inf, np.inf
        T_base = estimate.best.T_map_camera @ geometry.inverse(FRONT if camera == "front" else REAR)
        away = geometry.inverse(self.base(along)) @ T_base
        return float(np.linalg.norm(away[:2, 3])), geometry.angle_of(away[:3, :3])

    def drive(self, cameras: tuple[str, ...], images: int = 60) -> np.ndarray:
        """Errors of the base (K, 2), the cameras in turn, 2 m apart."""
        errors = []
        for k in range(images):
            along = 40.0 + 2.0 * k if self.forwards else 200.0 - 2.0 * k
            for number, camera in enumerate(cameras):
                stamp_ns = k * SECOND // 2 + number * SECOND // 50
                errors.append(self.error(self.see(stamp_ns, along, camera), along, camera))
        return np.array(errors)


@pytest.mark.parametrize("odometry", [True, False])
def test_a_street_driven_the_other_way_is_found_with_a_rear_camera(toy_world: Any, odometry: bool) -> None:
    """The map was driven one way with one camera; on the way back only the rear camera sees it. Both give the pose."""
    alone = Robot(toy_world, toy_world.places(), False, odometry).drive(("front",))
    assert np.isinf(alone[:, 0]).mean() > 0.9
    both = Robot(toy_world, toy_world.places(), False, odometry).drive(("front", "rear"))
    assert np.mean((both[20:, 0] < 10) & (both[20:, 1] < 0.5)) > 0.9


@pytest.mark.parametrize("odometry", [True, False])
def test_a_camera_that_sees_nothing_known_costs_nothing(toy_world: Any, odometry: bool) -> None:
    """The map knows the forward view alone. A rear camera then says nothing, neither for a place nor against it."""
    alone = Robot(toy_world, toy_world.places(), True, odometry).drive(("front",))
    both = Robot(toy_world, toy_world.places(), True, odometry).drive(("front", "rear"))
    assert np.mean(both[20:, 0] < 10) > np.mean(alone[10:, 0] < 10) - 0.03


def both_ways(world: Any) -> Places:
    """A map of a front and a rear camera."""
    front = world.places()
    rear = type(world)(seed=world.seed + 1).places()
    turned = geometry.inverse(FRONT) @ REAR
    return Places(
        ids=np.arange(1, 2 * len(front) + 1),
        drives=np.repeat(["front", "rear"], len(front)),
        stamps_ns=np.concatenate([front.stamps_ns, rear.stamps_ns]),
        T_map_camera=np.concatenate([front.T_map_camera, front.T_map_camera @ turned]),
        descriptors=np.concatenate([front.descriptors, rear.descriptors]),
    )


def test_two_cameras_know_more_than_one(toy_world: Any) -> None:
    """Both see the place badly; together they are sure of it sooner."""
    sure = {}
    for cameras in (("front",), ("rear",), ("front", "rear")):
        robot = Robot(toy_world, both_ways(toy_world), True)
        needed = []
        for start in range(20):
            robot.localizer.reset()
            for k in range(12):
                along = 15.0 * start + 1.5 * k
                seen = [robot.see((100 * start + k) * SECOND + n, along, c, 1.3) for n, c in enumerate(cameras)]
                if robot.error(seen[-1], along, cameras[-1])[0] < 10 and seen[-1].best.probability > 0.8:
                    break
            needed.append(k)
        sure[len(cameras), cameras[0]] = np.mean(needed)
    assert sure[2, "front"] < 0.75 * min(sure[1, "front"], sure[1, "rear"])


def test_the_answer_belongs_to_the_camera_that_took_the_image(toy_world: Any) -> None:
    """The pose is that of the image's camera; its matches are places that this camera sees."""
    robot = Robot(toy_world, both_ways(toy_world), True)
    for k in range(10):
        front = robot.see(k * SECOND, 50.0 + 3 * k, "front", 0.2)
        rear = robot.see(k * SECOND + 1, 50.0 + 3 * k, "rear", 0.2)
    assert front.best is not None and rear.best is not None
    between = geometry.inverse(front.best.T_map_camera) @ rear.best.T_map_camera
    assert between == pytest.approx(geometry.inverse(FRONT) @ REAR, abs=1.5)
    assert front.matches[0].drive == "front" and rear.matches[0].drive == "rear"
    assert front.matches[0].probability > 0.2 and rear.matches[0].probability > 0.2


def test_two_cameras_drive_no_faster_than_one(toy_world: Any) -> None:
    """Without odometry the way comes from the change of the views; two cameras must not count it twice."""

    def metres(cameras: tuple[str, ...]) -> float:
        robot = Robot(toy_world, both_ways(toy_world), True, odometry=False)
        moved: list[Any] = []
        motion = robot.localizer.filter._motion
        robot.localizer.filter._motion = lambda *given: moved.append(motion(*given)) or moved[-1]  # type: ignore
        robot.drive(cameras, 50)
        return float(sum(step.distance for step in moved))

    assert metres(("front", "rear")) == pytest.approx(metres(("front",)), rel=0.1)


def test_another_camera_measures_the_motion_when_the_first_is_silent(toy_world: Any) -> None:
    """A cable comes off: without odometry the robot must not stand still on the map."""
    robot = Robot(toy_world, both_ways(toy_world), True, odometry=False)
    robot.drive(("front", "rear"), 20)
    for k in range(20, 60):
        answer = robot.see(k * SECOND // 2, 40.0 + 2.0 * k, "rear")
    assert robot.error(answer, 40.0 + 2.0 * 59, "rear")[0] < 10


def test_a_loop_of_the_clock_is_judged_by_camera(toy_world: Any) -> None:
    """Images of two cameras overtake each other by milliseconds. That is no new drive; a second of one camera is."""
    robot = Robot(toy_world, both_ways(toy_world), True)
    robot.drive(("front", "rear"), 10)
    answer = robot.see(9 * SECOND // 2 + SECOND // 100, 40.0 + 18, "front", 0.2)  # before the rear one's last
    assert answer.best is not None and answer.best.probability > 0.8
    assert not robot.localizer.filter.is_past(9 * SECOND // 2 + SECOND // 60, 0)
    assert robot.localizer.filter.is_past(9 * SECOND // 2 + SECOND // 60, 1)


def test_standing_still_with_two_cameras_adds_no_confidence(toy_world: Any) -> None:
    """A hundred pictures of two views are two observations."""
    robot = Robot(toy_world, both_ways(toy_world), True)
    for k in range(100):
        for number, camera in enumerate(("front", "rear")):
            answer = robot.see(k * SECOND + number, 100.0, camera, 1.0, seed=number)
        if k == 10:
            then = answer.off_map_probability
    assert abs(answer.off_map_probability - then) < 0.02


def test_without_the_mounting_there_is_one_camera(toy_world: Any) -> None:
    """Where a second camera is on the robot cannot be guessed."""
    rig = Rig(toy_world.places())
    assert rig.number("front", FRONT) == 0 and rig.number("front", None) == 0
    with pytest.raises(ConfigError, match="'rear' joins others"):
        rig.number("rear", REAR)
    assert rig.number("front", FRONT) == 0
    with pytest.raises(ConfigError, match="T_base_camera"):
        rig.number("rear", None)
    assert rig.number("rear", REAR) == 1 and rig.cameras == 2


def test_single_images_of_several_cameras(toy_world: Any) -> None:
    """Without the filter each image is answered alone, whichever camera took it."""
    robot = Robot(toy_world, both_ways(toy_world), True, filter=FilterConfig(enabled=False))
    for camera in ("front", "rear", "front"):
        assert robot.error(robot.see(0, 100.0, camera, 0.2), 100.0, camera)[0] < 10


def test_the_covariance_is_the_same_whichever_camera_saw_last(toy_world: Any) -> None:
    """A camera to the side swapped along and across the road, from image to image."""
    places = toy_world.places()
    rig = Rig(places)
    side = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi / 2), np.zeros(3)) @ geometry.T_BODY_OPTICAL
    rig.number("front", FRONT), rig.number("side", side)
    values = np.zeros(rig.cells)
    values[8] = 0.9
    belief = Belief(SparseValues.of(values), 0.1, np.eye(4))
    found = []
    for camera, mount in enumerate((FRONT, side)):
        (best, *_), _ = cluster(belief, rig, SURE, 25.0, 5, camera)
        found.append(moved(best.T_map_camera, best.covariance, geometry.inverse(mount)))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-9)


def test_evidence_reaches_the_other_cameras_cells_on_a_large_map(toy_world: Any, monkeypatch: Any) -> None:
    """Of two cells that are one robot, one was told that its place is seen, and the other that it is not."""
    rig = Rig(toy_world.places())
    rig.number("front", FRONT), rig.number("other", FRONT)
    count = len(rig.places)
    of_places = SparseValues(np.array([8]), np.array([14.0]), -2.95, count)
    found = rig.evidence(0, of_places, np.zeros(0, np.int64))
    assert found.at(np.array([8, count + 8])).tolist() == [14.0, 14.0]
    assert found.at(np.array([40, count + 40])).tolist() == [-2.95, -2.95]


def test_evidence_takes_no_longer_where_places_are_dense(toy_world: Any) -> None:
    """All cells within 50 m were looked at again for each look-alike: seconds an image on ten drives."""
    street = toy_world.places(2.0)
    rows = np.tile(np.arange(len(street)), 10)
    rig = Rig(street.subset(rows))
    rig.number("front", FRONT), rig.number("rear", REAR)
    of_places = SparseValues(np.arange(80), np.full(80, 5.0), -2.95, len(rows))
    assert len(rig.evidence(0, of_places, np.zeros(0, np.int64)).rows) < 2000
