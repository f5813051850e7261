"""Messages of other sources become priors, or a sentence that says why not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError
from vpr_ros.drives.geodesy import utm_from_latlon
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.priors import PriorTrack
from vpr_ros.ros.params import PriorConfig, node_params

SECOND = 10**9
T_BASE_CAMERA = np.array([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])  # 1 m ahead of the base


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str, **_: Any) -> None:
        self.said.append(message)


def track(world: str = "utm 31 north", **config: Any) -> PriorTrack:
    place_map = SimpleNamespace(world=world, origin=np.array([448000.0, 5411000.0, 0.0]))
    return PriorTrack(PriorConfig(**config), lambda: place_map, lambda: "map", Health(), Log())  # type: ignore


def pose(x: float, seconds: float = 1.0, frame: str = "map", sigma: float = 0.5) -> Any:
    """A PoseWithCovarianceStamped, facing east."""
    stamp = SimpleNamespace(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
    covariance = np.zeros((6, 6))
    covariance[0, 0] = covariance[1, 1] = sigma**2
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id=frame),
        pose=SimpleNamespace(
            pose=SimpleNamespace(
                position=SimpleNamespace(x=x, y=2.0, z=0.0), orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
            ),
            covariance=covariance.ravel(),
        ),
    )


def fix(latitude: float, longitude: float, status: int = 0) -> Any:
    """A NavSatFix without a covariance."""
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="gps"),
        latitude=latitude,
        longitude=longitude,
        altitude=0.0,
        status=SimpleNamespace(status=status),
        position_covariance=[0.0] * 9,
        position_covariance_type=0,
    )


@pytest.mark.parametrize(("latitude", "longitude"), [(91.0, 0.0), (200.0, 3.0), (0.001, 93.0), (0.0, 90.0)])
def test_a_fix_that_is_no_position_is_refused(latitude: float, longitude: float) -> None:
    """With a status of a fix. It ended the node: the error was raised in a callback."""
    found = track()
    found.store_fix(fix(latitude, longitude))
    found.store_fix(fix(latitude, longitude))
    assert not found.at(SECOND, None) and found._health.counts["priors not used"] == 2
    assert len(found._log.said) == 1 and "a prior of prior.fix is no position" in found._log.said[0]  # type: ignore


@pytest.mark.parametrize("source", ["pose", "initial_pose"])
def test_a_covariance_that_is_none_counts_as_not_stated(source: str) -> None:
    """One with a negative direction made the whole belief NaN, for good."""
    message = pose(10.0)
    covariance = np.array(message.pose.covariance).reshape(6, 6)
    covariance[0, 1] = covariance[1, 0] = 3.0
    message.pose.covariance = covariance.ravel()
    found = track()
    found.store_pose(message, source)
    (prior,) = found.at(SECOND, None)
    assert np.array_equal(prior.covariance, np.eye(2))


def test_a_prior_of_another_clock_is_named() -> None:
    """A receiver that stamps with GPS time was never used, and only a counter knew."""
    found = track()
    found.store_pose(pose(10.0, seconds=19.0))
    assert not found.at(SECOND, None)
    assert "the latest prior is 18.0 s from the images' stamps" in found._log.said[0]  # type: ignore


def test_a_pose_of_the_base_becomes_one_of_the_camera() -> None:
    found = track()
    found.store_pose(pose(10.0))
    (prior,) = found.at(SECOND, T_BASE_CAMERA)
    assert prior.position == pytest.approx([11.0, 2.0]) and prior.heading == pytest.approx(0.0)
    assert not prior.lasting and prior.covariance[0, 0] == pytest.approx(0.25)
    (unmounted,) = found.at(SECOND, None)
    assert unmounted.position == pytest.approx([10.0, 2.0]) and unmounted.heading is None


def test_an_old_prior_is_less_exact_and_then_none() -> None:
    """The robot may have moved since."""
    found = track(max_age=3.0)
    found.store_pose(pose(10.0))
    (prior,) = found.at(3 * SECOND, None)
    assert prior.covariance[0, 0] > 100
    assert found.at(5 * SECOND, None) == ()
    assert found._health.counts["images with an old prior"] == 1


def test_a_start_pose_is_given_once() -> None:
    found = track()
    found.store_pose(pose(10.0), "initial_pose")
    assert [prior.lasting for prior in found.at(100 * SECOND, None)] == [True]
    assert found.at(101 * SECOND, None) == ()


def test_a_prior_of_another_map_is_forgotten() -> None:
    """~/load_map changes the frame: a pose in the old one is a wrong pose in the new one."""
    maps = [SimpleNamespace(world="a", origin=np.zeros(3)), SimpleNamespace(world="b", origin=np.zeros(3))]
    found = PriorTrack(PriorConfig(), lambda: maps[0], lambda: "map", Health(), Log())  # type: ignore
    found.store_pose(pose(10.0))
    assert found.at(SECOND, T_BASE_CAMERA)
    maps.reverse()
    assert not found.at(SECOND, T_BASE_CAMERA)
    found.store_pose(pose(10.0))
    assert found.at(SECOND, T_BASE_CAMERA)


def test_a_fix_becomes_coordinates_of_the_map() -> None:
    found = track()
    found.store_fix(fix(48.8583, 2.2945))
    (prior,) = found.at(SECOND, None)
    expected, _ = utm_from_latlon(np.array([48.8583]), np.array([2.2945]), np.zeros(1), "utm 31 north")
    assert prior.position == pytest.approx(expected[0, :2] - [448000.0, 5411000.0]) and prior.heading is None
    assert prior.covariance[0, 0] > 100  # it states none


@pytest.mark.parametrize("message", [fix(48.0, 2.0, status=-1), fix(0.0, 0.0), fix(float("nan"), 2.0)])
def test_no_fix_is_no_prior(message: Any) -> None:
    found = track()
    found.store_fix(message)
    assert found.at(SECOND, None) == () and found._health.counts["priors without a fix"] == 1


def test_what_cannot_be_used_is_said() -> None:
    found = track(world="local")
    found.store_fix(fix(48.0, 2.0))
    found.store_pose(pose(1.0, frame="odom"))
    found.store_pose(pose(float("nan")))
    assert found.at(SECOND, None) == () and found._health.counts["priors not used"] == 3
    said: list[str] = found._log.said  # type: ignore[attr-defined]
    assert "needs a map in UTM coordinates, and this one is in world 'local'" in said[0]
    assert "in frame 'odom', not in the map's frame 'map'" in said[1] and "finite pose" in said[2]
    found.store_fix(fix(48.0, 2.0))
    assert len(said) == 3  # each reason once in a while


def test_mode_map_takes_none() -> None:
    given = {"mode": "map", "session": "a.vprmap", "odom": "odom", "prior": {"fix": "/fix"}}
    with pytest.raises(ConfigError, match=r"prior\.fix needs mode:=localize"):
        node_params(given)


def test_the_node_listens_to_the_topics_it_is_given(street: Any, robot: Any, start_node: Any) -> None:
    """A start pose reaches the filter, and one in another frame is counted and named in the log."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
    from geometry_msgs.msg import PoseWithCovarianceStamped

    node = start_node(map=street.map, base_frame="''", **{"prior.initial_pose": "/initialpose"})
    message = PoseWithCovarianceStamped()
    message.pose.pose.orientation.w = 1.0
    for attempt in range(40):
        message.header.frame_id = "map" if attempt % 2 else "odom"
        robot.publish("/initialpose", message)
        robot.publish("/image", robot.image(street.draw(3), stamp_s=10.0 + 0.1 * attempt))
        robot.spin(0.2)
        counts = robot.diagnosis()[2] if robot.heard.get("/diagnostics") else {}
        if {"priors received", "priors not used", "images answered"} <= set(counts):
            break
    else:
        raise AssertionError(node.log)
    assert "in frame 'odom', not in the map's frame 'map'" in node.log
