"""Loop closures for LIO-SAM (branch ros2), which takes two stamps and measures the transform by ICP."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray

from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC = "lio_loop/loop_closure_detection"
_LEAST_APART_NS = 30_000_000_000  # LIO-SAM's historyKeyframeSearchTimeDiff: it ignores closer pairs
_EVERY_S = 1.0  # LIO-SAM takes one closure per round of its loop thread and queues at most five


class LioSam:
    """Publishes [current stamp, earlier stamp] in seconds, at most once a second of real time.

    A probable closure is sent even if it is not verified, as ICP verifies it. LIO-SAM maps a stamp from before its
    start to its first keyframe, so only closures on this drive's own past are sent.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(Float64MultiArray, TOPIC, 5)
        self._sent_s: float | None = None

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Not used: LIO-SAM takes closures alone."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Publish both stamps, newer first."""
        now_ns, earlier_ns = closure.closure.stamp_ns, closure.closure.match_stamp_ns
        if not (closure.own_past and closure.sure) or now_ns - earlier_ns < _LEAST_APART_NS:
            return
        now_s = time.monotonic()
        if self._sent_s is not None and now_s - self._sent_s < _EVERY_S:
            return
        self._sent_s = now_s
        self._publisher.publish(Float64MultiArray(data=[now_ns / 1e9, earlier_ns / 1e9]))

    def forget(self) -> None:
        """No state to clear."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)
