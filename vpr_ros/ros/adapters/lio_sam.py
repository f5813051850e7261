"""Loop closures for LIO-SAM (its branch ros2), which takes two stamps and measures the transform by ICP itself."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray

from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC = "lio_loop/loop_closure_detection"
_LEAST_APART_NS = 30_000_000_000  # LIO-SAM's historyKeyframeSearchTimeDiff: it ignores what is nearer
_EVERY_S = 1.0  # LIO-SAM takes one in each round of its loop thread and queues five at most


class LioSam:
    """Publishes [stamp now, stamp earlier] in seconds, at most once a second of real time.

    A closure without geometry is sent too where it is probable enough: ICP has the last word. LIO-SAM takes a stamp
    from before its start for its first keyframe, so only this drive's own past is sent.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(Float64MultiArray, TOPIC, 5)
        self._sent_s: float | None = None

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Nothing is kept."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Send both stamps, newer first."""
        now_ns, earlier_ns = closure.closure.stamp_ns, closure.closure.match_stamp_ns
        if not (closure.own_past and closure.sure) or now_ns - earlier_ns < _LEAST_APART_NS:
            return
        now_s = time.monotonic()
        if self._sent_s is not None and now_s - self._sent_s < _EVERY_S:
            return
        self._sent_s = now_s
        self._publisher.publish(Float64MultiArray(data=[now_ns / 1e9, earlier_ns / 1e9]))

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)
