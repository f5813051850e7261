"""The pose on `initialpose`, for Nav2's AMCL, slam_toolbox and RTAB-Map: once, and again when asked."""

from __future__ import annotations

import threading
import time

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vpr_ros.ros.outputs import convert, covariance
from vpr_ros.ros.outputs.answer import SURE, Answer, ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.services.serving import create_service

TOPIC = "initialpose"
_HEARD_FOR_S = 0.5  # a subscriber that DDS has found finds us a little later, and nothing is repeated


class InitialPose:
    """Publishes the first sure pose that somebody listens to, and one more after each call of ~/send_initial_pose.

    AMCL throws its filter away at every such message, so nothing but that call makes it send again: not a jump of the
    clock, not another map. While mapping, the pose comes from verified closures on earlier maps.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(PoseWithCovarianceStamped, TOPIC, 5)
        self._service = create_service(node, Trigger, "~/send_initial_pose", self._ask)
        self._wanted = threading.Event()
        self._wanted.set()
        self._heard_since_s: float | None = None

    def publish(self, answer: Answer) -> None:
        """Send a sure pose, where one is wanted."""
        heard, best = self._is_heard(), answer.estimate.best
        if not heard or best is None or best.probability < SURE or answer.T_camera_base is None:
            return
        moved = covariance.moved(best.T_map_camera, best.covariance, answer.T_camera_base)
        self._send(*moved, answer.map_header)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Look who listens, so that the first closure already is heard."""
        self._is_heard()

    def closed(self, closure: ClosureAnswer) -> None:
        """Send the pose on an earlier map, where one is wanted."""
        heard, in_map = self._is_heard(), closure.base_in_map()
        if heard and in_map is not None:
            self._send(*in_map, Header(stamp=closure.header.stamp, frame_id=closure.map_frame))

    def forget(self) -> None:
        """Nothing is kept, and nothing sent again unasked."""

    def close(self) -> None:
        """Destroy the publisher and the service."""
        self._node.destroy_service(self._service)
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _ask(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._wanted.set()
        response.success = True
        response.message = f"the next sure pose goes out on {self._publisher.topic_name}"
        return response

    def _is_heard(self) -> bool:
        """Whether somebody has listened for long enough that a message would arrive."""
        if not self._publisher.get_subscription_count():
            self._heard_since_s = None
            return False
        now_s = time.monotonic()
        if self._heard_since_s is None:
            self._heard_since_s = now_s
        return now_s - self._heard_since_s >= _HEARD_FOR_S

    def _send(self, T_map_base: np.ndarray, given: np.ndarray, header: Header) -> None:
        mended = covariance.sane(given)
        if not self._wanted.is_set() or mended is None or not np.isfinite(T_map_base).all():
            return
        # AMCL refuses a message with any element below 0, and correlations may be: only the variances go out.
        pose = convert.pose_with_covariance(T_map_base, np.diag(np.diag(mended)))
        self._wanted.clear()
        self._publisher.publish(PoseWithCovarianceStamped(header=header, pose=pose))
        self._node.get_logger().info(f"sent the pose once on {self._publisher.topic_name}")
