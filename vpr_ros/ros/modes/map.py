"""Mode map: a map grows as the robot drives, and loops are closed on its past and on earlier maps."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from rclpy.lifecycle import LifecycleNode

from vpr_ros.base.errors import MapError
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
_POSE_ADAPTERS = {"rtabmap_pose", "initial_pose"}  # they send poses on earlier maps


class MapMode:
    """See Mode. Service: ~/save_map."""

    needs_odometry = True
    queue_size = 10  # images between keyframes cost next to nothing, so a keyframe's time is soon caught up with

    def __init__(
        self, node: LifecycleNode, params: NodeParams, closer: LoopCloser, calibration: CameraCalibration
    ) -> None:
        """Raises ConfigError or MissingDependencyError for an adapter that cannot be opened."""
        self.closer = closer
        self._node = node
        self._params = params
        self._using = threading.Lock()  # the loop closer, by one thread at a time
        self._counts: Counter[str] = Counter()
        self._odometry_start: int | None = None
        self._last_words = _BETWEEN
        self._storing = Condition(node.get_logger(), "keyframes are stored again")
        self._calibrating = Condition(node.get_logger(), "the camera's lens is known now")
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
        """On the files that the parameters name. Raises a VprError, one sentence, where that cannot be."""
        session, earlier = Path(params.session), [Path(path) for path in params.earlier]
        check_adapters(params.adapters, params.mode)  # what costs nothing first
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
        """For the log."""
        earlier = f", closing loops on {', '.join(self._params.earlier)} too," if self._params.earlier else ""
        return f"mapping into {self.closer.session.place_map.path}{earlier}"

    @property
    def problem(self) -> str:
        """A map that cannot be written comes before a lens that is not known."""
        return self._storing.lasting or self._calibrating.lasting

    def answer(self, sample: ImageSample) -> Reply:
        """Remember one image, look whether the robot was there before, and publish."""
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
        if observation.keyframe_id is None:
            return Reply(self._last_words, time.monotonic_ns())
        self._storing.report("")
        self._publish(observation, sample)
        self._last_words = in_words(observation)
        return Reply(self._last_words, time.monotonic_ns(), observation.timings_ms)

    def forget(self) -> None:
        """The clock jumped back: what follows is another drive of the session."""
        with self._using:
            self._begin(None)

    def on_timer(self) -> None:
        """Once a second."""
        self._calibration.on_timer()
        self._outputs.on_timer()

    def values(self) -> dict[str, str]:
        """For diagnostics."""
        session, manifest = self.closer.session, self.closer.describer.manifest
        return {
            "session": str(session.place_map.path),
            "drive": self.closer.drive,
            "keyframes": str(len(session)),
            "map size [MB]": f"{_bytes_on_disk(session.place_map.path) / 1e6:.1f}",
            "earlier maps": ", ".join(self._params.earlier) or "none",
            **{name: str(self._counts[name]) for name in _COUNTED},
            "model": manifest.name,
            "backend": self.closer.describer.backend,
        }

    def close(self) -> None:
        """Destroy the service and the publishers, close every map."""
        self._saving.close()
        self._close_outputs()
        self.closer.close()

    def _close_outputs(self) -> None:
        self._calibration.close()
        self._depth.close()
        for adapter in self._adapters:
            adapter.close()

    def _warn_of_raw_maps(self) -> None:
        """Say which earlier maps give no poses to those who were promised some."""
        raw = [m.place_map.path.name for m in self.closer.earlier if m.place_map.is_odometry]
        if raw and not _POSE_ADAPTERS.isdisjoint(self._params.adapters):
            self._node.get_logger().warning(
                f"the poses of {', '.join(raw)} are raw odometry, so no pose on it is sent:"
                " give it optimised ones with vpr map set-poses"
            )

    def _begin(self, odometry_start: int | None) -> None:
        """Poses have another origin from now on. The first image of all begins nothing anew."""
        if self._odometry_start is not None:
            self.closer.begin()
            for adapter in self._adapters:
                adapter.forget()
        self._odometry_start = odometry_start

    def _publish(self, observation: Observation, sample: ImageSample) -> None:
        """A keyframe first, then the loops it closes."""
        assert observation.keyframe_id is not None and observation.descriptor is not None
        keyframe = KeyframeRecord(
            stamp_ns=sample.stamp_ns,
            keyframe_id=observation.keyframe_id,
            descriptor=observation.descriptor,
            T_odom_base=sample.T_odom_base,
            odom_frame=sample.odom_frame,
        )
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
        """A closure as adapters take it; it may be of a keyframe before this image."""
        frame_id = self._params.base_frame or sample.frame_id
        header = convert.header(closure.stamp_ns, frame_id)
        drive = self.closer.drive
        if not closure.match_map:
            return ClosureAnswer(closure, header, sample.odom_frame, sample.T_camera_base, drive)
        maps = {memory.place_map.path.name: memory.place_map for memory in self.closer.earlier}
        earlier = maps[closure.match_map]
        map_frame = self._params.map_frame or earlier.frame_id
        return ClosureAnswer(closure, header, map_frame, sample.T_camera_base, drive, earlier.is_odometry)


def _remove_empty(session: Path) -> None:
    """Take a session's map away that was made in vain: it holds no place, and nobody else adds to it."""
    lock, wal, shm = (session.with_name(session.name + suffix) for suffix in (".lock", "-wal", "-shm"))
    with suppress(MapError, OSError):
        with PlaceMap.open(session) as place_map:
            empty = len(place_map) == 0
        if empty and not lock.exists():
            for file in (session, wal, shm):
                file.unlink(missing_ok=True)


def _bytes_on_disk(path: Path) -> int:
    """Of a map and its write-ahead log."""
    total = 0
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def in_words(observation: Observation) -> str:
    """What an image meant to the map, as one short line for people."""
    words = f"keyframe {observation.keyframe_id}"
    for closure in observation.closures:
        how = f"{closure.inliers} features agree" if closure.verified else "not verified"
        words += f", loop with {closure.match_drive} {closure.match_id} ({how})"
    return words


def _adapter_names(node: LifecycleNode, params: NodeParams) -> Sequence[str]:
    """Those chosen, and the typed interface where it is there."""
    if not typed_messages.available():
        node.get_logger().info("package vpr_msgs is not built: ~/loop_closures is not published")
        return params.adapters
    return ["loop_closures", *params.adapters]
