"""Conversions: a swapped axis or a covariance left in the wrong frame drives a robot into a wall, confidently."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from vpr_ros.base import covariance as covariances
from vpr_ros.base import geometry, messages
from vpr_ros.ros.outputs import convert


def some_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return geometry.transform(geometry.rotation_from_vector(rng.normal(size=3)), rng.normal(size=3))


def test_pose_and_stamp_there_and_back() -> None:
    T = some_pose(1)
    np.testing.assert_allclose(messages.matrix_from_pose(convert.pose_message(T)), T, atol=1e-12)
    assert messages.stamp_ns(convert.time_message(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_pose_that_is_none_is_none(value: float) -> None:
    """NaN odometry, and the all-zero quaternion of a message nobody filled in."""
    pose = Pose()
    pose.position.x = value
    pose.orientation.w = 1.0
    assert messages.matrix_from_pose(pose) is None
    unfilled = Pose()
    unfilled.orientation.w = 0.0
    assert messages.matrix_from_pose(unfilled) is None


def test_covariance_moves_with_the_lever_arm() -> None:
    """The base's covariance, against a cloud of camera poses drawn from the camera's."""
    T_map_camera, T_camera_base = some_pose(2), some_pose(3)
    rng = np.random.default_rng(4)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T
    T_map_base, moved = covariances.moved(T_map_camera, covariance, T_camera_base)
    draws = rng.multivariate_normal(np.zeros(6), covariance, 20_000)
    errors = np.empty_like(draws)
    for error, (x, y, z, *turn) in zip(errors, draws, strict=True):
        R_turn = geometry.rotation_from_vector(np.array(turn))
        T_drawn = geometry.transform(R_turn @ T_map_camera[:3, :3], T_map_camera[:3, 3] + [x, y, z]) @ T_camera_base
        error[:3] = T_drawn[:3, 3] - T_map_base[:3, 3]
        error[3:] = geometry.vector_from_rotation(T_drawn[:3, :3] @ T_map_base[:3, :3].T)
    np.testing.assert_allclose(np.cov(errors.T), moved, atol=0.05 * moved.max())
    assert np.linalg.eigvalsh(moved).min() > 0


def test_unknown_depth_is_nan() -> None:
    """REP-118: a 32FC1 depth image says "unknown" with NaN, not with an obstacle at the lens."""
    message = convert.depth_image(np.array([[0.0, 2.5]], np.float32), Header(frame_id="camera"))
    values = np.frombuffer(message.data, "<f4")
    assert np.isnan(values[0])
    assert values[1] == 2.5
    assert (message.width, message.height, message.step, message.encoding) == (2, 1, 8, "32FC1")
