"""Frames: the camera's place on the robot from TF, and map -> odom back to it."""

from __future__ import annotations

from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile

from vpr_ros.base import geometry, messages
from vpr_ros.ros.outputs import convert

SECOND = 10**9


def shifted(x: float, yaw: float = 0.0) -> np.ndarray:
    return geometry.transform(geometry.matrix_from_rpy(0, 0, yaw), np.array([x, 0.0, 0.0]))


def tf_message(parent: str, child: str, T: np.ndarray, stamp_s: float) -> Any:
    from tf2_msgs.msg import TFMessage

    stamp = convert.time_message(int(stamp_s * SECOND))
    return TFMessage(transforms=[convert.transform_message(T, parent, child, stamp)])


def test_camera_from_tf_and_map_to_odom(street: Any, robot: Any, start_node: Any) -> None:
    """A URDF's chain base_link -> camera_link -> optical frame, odometry, and map -> odom that fits both."""
    needs.module_with("tf2_msgs.msg", of="TFMessage")
    from tf2_msgs.msg import TFMessage

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    robot.listen(TFMessage, "/tf")
    start_node(map=street.map, odom="/odom", publish_tf=True, transform_tolerance=0.2)
    chain = tf_message("base_link", "camera_link", geometry.transform(np.eye(3), np.array([0.5, 0, 1.5])), 0.0)
    chain.transforms += tf_message("camera_link", "camera_optical", geometry.T_BODY_OPTICAL, 0.0).transforms
    robot.publish("/tf_static", chain, latched)

    sent = 0
    while not robot.heard["/tf"] and sent < 30:
        sent += 1
        robot.publish("/odom", robot.odometry(7.0, 10.0 + 0.1 * sent))
        robot.publish("/image", robot.image(street.draw(5), 10.0 + 0.1 * sent))
        robot.spin(0.2)
    pose = robot.wait(lambda: robot.heard["/localizer/pose"], "a pose")[-1]
    base = messages.matrix_from_pose(pose.pose.pose)
    np.testing.assert_allclose(base[:3, 3], [street.spacing_m * 5 - 0.5, 0.0, 0.0], atol=1.0)

    # The chain turned out static, so the robot's joints no longer cost the node anything.
    robot.wait(lambda: not robot.node.get_subscriptions_info_by_topic("/tf")[1:], "no listener on /tf but ours")

    transform = robot.heard["/tf"][-1].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
    # Between images it goes on, dated ahead of "now" in the images' own time, and ends when they do.
    ahead_s = (messages.stamp_ns(transform.header.stamp) - messages.stamp_ns(pose.header.stamp)) / SECOND
    assert 0.2 <= ahead_s < 20.0
    stamps_ns = [messages.stamp_ns(message.transforms[0].header.stamp) for message in robot.heard["/tf"]]
    assert stamps_ns == sorted(stamps_ns)
    T_map_odom = messages.matrix_from_transform(transform.transform)
    np.testing.assert_allclose(T_map_odom @ shifted(7.0), base, atol=1e-6)
