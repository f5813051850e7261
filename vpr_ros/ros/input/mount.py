"""The camera's mounting on the robot, from the parameter camera_pose or from TF. It is never guessed."""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_ros.base.frames import FrameTree
from vpr_ros.base.geometry import lies_on_side, looks_up
from vpr_ros.base.messages import matrix_from_transform, stamp_ns
from vpr_ros.base.track import PoseTrack

_GAP_NS = 500_000_000  # maximum time between an image and a moving joint's pose
_KEEP = 500  # poses kept of each moving joint


class CameraMount:
    """Poses of the camera on the robot. Thread-safe."""

    def __init__(self, base_frame: str, T_base_camera: np.ndarray | None = None) -> None:
        """base_frame: "" means the camera's own pose. T_base_camera: (4, 4), optical; None takes it from TF."""
        self.base_frame = base_frame
        self._tree = FrameTree()
        self._tracks: dict[tuple[str, str], PoseTrack] = {}
        self._requested_is_fixed: dict[tuple[str, str], bool] = {}
        self._source = "TF"
        self._refused: dict[str, str] = {}  # of each child frame, why its latest transform is not used
        self._T_base_camera = T_base_camera

    @property
    def needs_moving(self) -> bool:
        """Whether a requested transform may move, so that /tf is needed."""
        fixed = list(self._requested_is_fixed.values())  # a copy in one step: the worker adds to it
        return not (fixed and all(fixed))

    def without_transforms(self, why: str) -> None:
        """TF is not available. why: for the sentence of ``missing``."""
        self._source = f"TF ({why})"

    def store(self, message: Any, fixed: bool) -> str:
        """Store a tf2_msgs/TFMessage. fixed: from /tf_static.

        Returns a sentence if a transform is not finite or has no unit quaternion, and is skipped, as tf2 does, or if a
        fixed one has changed; else empty.
        """
        wrong = ""
        for stamped in message.transforms:
            T = matrix_from_transform(stamped.transform)
            parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
            if T is None:
                topic = "/tf_static" if fixed else "/tf"
                wrong = (
                    f"the transform {parent} -> {child} on {topic} is not used: it is not finite with a unit quaternion"
                )
                self._refused[child] = wrong
                continue
            self._refused.pop(child, None)
            if fixed:
                if self._tree.fix(parent, child, T):
                    wrong = (
                        f"the transform {parent} -> {child} on /tf_static has changed: if two robots or two nodes "
                        "publish it, remap /tf and /tf_static or give frames names of their own"
                    )
                continue
            track = self._tracks.get((parent, child))
            if track is None:
                track = self._tracks[parent, child] = PoseTrack(_GAP_NS, _KEEP)
            track.add(stamp_ns(stamped.header.stamp), T)
            self._tree.move(parent, child, track)
        return wrong

    def camera_in_base(self, camera_frame: str, stamp_ns: int) -> np.ndarray | None:
        """T_base_camera (4, 4), optical, at a stamp; None if neither the parameter nor TF gives it."""
        if not self.base_frame:
            return np.eye(4)  # base_frame is '': the pose published is the camera's own
        if self._T_base_camera is not None:
            return self._T_base_camera
        return self.between(self.base_frame, camera_frame, stamp_ns)

    def camera_in(self, frame: str, camera_frame: str, stamp_ns: int) -> np.ndarray | None:
        """T_frame_camera (4, 4), optical, for a frame of odometry; None if it is not available."""
        if frame == self.base_frame and self.base_frame:
            return self.camera_in_base(camera_frame, stamp_ns)
        given = self._T_base_camera is not None  # and wins over what TF says of the camera
        T_frame_camera = None if given else self.between(frame, camera_frame, stamp_ns)
        if T_frame_camera is None and self.base_frame:
            T_frame_base = self.between(frame, self.base_frame, stamp_ns)
            T_base_camera = self.camera_in_base(camera_frame, stamp_ns)
            if T_frame_base is not None and T_base_camera is not None:
                return T_frame_base @ T_base_camera
        return T_frame_camera

    def missing(self, camera_frame: str) -> str:
        """The sentence for the user if ``camera_in_base`` returns None."""
        if not camera_frame:
            return "images have no frame_id, so TF cannot give the camera's pose; set camera_pose"
        if self._tree.connected(self.base_frame, camera_frame):
            return (
                f"{self._source} has {self.base_frame} -> {camera_frame}, but not at the stamps of its images, so they "
                f"give no pose; publish its moving transforms within {_GAP_NS * 1e-9:g} s of each image, of the same "
                "clock"
            )
        ends = [self._tree.ancestors(frame)[-1] for frame in (camera_frame, self.base_frame)]  # where a link is missing
        refused = next((f" ({self._refused[frame]})" for frame in ends if frame in self._refused), "")
        return (
            f"no transform {self.base_frame} -> {camera_frame} in {self._source}{refused}, so its images give no pose; "
            "publish it, set camera_pose, or set base_frame to '' for the camera's own pose"
        )

    def doubt(self, T_base_camera: np.ndarray, camera_frame: str) -> str:
        """A sentence if the camera is mounted as it is by a mistake; else empty."""
        turned = "looks straight up" if looks_up(T_base_camera) else "lies on its side"
        if not self.base_frame or not (looks_up(T_base_camera) or lies_on_side(T_base_camera)):
            return ""
        if self._T_base_camera is not None:
            return (
                f"by camera_pose the camera {turned}: it must be of camera_link (x forward, y left, z up), not of the "
                "optical frame"
            )
        return (
            f"by {self._source} the camera {turned}: the frame_id of the images, {camera_frame}, must be of the "
            "optical frame (x right, y down, z ahead)"
        )

    def between(self, target: str, source: str, stamp_ns: int) -> np.ndarray | None:
        """T_target_source (4, 4) of two frames in TF at a stamp, or None if it is not available."""
        if target == source and target:
            return np.eye(4)
        T = self._tree.lookup(target, source, stamp_ns)
        self._requested_is_fixed[target, source] = T is not None and self._tree.is_fixed(target, source)
        return T
