"""The pose on `initialpose` for Nav2's AMCL, slam_toolbox and RTAB-Map: once, and again on request."""

from __future__ import annotations

import threading
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vpr_ros.base import covariance, geometry
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer, ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.services.serving import create_service

TOPIC = "initialpose"
_PAUSE_S = 30.0  # least time until the watchdog may cause another one: the other needs it to converge, or to refuse
_MATCHED_S = 0.5  # a new subscriber discovers us a little after we discover it, and the message is not repeated


class InitialPose:
    """Publishes the first sure pose once there is a subscriber, and one more after each call of ~/send_initial_pose.

    AMCL resets its filter at every such message. So only that service causes another one, not a jump of the clock or
    another map; and, with watchdog.send_again, the watchdog while it says that the other localiser disagrees. In mode
    map, the pose comes from verified closures on earlier maps.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        # Without base_frame the pose is the camera's, whose z axis points ahead: the robot's is level, at the camera.
        self._T_pose_robot = np.eye(4) if params.base_frame else geometry.inverse(geometry.T_BODY_OPTICAL)
        self._publisher = node.create_lifecycle_publisher(PoseWithCovarianceStamped, TOPIC, 5)
        self._wanted = threading.Event()
        self._wanted.set()
        self._subscribed_s: float | None = None
        self._disagrees = threading.Event()
        self._sent_s = -_PAUSE_S
        self._service = create_service(node, Trigger, "~/send_initial_pose", self._ask)  # may be called at once
        self._watchdog: Subscription | None = None
        if params.watchdog.send_again and "watchdog" in params.adapters:
            self._watchdog = node.create_subscription(DiagnosticStatus, "~/watchdog", self._hear, 10)

    def publish(self, answer: Answer) -> None:
        """Send a sure pose, if one is wanted."""
        ready, sure = self._has_subscriber(), answer.sure_pose()
        if ready and sure is not None:
            self._send(*sure, answer.map_header)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Check for a subscriber, so that it is ready for the first closure."""
        self._has_subscriber()

    def closed(self, closure: ClosureAnswer) -> None:
        """Send the pose on an earlier map, if one is wanted."""
        ready, in_map = self._has_subscriber(), closure.base_in_map()
        if ready and in_map is not None:
            T_map_base, given = in_map
            self._send(T_map_base, given, Header(stamp=closure.header.stamp, frame_id=closure.map_frame))

    def forget(self) -> None:
        """Does not send the pose again."""

    def close(self) -> None:
        """Destroy the publisher, the service and the subscription."""
        if self._watchdog is not None:
            self._node.destroy_subscription(self._watchdog)
        self._node.destroy_service(self._service)
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _ask(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._wanted.set()
        response.success = True
        response.message = f"the next sure pose will be published on {self._publisher.topic_name}"
        return response

    def _hear(self, status: DiagnosticStatus) -> None:
        """The watchdog's message."""
        if status.level == DiagnosticStatus.ERROR and time.monotonic() - self._sent_s >= _PAUSE_S:
            self._disagrees.set()
        else:
            self._disagrees.clear()

    def _has_subscriber(self) -> bool:
        """Whether there has been a subscriber for long enough that a message would arrive."""
        if not self._publisher.get_subscription_count():
            self._subscribed_s = None
            return False
        now_s = time.monotonic()
        if self._subscribed_s is None:
            self._subscribed_s = now_s
        return now_s - self._subscribed_s >= _MATCHED_S

    def _send(self, T_map_base: np.ndarray, given: np.ndarray, header: Header) -> None:
        valid = covariance.sane(given)
        wanted = self._wanted.is_set() or self._disagrees.is_set()
        if not wanted or valid is None or not np.isfinite(T_map_base).all():
            return
        # AMCL refuses a message with a negative element, and correlations may be negative: send the variances alone.
        pose = convert.pose_with_covariance(T_map_base @ self._T_pose_robot, np.diag(np.diag(valid)))
        self._wanted.clear()
        self._disagrees.clear()
        self._sent_s = time.monotonic()
        self._publisher.publish(PoseWithCovarianceStamped(header=header, pose=pose))
        self._node.get_logger().info(f"published the initial pose on {self._publisher.topic_name}")
