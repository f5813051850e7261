"""Loop closures and descriptors for Swarm-SLAM, under the numbers that its own front end gave to keyframes."""

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
_NEAR_NS = 500_000_000  # a keyframe of Swarm-SLAM no further from ours shows the same place
_WAITING = 100  # keyframes and closures whose numbers are not known yet, at most


class SwarmSlam:
    """Publishes pairs of keyframes, for Swarm-SLAM to register from its own images, and each keyframe's descriptor.

    The node has to be in its robot's namespace, as Swarm-SLAM has them: /r0, /r1, ... Raises ConfigError elsewhere.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        robot = re.fullmatch(r"/(?:.*/)?r(\d+)", node.get_namespace())
        if robot is None:
            raise ConfigError(
                f"adapter 'swarm_slam' takes the robot's number from the node's namespace, and {node.get_namespace()}"
                " tells none; start the node in Swarm-SLAM's namespace of this robot: /r0, /r1, ..."
            )
        self._robot = int(robot[1])
        self._node = node
        self._lock = threading.Lock()  # the worker's thread brings ours, the executor's Swarm-SLAM's keyframes
        self._table = StampTable()
        self._closures: deque[tuple[int, int]] = deque(maxlen=_WAITING)
        self._keyframes: deque[tuple[int, np.ndarray]] = deque(maxlen=_WAITING)
        self._described: set[int] = set()
        self._matches = node.create_lifecycle_publisher(LocalKeyframeMatch, MATCHES, 100)
        self._descriptors = node.create_lifecycle_publisher(GlobalDescriptors, DESCRIPTORS, 100)
        self._numbers = node.create_subscription(KeyframeOdom, KEYFRAMES, self._learn, 100)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Send its descriptor, now or when Swarm-SLAM has numbered it."""
        with self._lock:
            whole_image = np.atleast_2d(keyframe.descriptor)[0]
            self._keyframes.append((keyframe.stamp_ns, whole_image))
            self._send()

    def closed(self, closure: ClosureAnswer) -> None:
        """Send the pair, of this drive, now or when Swarm-SLAM has numbered both."""
        if closure.own_past and closure.sure:
            with self._lock:
                self._closures.append((closure.closure.stamp_ns, closure.closure.match_stamp_ns))
                self._send()

    def forget(self) -> None:
        """Every stamp is void, Swarm-SLAM's too."""
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
        """Everything whose numbers are known; the lock is held."""
        while self._keyframes and self._table.is_settled(self._keyframes[0][0]):
            stamp_ns, descriptor = self._keyframes.popleft()
            number = self._number(stamp_ns)
            if number is not None and number not in self._described:
                self._described.add(number)
                item = GlobalDescriptor(keyframe_id=number, robot_id=self._robot, descriptor=descriptor.tolist())
                self._descriptors.publish(GlobalDescriptors(descriptors=[item]))
        while self._closures and self._table.is_settled(self._closures[0][0]):
            now, earlier = (self._number(stamp_ns) for stamp_ns in self._closures.popleft())
            if now is not None and earlier is not None and now != earlier:
                self._matches.publish(LocalKeyframeMatch(keyframe0_id=now, keyframe1_id=earlier))

    def _number(self, stamp_ns: int) -> int | None:
        """Swarm-SLAM's number of the keyframe nearest to ours, where it is near."""
        nearest = self._table.nearest(stamp_ns)
        return nearest[0] if nearest is not None and abs(nearest[1] - stamp_ns) <= _NEAR_NS else None
