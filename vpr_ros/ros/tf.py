"""Transforms between the robot's frames, from /tf and /tf_static, and where the camera sits on the robot.

A buffer of its own because tf2_ros does not exist outside a full ROS installation, and the node needs one lookup of it.
"""

from __future__ import annotations

import contextlib
import threading

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription

from vpr_ros.base import geometry
from vpr_ros.ros import convert
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.track import PoseTrack

_GAP_NS = 500_000_000  # a moving joint further away in time than this is unknown


class TransformBuffer:
    """The tree of frames. May be written and read from different threads. Knows no ROS."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: dict[str, str] = {}
        self._static: dict[str, np.ndarray] = {}
        self._moving: dict[str, PoseTrack] = {}

    def add(self, parent: str, child: str, stamp_ns: int, T_parent_child: np.ndarray, static: bool) -> None:
        """Store one (4, 4) transform."""
        with self._lock:
            self._parent[child] = parent
            if static:
                self._static[child] = T_parent_child
                return
            track = self._moving.setdefault(child, PoseTrack(keep=500))
        track.add(stamp_ns, T_parent_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> tuple[np.ndarray, bool] | None:
        """(T_target_source at a stamp, whether no joint between them moves), or None where the tree does not say."""
        up_target, up_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            return None
        chains = up_target[: up_target.index(common)], up_source[: up_source.index(common)]
        T_common_target, T_common_source = (self._compose(chain, stamp_ns) for chain in chains)
        if T_common_target is None or T_common_source is None:
            return None
        static = all(frame in self._static for chain in chains for frame in chain)
        return geometry.inverse(T_common_target) @ T_common_source, static

    def _ancestors(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        with self._lock:
            chain = [frame]
            while (parent := self._parent.get(chain[-1])) is not None and parent not in chain:
                chain.append(parent)
            return chain

    def _compose(self, chain: list[str], stamp_ns: int) -> np.ndarray | None:
        """T_ancestor_frame over a chain of children, first the frame itself."""
        T = np.eye(4)
        for child in chain:
            step = self._static.get(child)
            if step is None and (track := self._moving.get(child)) is not None:
                step = track.at(stamp_ns, _GAP_NS)
            if step is None:
                return None
            T = step @ T
        return T


class CameraMount:
    """Where the camera sits on the robot: a parameter's word, or TF's. Never a guess.

    /tf, which costs a Python process dearly, is listened to only while something asked for may move.
    """

    def __init__(self, node: Node, params: NodeParams) -> None:
        self._base_frame = params.base_frame
        self._buffer = TransformBuffer()
        self._T_base_camera: np.ndarray | None = None
        self._node = node
        self._static_listener: Subscription | None = None
        self._moving_listener: Subscription | None = None
        self._asked_is_static: dict[tuple[str, str], bool] = {}
        if params.camera_pose is not None:
            x, y, z, *rpy = params.camera_pose
            T_base_link = geometry.transform(geometry.matrix_from_rpy(*rpy), np.array([x, y, z]))
            self._T_base_camera = T_base_link @ geometry.T_BODY_OPTICAL
        if (params.base_frame and params.camera_pose is None) or params.odom:
            self._listen()

    def camera_in_base(self, camera_frame: str, stamp_ns: int) -> np.ndarray | None:
        """T_base_camera (4, 4), optical, at a stamp; None where neither the parameter nor TF tells."""
        if not self._base_frame:
            return np.eye(4)  # asked for: the pose published is the camera's own
        if self._T_base_camera is not None:
            return self._T_base_camera
        return self._transform(self._base_frame, camera_frame, stamp_ns)

    def camera_in(self, frame: str, camera_frame: str, stamp_ns: int) -> np.ndarray | None:
        """T_frame_camera (4, 4), optical, for a frame that odometry speaks of; None where nothing tells."""
        if frame == self._base_frame and self._base_frame:
            return self.camera_in_base(camera_frame, stamp_ns)
        T_frame_camera = self._transform(frame, camera_frame, stamp_ns)
        if T_frame_camera is None and self._base_frame:
            T_frame_base = self._transform(frame, self._base_frame, stamp_ns)
            T_base_camera = self.camera_in_base(camera_frame, stamp_ns)
            if T_frame_base is not None and T_base_camera is not None:
                return T_frame_base @ T_base_camera
        return T_frame_camera

    def missing(self, camera_frame: str) -> str:
        """What to say where ``camera_in_base`` has no answer."""
        if not camera_frame:
            return "images carry no frame_id, so TF cannot tell where the camera is; set camera_pose"
        source = "TF" if self._static_listener else "TF (package tf2_msgs is not installed)"
        return (
            f"no transform {self._base_frame} -> {camera_frame} in {source}, so no pose is published; publish it,"
            " set camera_pose, or set base_frame to '' for the camera's own pose"
        )

    def close(self) -> None:
        """Stop listening."""
        for listener in (self._static_listener, self._moving_listener):
            if listener is not None:
                self._node.destroy_subscription(listener)
        self._static_listener = self._moving_listener = None

    def tend(self) -> None:
        """Listen to /tf, or stop, as what has been asked for demands. Call now and then, in the executor's thread."""
        if self._static_listener is None:
            return
        asked = list(self._asked_is_static.values())  # a copy in one step: the worker adds to it
        settled = bool(asked) and all(asked)
        if settled and self._moving_listener is not None:
            self._node.destroy_subscription(self._moving_listener)
            self._moving_listener = None
        elif not settled and self._moving_listener is None:
            self._moving_listener = self._subscribe("/tf", QoSProfile(depth=100), static=False)

    def _transform(self, target: str, source: str, stamp_ns: int) -> np.ndarray | None:
        if target == source and target:
            return np.eye(4)
        T, static = self._buffer.lookup(target, source, stamp_ns) or (None, False)
        self._asked_is_static[target, source] = static
        return T

    def _listen(self) -> None:
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        with contextlib.suppress(ImportError):  # ``missing`` says so where it matters
            self._static_listener = self._subscribe("/tf_static", latched, static=True)
        self.tend()

    def _subscribe(self, topic: str, qos: QoSProfile, static: bool) -> Subscription:
        from tf2_msgs.msg import TFMessage

        def store(message: TFMessage) -> None:
            for stamped in message.transforms:
                T = convert.matrix_from_transform(stamped.transform)
                if T is not None:
                    parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
                    self._buffer.add(parent, child, convert.stamp_ns(stamped.header.stamp), T, static)

        return self._node.create_subscription(TFMessage, topic, store, qos)
