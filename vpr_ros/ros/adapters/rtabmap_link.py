"""Verified loop closures for RTAB-Map, as links between its own nodes, through its service `add_link`.

`mapData` gives the stamps of RTAB-Map's nodes. They (one a second) and our keyframes are of different images, so
odometry transforms a closure between keyframes to one between nodes.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rtabmap_msgs.msg import Link, MapData
from rtabmap_msgs.srv import AddLink

from vpr_ros.base import covariance, geometry
from vpr_ros.ros.adapters.stamp_table import StampTable
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.listeners import OdometryListener
from vpr_ros.ros.input.odometry import OdometryTrack
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams

TOPIC, SERVICE = "mapData", "rtabmap/add_link"
GLOBAL_CLOSURE = 1  # rtabmap::Link::kGlobalClosure
_LAST_S = 2.0**33  # the largest stamp, in the year 2242
_SAME_IMAGE_NS = 20_000_000  # maximum time between node and keyframe without odometry
_NEAR_NS = 1_000_000_000  # maximum time between node and keyframe with odometry
_WAITING, _PENDING = 100, 20  # maximum number of closures that wait for their nodes, and of calls without a response


class RtabmapLink:
    """Requests at most one link for each of RTAB-Map's nodes. RTAB-Map does not report whether it accepted a link.

    The link leads from the earlier node to the later one. Its information is the inverse of the covariance about the
    later node's axes, as RTAB-Map's optimisers take it.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._lock = threading.Lock()  # the worker's thread brings closures, the executor's RTAB-Map's nodes
        self._table = StampTable()
        self._waiting: deque[ClosureAnswer] = deque(maxlen=_WAITING)
        self._pending: deque[Any] = deque()
        self._linked_ns: set[int] = set()
        self._T_odom_base: dict[int, np.ndarray] = {}  # of our keyframes, by stamp: 0.3 kB each
        self._T_odom_child: dict[int, np.ndarray] = {}  # of RTAB-Map's nodes, by stamp
        self._T_child_base: np.ndarray | None = None
        self._odometry: OdometryTrack | None = None
        self._listener: OdometryListener | None = None
        if params.odom:
            self._odometry = OdometryTrack(params.odom, params.odom_gap, Health(), node.get_logger())
            self._listener = OdometryListener(node, params.odom, self._odometry)
        self._nodes = node.create_subscription(MapData, TOPIC, self._learn, 10)
        self._client = node.create_client(AddLink, SERVICE)

    def keyframe(self, keyframe: KeyframeRecord) -> None:
        """Store the base's pose in odometry."""
        if keyframe.T_odom_base is None:
            return
        odometry = None if self._odometry is None else self._odometry.at(keyframe.stamp_ns)
        with self._lock:
            self._T_odom_base[keyframe.stamp_ns] = keyframe.T_odom_base
            if odometry is not None:
                self._T_child_base = geometry.inverse(odometry.T_odom_child) @ keyframe.T_odom_base

    def closed(self, closure: ClosureAnswer) -> None:
        """Request the link, now or when RTAB-Map has published both nodes.

        Only closures on this drive's own past: nodes are found by stamps, and those of other drives name other places.
        """
        if not closure.own_past or closure.relative_base() is None:
            return
        with self._lock:
            self._waiting.append(closure)
            self._ask()

    def forget(self) -> None:
        """Clear all stamps, RTAB-Map's too."""
        with self._lock:
            self._table.clear()
            self._waiting.clear()
            self._linked_ns.clear()
            self._T_odom_base.clear()
            self._T_odom_child.clear()

    def close(self) -> None:
        """Destroy the client and stop listening."""
        if self._listener is not None:
            self._listener.close()
        self._node.destroy_subscription(self._nodes)
        self._node.destroy_client(self._client)

    def _learn(self, message: MapData) -> None:
        """Store the numbers and stamps of RTAB-Map's nodes."""
        with self._lock:
            for item in message.nodes:
                stamp_ns = round(item.stamp * 1e9) if 0 < item.stamp < _LAST_S else 0  # NaN and infinity are 0, too
                if item.id > 0 and stamp_ns > 0 and self._table.add(item.id, stamp_ns):
                    odometry = None if self._odometry is None else self._odometry.at(stamp_ns)
                    if odometry is not None:
                        self._T_odom_child[stamp_ns] = odometry.T_odom_child
            self._ask()

    def _ask(self) -> None:
        """Request every link whose nodes are known. The caller holds the lock."""
        if self._waiting and not self._client.service_is_ready():
            self._warn(f"loop closures wait for RTAB-Map's service {self._client.srv_name}; remap {SERVICE} to it")
            return
        for _ in range(len(self._waiting)):
            closure = self._waiting.popleft()
            if not self._table.is_settled(closure.closure.stamp_ns):
                self._waiting.append(closure)
            elif (link := self._link(closure)) is not None:
                self._call(AddLink.Request(link=link))

    def _link(self, closure: ClosureAnswer) -> Link | None:
        """The link between the nodes nearest to both keyframes; None if there are none, or it was already requested."""
        record, relative = closure.closure, closure.relative_base()
        earlier, later = self._node_at(record.match_stamp_ns), self._node_at(record.stamp_ns)
        if earlier is None or later is None:
            which = record.match_stamp_ns if earlier is None else record.stamp_ns
            self._warn(
                f"RTAB-Map has published no node near {which / 1e9:.3f} s, so a loop closure is dropped; if RTAB-Map"
                " started before this node, call its service publish_map"
            )
            return None
        (from_id, _, T_from_match), (to_id, to_ns, T_to_query) = earlier, later
        if from_id == to_id or to_ns in self._linked_ns or relative is None:
            return None
        self._linked_ns.add(to_ns)
        T_match_query, about_match = relative
        T, about_from = covariance.chained(T_from_match, T_match_query, about_match, geometry.inverse(T_to_query))
        valid = covariance.sane(covariance.about_end(T, about_from))
        if valid is None:
            return None
        return Link(
            from_id=from_id,
            to_id=to_id,
            type=GLOBAL_CLOSURE,
            transform=convert.transform_message(T, "", "", closure.header.stamp).transform,
            information=covariance.information(valid).reshape(-1),
        )

    def _node_at(self, stamp_ns: int) -> tuple[int, int, np.ndarray] | None:
        """(number, stamp, T_node_base) of the node nearest to our keyframe; None if it is too far away in time."""
        nearest = self._table.nearest(stamp_ns)
        if nearest is None:
            return None
        number, node_ns = nearest
        apart_ns = abs(node_ns - stamp_ns)
        T_odom_child, T_odom_base = self._T_odom_child.get(node_ns), self._T_odom_base.get(stamp_ns)
        if T_odom_child is not None and T_odom_base is not None and self._T_child_base is not None:
            T_node_base = geometry.inverse(T_odom_child @ self._T_child_base) @ T_odom_base
            return (number, node_ns, T_node_base) if apart_ns <= _NEAR_NS else None
        return (number, node_ns, np.eye(4)) if apart_ns <= _SAME_IMAGE_NS else None

    def _call(self, request: AddLink.Request) -> None:
        """Call the service. Drop the oldest call that RTAB-Map never answered."""
        self._pending = deque(future for future in self._pending if not future.done())
        while len(self._pending) >= _PENDING:
            self._client.remove_pending_request(self._pending.popleft())
        self._pending.append(self._client.call_async(request))

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=30.0)
