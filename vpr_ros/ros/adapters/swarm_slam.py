"""Loop closures and descriptors for Swarm-SLAM, with the keyframe numbers of its own front end."""

from __future__ import annotations

import re
import threading
from collections import deque

import numpy as np
from cslam_common_interfaces.msg import GlobalDescriptor, GlobalDescriptors, KeyframeOdom, LocalKeyframeMatch
from rclpy.lifecycle import LifecycleNode

from vpr_ros.base import messages
from vpr_ros.base.errors import ConfigError
from vpr_ros.ros.adapters.stamp_table import StampTable
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

KEYFRAMES, MATCHES = "cslam/keyframe_odom", "cslam/local_keyframe_match"
DESCRIPTORS = "cslam/global_descriptors"
_NEAR_NS = 500_000_000  # maximum time between our keyframe and Swarm-SLAM's of the same place
_WAITING = 100  # maximum number of keyframes, and of closures, that wait for their numbers


class SwarmSlam:
    """Publishes pairs of keyframes, which Swarm-SLAM registers from its own images, and each keyframe's descriptor.

    The node must be in its robot's namespace of Swarm-SLAM: /r0, /r1, ... Raises ConfigError otherwise.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        robot = re.fullmatch(r"/(?:.*/)?r(\d+)", node.get_namespace())
        if robot is None:
            raise ConfigError(
                f"adapter 'swarm_slam' takes the robot's number from the node's namespace, but {node.get_namespace()}"
                " has none; start the node in Swarm-SLAM's namespace of this robot: /r0, /r1, ..."
            )
        self._robot = int(robot[1])
        self._node = node
        self._lock = threading.Lock()  # our keyframes come in the worker's thread, Swarm-SLAM's in the executor's
        self._table = StampTable()
        self._closures: deque[tuple[int, int]] = deque(maxlen=_WAITING)
        self._keyframes: deque[tuple[int, np.ndarray]] = deque(maxlen=_WAITING)
        self._described: set[tuple[int, int]] = set()  # number of restarts, and number
        self._matches = node.create_lifecycle_publisher(LocalKeyframeMatch, MATCHES, 100)
        self._descriptors = node.create_lifecycle_publisher(GlobalDescriptors, DESCRIPTORS, 100)
        self._numbers = node.create_subscription(KeyframeOdom, KEYFRAMES, self._learn, 100)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Publish its descriptor, now or when Swarm-SLAM has numbered it."""
        with self._lock:
            whole_image = np.atleast_2d(keyframe.descriptor)[0]
            self._keyframes.append((keyframe.stamp_ns, whole_image))
            self._send()

    def closed(self, closure: ClosureAnswer) -> None:
        """Publish the pair if both are of this drive, now or when Swarm-SLAM has numbered them."""
        if closure.own_past and closure.sure:
            with self._lock:
                self._closures.append((closure.closure.stamp_ns, closure.closure.match_stamp_ns))
                self._send()

    def forget(self) -> None:
        """Clear all stamps, Swarm-SLAM's too."""
        with self._lock:
            self._table.clear()
            self._closures.clear()
            self._keyframes.clear()
            self._described.clear()

    def close(self) -> None:
        """Destroy the publishers and stop listening."""
        self._node.destroy_subscription(self._numbers)
        for publisher in (self._matches, self._descriptors):
            self._node.destroy_lifecycle_publisher(publisher)

    def _learn(self, message: KeyframeOdom) -> None:
        with self._lock:
            self._table.add(message.id, messages.stamp_ns(message.odom.header.stamp))
            self._send()

    def _send(self) -> None:
        """Publish everything whose numbers are known. The caller holds the lock."""
        while self._keyframes and self._table.is_settled(self._keyframes[0][0]):
            stamp_ns, descriptor = self._keyframes.popleft()
            number = self._number(stamp_ns)
            if number is not None and (described := (self._table.restarts, number)) not in self._described:
                self._described.add(described)
                item = GlobalDescriptor(keyframe_id=number, robot_id=self._robot, descriptor=descriptor.tolist())
                self._descriptors.publish(GlobalDescriptors(descriptors=[item]))
        while self._closures and self._table.is_settled(self._closures[0][0]):
            now, earlier = (self._number(stamp_ns) for stamp_ns in self._closures.popleft())
            if now is not None and earlier is not None and now != earlier:
                self._matches.publish(LocalKeyframeMatch(keyframe0_id=now, keyframe1_id=earlier))

    def _number(self, stamp_ns: int) -> int | None:
        """Swarm-SLAM's number of the keyframe nearest to ours; None if none is near."""
        nearest = self._table.nearest(stamp_ns)
        return nearest[0] if nearest is not None and abs(nearest[1] - stamp_ns) <= _NEAR_NS else None
