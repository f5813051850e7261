"""`initialpose`: AMCL throws its filter away at each message, and refuses covariances that others take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base import geometry
from vpr_ros.base.messages import matrix_from_pose

T_MAP_BASE = geometry.transform(geometry.matrix_from_rpy(0.01, -0.02, 2.5), np.array([30.0, -4.0, 0.2]))


@pytest.fixture
def open_and_hear(bench: Any, hear: Any) -> Any:
    """open_and_hear(mode) -> (adapter, what comes on /initialpose)."""
    from geometry_msgs.msg import PoseWithCovarianceStamped

    def start(mode: str = "localize") -> tuple[Any, list[Any]]:
        adapter = bench.open("initial_pose", mode=mode)
        return adapter, hear(PoseWithCovarianceStamped, "/initialpose", adapter._publisher)

    return start


def drive(bench: Any, robot: Any, adapter: Any, images: int = 12, **answer: Any) -> None:
    """Answers at 10 Hz."""
    for k in range(images):
        adapter.publish(bench.answer(5.0 + 0.1 * k, T_MAP_BASE, **answer))
        robot.spin(0.1)


def test_once_and_again_on_request(bench: Any, robot: Any, open_and_hear: Any) -> None:
    """A filter reset at every image would never converge; a kidnapped robot needs one more."""
    from std_srvs.srv import Trigger

    adapter, heard = open_and_hear()
    drive(bench, robot, adapter)
    assert len(heard) == 1
    adapter.forget()  # a hiccup of the images' clock must not reset AMCL
    drive(bench, robot, adapter, images=4)
    assert len(heard) == 1
    response = robot.call(Trigger, "/localizer/send_initial_pose")
    assert response.success and "/initialpose" in response.message
    drive(bench, robot, adapter, images=4)
    assert len(heard) == 2


def test_message_is_one_that_amcl_takes(bench: Any, robot: Any, open_and_hear: Any) -> None:
    """In the map's frame, at the image's stamp, a unit quaternion, no element under 0 or over 1e9."""
    adapter, heard = open_and_hear()
    absurd = np.array(bench.covariance)
    absurd[2, 2] = 1e12
    assert (absurd < 0).any()
    drive(bench, robot, adapter, covariance=absurd)
    message = heard[0]
    assert message.header.frame_id == "town"
    assert message.header.stamp.sec == 5
    sent = np.array(message.pose.covariance)
    assert (sent >= 0).all() and (sent <= 1e9).all()
    assert np.linalg.eigvalsh(sent.reshape(6, 6))[0] > 0
    q = message.pose.pose.orientation
    assert np.linalg.norm([q.x, q.y, q.z, q.w]) == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(matrix_from_pose(message.pose.pose), T_MAP_BASE, atol=1e-9)


def test_waits_for_a_listener_and_for_a_sure_pose(bench: Any, robot: Any, hear: Any) -> None:
    """What is sent once must not go to nobody, nor be a guess: Nav2 may start a minute after the localiser."""
    from geometry_msgs.msg import PoseWithCovarianceStamped

    adapter = bench.open("initial_pose", mode="localize")
    drive(bench, robot, adapter, images=8)
    heard = hear(PoseWithCovarianceStamped, "/initialpose", adapter._publisher)
    drive(bench, robot, adapter, probability=0.6)
    assert not heard
    drive(bench, robot, adapter, images=2)
    assert len(heard) == 1


def test_while_mapping_a_closure_on_an_earlier_map_tells(bench: Any, robot: Any, open_and_hear: Any) -> None:
    """Only there is a pose on a map; the session's own past is in odometry's frame. The first one counts already."""
    adapter, heard = open_and_hear(mode="map")
    adapter.keyframe(bench.keyframe(1.0))
    robot.spin(0.6)
    T_map_match = T_MAP_BASE @ bench.T_base_camera
    adapter.closed(bench.closure(T_map_match=T_map_match))
    adapter.closed(bench.closure(T_map_match=T_map_match, match_map="town.vprmap", map_frame="town", verified=False))
    robot.spin(0.2)
    assert not heard
    for _ in range(2):
        adapter.closed(bench.closure(T_map_match=T_map_match, match_map="town.vprmap", map_frame="town"))
    robot.wait(lambda: heard, "the pose")
    robot.spin(0.2)
    assert len(heard) == 1
    assert (heard[0].header.frame_id, heard[0].header.stamp.sec) == ("town", 100)
    expected = T_MAP_BASE @ bench.T_match_base
    np.testing.assert_allclose(matrix_from_pose(heard[0].pose.pose), expected, atol=1e-9)


def test_the_watchdog_sends_it_again_with_a_pause(bench: Any, robot: Any, hear: Any, monkeypatch: Any) -> None:
    """A localiser that lost its place gets the pose once more; one that does not take it is not fought."""
    from diagnostic_msgs.msg import DiagnosticStatus
    from geometry_msgs.msg import PoseWithCovarianceStamped

    from vpr_ros.ros.adapters import initial_pose
    from vpr_ros.ros.params import WatchdogConfig

    monkeypatch.setattr(initial_pose, "_PAUSE_S", 4.0)
    config = {"adapters": ("watchdog", "initial_pose"), "watchdog": WatchdogConfig(send_again=True)}
    adapter = bench.open("initial_pose", mode="localize", **config)
    heard = hear(PoseWithCovarianceStamped, "/initialpose", adapter._publisher)

    def watch(level: bytes) -> None:
        robot.publish("/localizer/watchdog", DiagnosticStatus(level=level))
        robot.spin(0.2)

    drive(bench, robot, adapter)
    assert len(heard) == 1
    watch(DiagnosticStatus.ERROR)  # too soon after the first one
    drive(bench, robot, adapter, images=2)
    assert len(heard) == 1
    robot.spin(4.0)
    for level in (DiagnosticStatus.OK, DiagnosticStatus.WARN):
        watch(level)
        drive(bench, robot, adapter, images=2)
    assert len(heard) == 1
    watch(DiagnosticStatus.ERROR)
    watch(DiagnosticStatus.WARN)  # no longer sure: nothing is sent
    drive(bench, robot, adapter, images=2)
    assert len(heard) == 1
    for _ in range(3):
        watch(DiagnosticStatus.ERROR)
        drive(bench, robot, adapter, images=2)
    assert len(heard) == 2
