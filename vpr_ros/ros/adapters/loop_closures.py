"""~/loop_closures as vpr_msgs/LoopClosure: everything known of a closure, for whoever wants to weigh it."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode

from vpr_msgs.msg import LoopClosure as LoopClosureMessage  # type: ignore[attr-defined]
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams


class LoopClosures:
    """Publishes every closure; one whose transform cannot be told goes out as not verified, without one."""

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(LoopClosureMessage, "~/loop_closures", 10)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Nothing is kept."""

    def closed(self, closure: ClosureAnswer) -> None:
        """Send it."""
        self._publisher.publish(loop_closure_message(closure))

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


def loop_closure_message(answer: ClosureAnswer) -> LoopClosureMessage:
    """A closure as one message, its transform as that of the robot's base."""
    closure, relative = answer.closure, answer.relative_base()
    return LoopClosureMessage(
        header=answer.header,
        keyframe_id=closure.keyframe_id,
        drive=answer.drive,
        match_stamp=convert.time_message(closure.match_stamp_ns),
        match_id=closure.match_id,
        match_drive=closure.match_drive,
        match_map=closure.match_map,
        similarity=float(closure.similarity),
        probability=float(closure.probability),
        inliers=int(closure.inliers),
        reprojection_px=float(closure.reprojection_px),
        verified=relative is not None,
        t_match_query=[] if relative is None else [convert.pose_with_covariance(*relative)],
    )
