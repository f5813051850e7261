"""One image message in, one answer out: decode, say where the camera is on the robot, localise, publish."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from vpr_ros import geometry
from vpr_ros.errors import ImageError, VprError
from vpr_ros.image_messages import decode_message
from vpr_ros.localizer import Localizer
from vpr_ros.records import Estimate, Frame
from vpr_ros.retrieval.place_map import PlaceMap
from vpr_ros.ros import convert
from vpr_ros.ros.answer import Adapter, Answer
from vpr_ros.ros.health import Health, Sample
from vpr_ros.ros.odometry import OdometryTrack
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.tf import CameraMount

_PATIENCE_S = 2.0  # for a transform that is missing, before the log says so


@dataclass(frozen=True, eq=False)
class Arrival:
    """An image message as it came over the wire. time_ns: of the callback, monotonic clock."""

    serialized: bytes
    time_ns: int


class Pipeline:
    """Everything an image passes. ``process`` runs in the worker's thread, the rest in the executor's."""

    def __init__(
        self, node: Node, params: NodeParams, localizer: Localizer, adapters: Sequence[Adapter], health: Health
    ) -> None:
        self.localizer = localizer
        self.trouble = ""  # why no pose is published although images come; empty when all is well
        self._node = node
        self._params = params
        self._adapters = adapters
        self._health = health
        self._message_type = CompressedImage if params.image_is_compressed else Image
        self._mount = CameraMount(node, params)
        self._odometry = OdometryTrack(node, params.odom, params.odom_gap, health) if params.odom else None
        self._using = threading.Lock()  # the localiser, by one thread at a time
        self._last_stamp_ns: int | None = None
        self._traceback_shown = False
        self._trouble_since_s = 0.0
        self._trouble_logged = False

    @property
    def place_map(self) -> PlaceMap:
        """The map in use."""
        assert self.localizer.place_map is not None  # Localizer.open sets it
        return self.localizer.place_map

    @property
    def map_frame(self) -> str:
        """frame_id of the poses published."""
        return self._params.map_frame or self.place_map.frame_id

    def process(self, arrival: Arrival) -> None:
        """Answer one image. A bad one is dropped, counted and reported."""
        try:
            message = self._read(arrival)
            stamp_ns = convert.stamp_ns(message.header.stamp)
            image_rgb = decode_message(message)
            with self._using:
                self._forget_if_clock_jumped(stamp_ns)
                answer = self._localize(image_rgb, message.header, arrival.time_ns)
        except VprError as error:
            self._health.bad_image()
            self._node.get_logger().warning(f"image dropped: {error}", throttle_duration_sec=5.0)
            return
        pose, *others = self._adapters
        pose.publish(answer)
        latency = (time.monotonic_ns() - arrival.time_ns) / 1e6
        for adapter in others:
            adapter.publish(answer)
        age = (self._node.get_clock().now().nanoseconds - stamp_ns) / 1e6
        self._health.answered(Sample(latency, age, answer.estimate.timings_ms), in_words(answer.estimate))

    def _read(self, arrival: Arrival) -> Image | CompressedImage:
        """The message. Raises ImageError where its bytes are none."""
        try:
            return deserialize_message(arrival.serialized, self._message_type)
        except Exception as error:  # rclpy's own, of several kinds
            raise ImageError(f"a message is damaged ({str(error).splitlines()[0]})") from error

    def failed(self, error: Exception) -> None:
        """An image met a fault of the program: say so with the traceback once, count it, live on."""
        if not self._node.context.ok():
            return  # shutting down: nothing can be published any more, and nothing is wrong
        self._health.count("internal errors")
        text = "".join(traceback.format_exception(error)) if not self._traceback_shown else repr(error)
        self._traceback_shown = True
        self._node.get_logger().error(f"an image could not be answered: {text}", throttle_duration_sec=5.0)

    def forget(self, localizer: Localizer | None = None) -> None:
        """Forget the past, and where one is given go on with another localiser."""
        with self._using:
            if localizer is not None:
                self.place_map.close()
                self.localizer = localizer
            self.localizer.reset()
            for adapter in self._adapters:
                adapter.forget()

    def tend(self) -> None:
        """What wants doing now and then, in the executor's thread."""
        self._mount.tend()

    def close(self) -> None:
        """Destroy subscriptions and publishers. Stop the worker first."""
        self._mount.close()
        if self._odometry is not None:
            self._odometry.close()
        for adapter in self._adapters:
            adapter.close()
        self.place_map.close()

    def _forget_if_clock_jumped(self, stamp_ns: int) -> None:
        if self._last_stamp_ns is not None and stamp_ns < self._last_stamp_ns:
            back_s = (self._last_stamp_ns - stamp_ns) / 1e9
            self._node.get_logger().warning(f"the images' clock jumped back by {back_s:.3f} s: the past is forgotten")
            self._health.count("clock jumps")
            self.localizer.reset()
            for adapter in self._adapters:
                adapter.forget()
        self._last_stamp_ns = stamp_ns

    def _localize(self, image_rgb: np.ndarray, header: Header, arrived_ns: int) -> Answer:
        stamp_ns = convert.stamp_ns(header.stamp)
        camera_frame = header.frame_id.lstrip("/")
        T_base_camera = self._mount.camera_in_base(camera_frame, stamp_ns)
        self._report("" if T_base_camera is not None else self._mount.missing(camera_frame))
        T_odom_camera, odom_frame = self._camera_in_odom(camera_frame, stamp_ns)
        estimate = self.localizer.localize(Frame(stamp_ns, image_rgb, T_odom_camera))
        T_camera_base = None if T_base_camera is None else geometry.inverse(T_base_camera)
        T_odom_base = None if T_odom_camera is None or T_camera_base is None else T_odom_camera @ T_camera_base
        map_header = Header(stamp=header.stamp, frame_id=self.map_frame)
        return Answer(arrived_ns, estimate, header, map_header, T_camera_base, T_odom_base, odom_frame)

    def _camera_in_odom(self, camera_frame: str, stamp_ns: int) -> tuple[np.ndarray | None, str]:
        """(T_odom_camera or None, the odometry's frame)."""
        if self._odometry is None:
            return None, ""
        odometry = self._odometry.at(stamp_ns)
        if odometry is None:
            self._health.count("images without odometry")
            return None, ""
        T_child_camera = self._mount.camera_in(odometry.child_frame, camera_frame, stamp_ns)
        if T_child_camera is None:
            self._health.count("images without odometry")
            self._node.get_logger().warning(
                f"odometry speaks of frame '{odometry.child_frame}' and nothing tells where the camera is on it:"
                " odometry is not used; publish that transform or set base_frame to that frame",
                throttle_duration_sec=60.0,
            )
            return None, odometry.odom_frame
        return odometry.T_odom_child @ T_child_camera, odometry.odom_frame

    def _report(self, trouble: str) -> None:
        """Log a trouble that lasts, once, and its end. At first TF may only be a little late."""
        now_s = time.monotonic()
        if trouble != self.trouble:
            self._trouble_since_s = now_s
            if self._trouble_logged:
                self._node.get_logger().info("the camera's place on the robot is known now")
            self._trouble_logged = False
        self.trouble = trouble
        if trouble and not self._trouble_logged and now_s - self._trouble_since_s > _PATIENCE_S:
            self._node.get_logger().error(trouble)
            self._trouble_logged = True


def in_words(estimate: Estimate) -> str:
    """An answer as one short line for people."""
    best = estimate.best
    if best is None:
        return f"not on this map ({estimate.off_map_probability:.0%})"
    x, y, z = best.T_map_camera[:3, 3]
    return f"camera at {x:.1f} {y:.1f} {z:.1f} m ({best.probability:.0%})"
