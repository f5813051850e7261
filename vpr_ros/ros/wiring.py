"""The pipeline of the live node, with its inputs and outputs."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.base.errors import ImageError
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.listeners import OdometryListener, PriorListener, TransformListener
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.input.odometry import OdometryTrack
from vpr_ros.ros.input.priors import PriorTrack
from vpr_ros.ros.input.topics import resolved
from vpr_ros.ros.modes.localize import LocalizeMode
from vpr_ros.ros.modes.map import MapMode
from vpr_ros.ros.modes.mode import LiveMode
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.pipeline import Arrival, Pipeline
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode

_MODES: dict[str, type[LocalizeMode] | type[MapMode]] = {"localize": LocalizeMode, "map": MapMode}


class WiredPipeline:
    """Opens the mode and the subscriptions that the parameters name. ``process`` runs in the worker's thread."""

    def __init__(self, node: ResponsiveNode, params: NodeParams, health: Health) -> None:
        """Raises a VprError, one sentence, if the mode cannot be opened."""
        self._node = node
        self.message_types: dict[str, type[Image] | type[CompressedImage]] = {
            topic: CompressedImage if params.image_is_compressed(resolved(node, topic)) else Image
            for topic in params.image_topics
        }
        self._several = len(self.message_types) > 1
        log = node.get_logger()
        mount = CameraMount(params.base_frame, params.T_base_camera)
        track = OdometryTrack(resolved(node, params.odom), params.odom_gap, health, log) if params.odom else None
        self._transforms: TransformListener | None = None
        self._odometry: OdometryListener | None = None
        self._priors: PriorListener | None = None
        try:
            if (params.base_frame and params.camera_pose is None) or params.odom:
                self._transforms = TransformListener(node, mount)
            if track is not None:
                self._odometry = OdometryListener(node, params.odom, track)
            self.mode: LiveMode = _MODES[params.mode].open(node, params, mount)
            if track is not None:
                track.on_restart = self.mode.odometry_restarted
            priors = self._listen_to_priors(params, health)
        except BaseException:
            self._stop_listening()
            raise
        self._pipeline = Pipeline(
            self.mode, mount, track, health, log, lambda: node.get_clock().now().nanoseconds, priors
        )

    @property
    def problem(self) -> str:
        """Why poses are missing or degraded while images arrive; empty if nothing is wrong."""
        return self._pipeline.problem or self.mode.problem

    @property
    def clock_problem(self) -> str:
        """See Pipeline."""
        return self._pipeline.clock_problem

    def arrival(self, serialized: bytes, topic: str) -> Arrival:
        """A serialised image message that arrives now. The worker's thread deserialises it."""
        read = partial(_deserialized, serialized, self.message_types[topic])
        clock_ns = self._node.get_clock().now().nanoseconds
        return Arrival(read, time.monotonic_ns(), clock_ns, topic if self._several else "")

    def process(self, arrival: Arrival) -> None:
        """See Pipeline."""
        self._pipeline.process(arrival)

    def failed(self, error: Exception) -> None:
        """See Pipeline. Errors during shutdown are ignored."""
        if self._node.context.ok():
            self._pipeline.failed(error)

    def on_timer(self) -> None:
        """Call once a second, in the executor's thread."""
        for listener in (self._transforms, self._odometry):
            if listener is not None:
                listener.on_timer()
        self.mode.on_timer()

    def close(self) -> None:
        """Destroy subscriptions, publishers and services, close the maps. Stop the worker first."""
        self._stop_listening()
        self.mode.close()

    def _listen_to_priors(self, params: NodeParams, health: Health) -> PriorTrack | None:
        mode = self.mode
        if not params.prior.topics or not isinstance(mode, LocalizeMode):
            return None
        track = PriorTrack(
            params.prior, lambda: mode.localizer.place_map, lambda: mode.map_frame, health, self._node.get_logger()
        )
        self._priors = PriorListener(self._node, params.prior, track)
        return track

    def _stop_listening(self) -> None:
        for listener in (self._transforms, self._odometry, self._priors):
            if listener is not None:
                listener.close()


def _deserialized(serialized: bytes, message_type: Any) -> Any:
    try:
        return deserialize_message(serialized, message_type)
    except Exception as error:  # rclpy raises several types
        raise ImageError(f"the message is damaged ({str(error).splitlines()[0]})") from error
