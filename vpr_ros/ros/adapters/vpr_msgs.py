"""~/matches as vpr_msgs/Matches: the places that look like the image, with their probabilities."""

from __future__ import annotations

import numpy as np
from rclpy.lifecycle import LifecycleNode

from vpr_msgs.msg import Match, Matches  # type: ignore[attr-defined]
from vpr_ros.base import covariance as covariances
from vpr_ros.base import records
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer


class TypedMatches:
    """Publishes ~/matches. Import this module only if vpr_msgs is built."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(Matches, "~/matches", 10)

    def publish(self, answer: Answer) -> None:
        """Publish the matches, if the camera's mounting is known and there is a subscriber."""
        if answer.T_camera_base is None or not self._publisher.get_subscription_count():
            return
        self._publisher.publish(matches_message(answer, answer.T_camera_base))

    def forget(self) -> None:
        """No state to clear."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


def matches_message(answer: Answer, T_camera_base: np.ndarray) -> Matches:
    """An answer as one message, with poses of the robot's base."""
    return Matches(
        header=answer.map_header,
        matches=[_match_message(match, T_camera_base) for match in answer.estimate.matches],
        off_map_probability=float(answer.estimate.off_map_probability),
    )


def _match_message(match: records.Match, T_camera_base: np.ndarray) -> Match:
    T_map_base, covariance = covariances.moved(match.T_map_camera, match.covariance, T_camera_base)
    return Match(
        place_id=int(match.place_id),
        drive=match.drive,
        stamp=convert.time_message(match.stamp_ns),
        similarity=float(match.similarity),
        probability=float(match.probability),
        pose=convert.pose_with_covariance(T_map_base, covariance),
    )
