"""Subscriptions that feed odometry, priors and the camera's mounting."""

from __future__ import annotations

from functools import partial
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import NavSatFix

from vpr_ros.ros.input import qos, subscription_watch
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.input.odometry import OdometryTrack
from vpr_ros.ros.input.priors import PriorTrack
from vpr_ros.ros.params import PriorConfig


class OdometryListener:
    """Subscribes to an odometry topic."""

    def __init__(self, node: Node, topic: str, track: OdometryTrack) -> None:
        self._node, self._track = node, track
        profile = qos.overridden(node, topic, QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT))
        self._subscription = node.create_subscription(Odometry, topic, self._take, profile)

    def on_timer(self) -> None:
        """Find out why no message has come. Call once a second, in the executor's thread."""
        if not self._track.heard:
            self._track.silence = subscription_watch.no_odometry(self._node, self._subscription)

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def _take(self, message: Odometry) -> None:
        self._track.store(message)


class PriorListener:
    """Subscribes to the topics of priors."""

    def __init__(self, node: Node, config: PriorConfig, track: PriorTrack) -> None:
        self._node = node
        self._subscriptions = []
        for source, topic in config.topics.items():
            kind: Any = NavSatFix if source == "fix" else PoseWithCovarianceStamped
            store = track.store_fix if source == "fix" else partial(track.store_pose, source=source)
            profile = qos.overridden(node, topic, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
            self._subscriptions.append(node.create_subscription(kind, topic, store, profile))

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class TransformListener:
    """Subscribes to /tf_static, and to /tf while a requested transform may move.

    tf2_ros is not used: it needs a full ROS installation, and receiving /tf all the time is expensive in Python.
    """

    def __init__(self, node: Node, mount: CameraMount) -> None:
        self._node = node
        self._mount = mount
        self._fixed: Subscription | None = None
        self._moving: Subscription | None = None
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            mount.without_transforms("package tf2_msgs is not installed")
            return
        self._type: Any = TFMessage
        self._fixed = self._subscribe("/tf_static", DurabilityPolicy.TRANSIENT_LOCAL)
        self.on_timer()

    def on_timer(self) -> None:
        """Subscribe to /tf, or stop. Call once a second, in the executor's thread."""
        if self._fixed is None:
            return
        if not self._mount.needs_moving and self._moving is not None:
            self._node.destroy_subscription(self._moving)
            self._moving = None
        elif self._mount.needs_moving and self._moving is None:
            self._moving = self._subscribe("/tf", DurabilityPolicy.VOLATILE)

    def close(self) -> None:
        """Stop listening."""
        for subscription in (self._fixed, self._moving):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._fixed = self._moving = None

    def _subscribe(self, topic: str, durability: DurabilityPolicy) -> Subscription:
        fixed = durability == DurabilityPolicy.TRANSIENT_LOCAL
        profile = QoSProfile(depth=100, durability=durability)
        return self._node.create_subscription(self._type, topic, partial(self._store, fixed=fixed), profile)

    def _store(self, message: Any, fixed: bool) -> None:
        if wrong := self._mount.store(message, fixed):
            self._node.get_logger().warning(wrong, throttle_duration_sec=30.0)
