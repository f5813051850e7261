"""Mode map: builds a map while the robot drives, and closes loops on it and on earlier maps."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from rclpy.lifecycle import LifecycleNode

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.records import LoopClosure, Observation
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.ros import typed_messages
from vpr_ros.ros.adapters.depth import DepthOutput
from vpr_ros.ros.adapters.keyframes import KeyframeOutputs
from vpr_ros.ros.adapters.open import check_adapters, open_adapters
from vpr_ros.ros.health.condition import Condition
from vpr_ros.ros.input.camera_calibration import CameraCalibration
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.modes.mode import ImageSample, Reply
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import ClosureAdapter, ClosureAnswer, KeyframeRecord
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.services.saving import SaveMapService

_BETWEEN = "between keyframes"
_COUNTED = ("closures", "closures on earlier maps", "closures unverified")
_POSE_ADAPTERS = {"rtabmap_pose", "initial_pose"}  # they publish poses on earlier maps


class MapMode:
    """See LiveMode. Service: ~/save_map."""

    needs_odometry = True
    queue_size = 10  # images between keyframes cost almost nothing, so the backlog of a keyframe clears quickly

    def __init__(
        self, node: LifecycleNode, params: NodeParams, closer: LoopCloser, calibration: CameraCalibration
    ) -> None:
        """Raises ConfigError or MissingDependencyError for an adapter that cannot be opened."""
        self.closer = closer
        self._node = node
        self._params = params
        self._using = threading.Lock()  # one thread at a time uses the loop closer
        self._counts: Counter[str] = Counter()
        self._odometry_start: int | None = None
        self._mountings: dict[int, np.ndarray | None] = {}  # T_camera_base of each keyframe: it may move on a head
        self._last_words = _BETWEEN
        self._storing = Condition(node.get_logger(), "keyframes are stored again")
        self._content = Condition(node.get_logger(), "images have content again")
        self._calibrating = Condition(node.get_logger(), "the camera is calibrated now")
        self._calibration = calibration
        self._outputs = KeyframeOutputs(node)
        self._depth = DepthOutput(node, calibration)
        self._adapters: list[ClosureAdapter] = [self._outputs]
        try:
            self._adapters += open_adapters(_adapter_names(node, params), params.mode, node, params)
        except BaseException:
            self._close_outputs()
            raise
        session = closer.session.place_map.path
        folder = Path(params.save_folder) if params.save_folder else session.parent
        self._saving = SaveMapService(node, closer.save, session, folder)
        self._warn_of_raw_maps()

    @classmethod
    def open(cls, node: LifecycleNode, params: NodeParams, mount: CameraMount) -> MapMode:
        """Open the files that the parameters name. Raises a VprError, one sentence, if that fails."""
        session, earlier = Path(params.session), [Path(path) for path in params.earlier]
        check_adapters(params.adapters, params.mode)  # the cheap checks first
        if params.save_folder and not (os.path.isdir(params.save_folder) and os.access(params.save_folder, os.W_OK)):
            raise ConfigError(f"save_folder: {params.save_folder} is no folder that can be written: make it first")
        with ExitStack() as undo:
            calibration = CameraCalibration(node, params)
            undo.callback(calibration.close)
            if not os.path.exists(session):
                undo.callback(_remove_empty, session)
            closer = LoopCloser.open(
                session, earlier, params.model, params.backend, params.loops, params.network_threads
            )
            undo.callback(closer.close)
            mapping = cls(node, params, closer, calibration)
            undo.pop_all()  # nothing failed
            return mapping

    @property
    def description(self) -> str:
        """See LiveMode."""
        earlier = f", closing loops on {', '.join(self._params.earlier)} too," if self._params.earlier else ""
        return f"mapping into {self.closer.session.place_map.path}{earlier}"

    @property
    def problem(self) -> str:
        """See LiveMode. A map that cannot be written is more urgent than a missing calibration."""
        return self._storing.lasting or self._content.lasting or self._calibrating.lasting

    def answer(self, sample: ImageSample) -> Reply:
        """Add the image to the map if it is a keyframe, look for loop closures, and publish them."""
        height, width = sample.image_rgb.shape[:2]
        intrinsics = self._calibration.of_image(width, height)
        self._calibrating.report(self._calibration.problem)
        with self._using:
            if sample.odometry_start != self._odometry_start:
                self._begin(sample.odometry_start)
            try:
                observation = self.closer.observe(sample.frame(intrinsics))
            except MapError as error:
                self._storing.report(str(error))
                return Reply(f"not stored: {error}", time.monotonic_ns())
        if observation.problem:
            self._content.report(observation.problem)
            return Reply(observation.problem, time.monotonic_ns())
        if observation.keyframe_id is None:
            return Reply(self._last_words, time.monotonic_ns())
        self._content.report("")
        self._storing.report("")
        self._publish(observation, sample)
        self._last_words = in_words(observation)
        return Reply(self._last_words, time.monotonic_ns(), observation.timings_ms)

    def leave_out(self, camera: str, why: str) -> None:
        """See Mode: this one has one camera."""

    def forget(self) -> None:
        """Begin another drive of the session: the clock jumped back."""
        with self._using:
            self._begin(None)

    def odometry_restarted(self, start: int) -> None:
        """See LiveMode: the next image tells."""

    def on_timer(self) -> None:
        """See LiveMode."""
        self._calibration.on_timer()
        self._outputs.on_timer()

    def values(self) -> dict[str, str]:
        """See LiveMode."""
        session, manifest = self.closer.session, self.closer.describer.manifest
        return {
            "session": str(session.place_map.path),
            "drive": self.closer.drive,
            "keyframes": str(len(session)),
            "map size [MB]": f"{_bytes_on_disk(session.place_map.path) / 1e6:.1f}",
            "earlier maps": ", ".join(self._params.earlier) or "none",
            **{name: str(self._counts[name]) for name in _COUNTED},
            "closures that odometry refuses": str(self.closer.refused),
            "model": manifest.name,
            "backend": self.closer.describer.backend,
        }

    def close(self) -> None:
        """See LiveMode."""
        self._saving.close()
        self._close_outputs()
        self.closer.close()

    def _close_outputs(self) -> None:
        self._calibration.close()
        self._depth.close()
        for adapter in self._adapters:
            adapter.close()

    def _warn_of_raw_maps(self) -> None:
        """Warn if a pose adapter is chosen but an earlier map has only odometry poses."""
        raw = [m.place_map.path.name for m in self.closer.earlier if m.place_map.is_odometry]
        if raw and not _POSE_ADAPTERS.isdisjoint(self._params.adapters):
            self._node.get_logger().warning(
                f"the poses of {', '.join(raw)} are raw odometry, so no poses on it are published:"
                " set optimised poses with vpr map set-poses"
            )

    def _begin(self, odometry_start: int | None) -> None:
        """Poses have a new origin from now on: begin another drive, unless this is the first image."""
        if self._odometry_start is not None:
            self.closer.begin()
            for adapter in self._adapters:
                adapter.forget()
        self._odometry_start = odometry_start

    def _publish(self, observation: Observation, sample: ImageSample) -> None:
        """Publish a keyframe, then its loop closures."""
        assert observation.keyframe_id is not None and observation.descriptor is not None
        keyframe = KeyframeRecord(
            stamp_ns=sample.stamp_ns,
            keyframe_id=observation.keyframe_id,
            descriptor=observation.descriptor,
            T_odom_base=sample.T_odom_base,
            odom_frame=sample.odom_frame,
        )
        self._mountings[observation.keyframe_id] = sample.T_camera_base
        for adapter in self._adapters:
            adapter.keyframe(keyframe)
        for closure in observation.closures:
            kind = "closures" if not closure.match_map else "closures on earlier maps"
            self._counts[kind if closure.verified else "closures unverified"] += 1
            answer = self._answer(closure, sample)
            for adapter in self._adapters:
                adapter.closed(answer)
        self._depth.publish(observation.depth, sample)

    def _answer(self, closure: LoopClosure, sample: ImageSample) -> ClosureAnswer:
        """A closure as adapters take it. It may belong to a keyframe before this image."""
        frame_id = self._params.base_frame or sample.frame_id
        header = convert.header(closure.stamp_ns, frame_id)
        drive = self.closer.drive
        T_camera_base = self._mountings.get(closure.keyframe_id, sample.T_camera_base)
        if not closure.match_map:
            T_match_base = self._mountings.get(closure.match_id, T_camera_base)
            return ClosureAnswer(closure, header, sample.odom_frame, T_camera_base, T_match_base, drive)
        maps = {memory.place_map.path.name: memory.place_map for memory in self.closer.earlier}
        earlier = maps[closure.match_map]
        map_frame = self._params.map_frame or earlier.frame_id
        return ClosureAnswer(closure, header, map_frame, T_camera_base, T_camera_base, drive, earlier.is_odometry)


def _remove_empty(session: Path) -> None:
    """Delete a session's map that was just created, if it has no place and no other process writes it."""
    lock, wal, shm = (session.with_name(session.name + suffix) for suffix in (".lock", "-wal", "-shm"))
    with suppress(MapError, OSError):
        with PlaceMap.open(session) as place_map:
            empty = len(place_map) == 0
        if empty and not lock.exists():
            for file in (session, wal, shm):
                file.unlink(missing_ok=True)


def _bytes_on_disk(path: Path) -> int:
    """Size of a map and its write-ahead log."""
    total = 0
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def in_words(observation: Observation) -> str:
    """The keyframe and its closures as one short line."""
    words = f"keyframe {observation.keyframe_id}"
    for closure in observation.closures:
        check = f"{closure.inliers} features agree" if closure.verified else "not verified"
        words += f", loop with {closure.match_drive} {closure.match_id} ({check})"
    return words


def _adapter_names(node: LifecycleNode, params: NodeParams) -> Sequence[str]:
    """The chosen adapters, and ~/loop_closures if vpr_msgs is built."""
    if not typed_messages.available():
        node.get_logger().info("package vpr_msgs is not built: ~/loop_closures is not published")
        return params.adapters
    return ["loop_closures", *params.adapters]
