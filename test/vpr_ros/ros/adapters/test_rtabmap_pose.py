"""RTAB-Map's global_pose: a prior whose frame_id means the sensor, not the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vpr_ros.base.messages import matrix_from_pose

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base import geometry

T_MAP_BASE = geometry.transform(geometry.matrix_from_rpy(0, 0, 1.2), np.array([30.0, -4.0, 0.2]))


@pytest.fixture
def heard(bench: Any, hear: Any, request: Any) -> tuple[Any, list[Any]]:
    from geometry_msgs.msg import PoseWithCovarianceStamped

    adapter = bench.open("rtabmap_pose", mode=request.param)
    return adapter, hear(PoseWithCovarianceStamped, "/global_pose", adapter._publisher)


@pytest.mark.parametrize("heard", ["localize"], indirect=True)
def test_sure_poses_in_the_frame_of_the_base(bench: Any, robot: Any, heard: Any) -> None:
    """RTAB-Map looks header.frame_id up as a sensor on the robot, and inverts the covariance."""
    adapter, messages = heard
    adapter.publish(bench.answer(4.0, T_MAP_BASE, probability=0.6))
    adapter.publish(bench.answer(5.0, T_MAP_BASE, covariance=np.full((6, 6), np.nan)))
    adapter.publish(bench.answer(5.0, T_MAP_BASE, T_camera_base=None))
    adapter.publish(bench.answer(5.0, T_MAP_BASE, problem="the image is black"))
    adapter.publish(bench.answer(5.0, T_MAP_BASE, clock_problem="stamps are of another clock"))
    adapter.publish(bench.answer(6.5, T_MAP_BASE))
    message = robot.wait(lambda: messages, "a pose")[0]
    assert message.header.frame_id == "base_link"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (6, 500_000_000)
    np.testing.assert_allclose(matrix_from_pose(message.pose.pose), T_MAP_BASE, atol=1e-9)
    sent = np.array(message.pose.covariance).reshape(6, 6)
    np.testing.assert_array_equal(sent, sent.T)
    assert np.linalg.eigvalsh(sent)[0] > 0


@pytest.mark.parametrize("heard", ["map"], indirect=True)
def test_closures_on_earlier_maps_are_priors(bench: Any, robot: Any, heard: Any) -> None:
    """The session's own past says nothing of where the graph lies on a map."""
    adapter, messages = heard
    T_map_match = T_MAP_BASE @ bench.T_base_camera
    adapter.closed(bench.closure(T_map_match=T_map_match))
    adapter.closed(bench.closure(T_map_match=T_map_match, match_map="town.vprmap", verified=False))
    adapter.closed(bench.closure(now_s=101.0, T_map_match=T_map_match, match_map="town.vprmap"))
    message = robot.wait(lambda: messages, "a pose")[0]
    assert (message.header.frame_id, message.header.stamp.sec) == ("base_link", 101)
    expected = T_MAP_BASE @ bench.T_match_base
    np.testing.assert_allclose(matrix_from_pose(message.pose.pose), expected, atol=1e-9)
