"""One image message in, one answer out: decode, say where the camera is on the robot and on its way, hand it on."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from vpr_ros.base.errors import ImageError, VprError
from vpr_ros.base.image_messages import decode_message
from vpr_ros.base.image_order import ImageOrder, Ordered, clock_problem
from vpr_ros.ros import convert
from vpr_ros.ros.health import Health, Sample
from vpr_ros.ros.lifecycle import ResponsiveNode
from vpr_ros.ros.localizing import Localizing
from vpr_ros.ros.mapping import Mapping
from vpr_ros.ros.odometry import OdometryPose, OdometryTrack
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.role import Role, Sighting
from vpr_ros.ros.tf import CameraMount
from vpr_ros.ros.topics import resolved
from vpr_ros.ros.trouble import Trouble

_ROLES: dict[str, type[Localizing] | type[Mapping]] = {"localize": Localizing, "map": Mapping}


@dataclass(frozen=True, eq=False)
class Arrival:
    """An image message as it came over the wire. time_ns, clock_ns: of the callback, monotonic and ROS clock."""

    serialized: bytes
    time_ns: int
    clock_ns: int


class Pipeline:
    """Everything an image passes. ``process`` runs in the worker's thread, the rest in the executor's."""

    def __init__(self, node: ResponsiveNode, params: NodeParams, health: Health) -> None:
        """Raises a VprError, one sentence, where the role that the parameters name cannot be opened."""
        self._node = node
        self._health = health
        self.takes_compressed = params.image_is_compressed(resolved(node, params.image))
        self._message_type = CompressedImage if self.takes_compressed else Image
        self._mount = CameraMount(node, params)
        self._odometry: OdometryTrack | None = None
        self._mount_trouble = Trouble(node, "the camera's place on the robot is known now")
        self._odometry_trouble = Trouble(node, "images have odometry now")
        self._stamp_trouble = Trouble(node, "images have stamps that advance now")
        self._order = ImageOrder()
        self._clock_trouble = ""
        self._traceback_shown = False
        try:
            if params.odom:
                self._odometry = OdometryTrack(node, params.odom, params.odom_gap, health)
            self.role: Role = _ROLES[params.mode].open(node, params, self._mount)
        except BaseException:
            self._stop_listening()
            raise

    @property
    def trouble(self) -> str:
        """Why answers are none, or less than they could be, although images come; empty when all is well."""
        return (
            self._mount_trouble.lasting
            or self._stamp_trouble.lasting
            or self._odometry_trouble.lasting
            or self.role.trouble
        )

    @property
    def clock_trouble(self) -> str:
        """How far the images' stamps are from the node's clock, if that is no delay; else empty."""
        return self._clock_trouble

    def process(self, arrival: Arrival) -> None:
        """Answer one image. A bad one is dropped, counted and reported."""
        try:
            message = self._read(arrival)
            image_rgb = decode_message(message)
            placed = self._place(convert.stamp_ns(message.header.stamp), arrival.clock_ns)
            if not placed.taken:
                self._health.count(f"images {placed.problem}")
                return
            header = Header(stamp=convert.time_message(placed.stamp_ns), frame_id=message.header.frame_id)
            sighting = self._sighting(image_rgb, header, arrival.time_ns)
            if sighting.T_odom_camera is None and self.role.needs_odometry:
                return
            reply = self.role.answer(sighting)
        except VprError as error:
            self._health.bad_image()
            self._node.get_logger().warning(f"image dropped: {error}", throttle_duration_sec=5.0)
            return
        sample = None
        if reply.timings_ms:
            now_ns = self._node.get_clock().now().nanoseconds
            age = None if self._clock_trouble else (now_ns - sighting.stamp_ns) / 1e6
            sample = Sample((reply.sent_ns - arrival.time_ns) / 1e6, age, reply.timings_ms)
        self._health.answered(sample, reply.words)

    def failed(self, error: Exception) -> None:
        """An image met a fault of the program: say so with the traceback once, count it, live on."""
        if not self._node.context.ok():
            return  # shutting down: nothing can be published any more, and nothing is wrong
        self._health.count("internal errors")
        text = "".join(traceback.format_exception(error)) if not self._traceback_shown else repr(error)
        self._traceback_shown = True
        self._node.get_logger().error(f"an image could not be answered: {text}", throttle_duration_sec=5.0)

    def tend(self) -> None:
        """What wants doing now and then, in the executor's thread."""
        self._mount.tend()
        self.role.tend()

    def close(self) -> None:
        """Destroy subscriptions and publishers, close the maps. Stop the worker first."""
        self._stop_listening()
        self.role.close()

    def _stop_listening(self) -> None:
        self._mount.close()
        if self._odometry is not None:
            self._odometry.close()

    def _read(self, arrival: Arrival) -> Image | CompressedImage:
        """The message. Raises ImageError where its bytes are none."""
        try:
            return deserialize_message(arrival.serialized, self._message_type)
        except Exception as error:  # rclpy's own, of several kinds
            raise ImageError(f"a message is damaged ({str(error).splitlines()[0]})") from error

    def _place(self, header_ns: int, clock_ns: int) -> Ordered:
        """The time of an image and whether it comes in order; if the clock jumped back, the past is forgotten."""
        placed = self._order.place(header_ns, clock_ns or time.time_ns())
        if placed.taken:
            what = f"images come {placed.problem}, so the time of their arrival is used: have the driver stamp them"
            self._stamp_trouble.report(what if placed.problem else "")
        self._clock_trouble = self._clock_problem(header_ns, clock_ns)
        if placed.back_ns:
            back_s = placed.back_ns / 1e9
            self._node.get_logger().warning(f"the images' clock jumped back by {back_s:.3f} s: the past is forgotten")
            self._health.count("clock jumps")
            self.role.forget()
        return placed

    @staticmethod
    def _clock_problem(header_ns: int, clock_ns: int) -> str:
        if not clock_ns:
            return "use_sim_time is set and nothing publishes /clock: play the bag with --clock, or unset it"
        return clock_problem(header_ns, clock_ns) if header_ns > 0 else ""

    def _sighting(self, image_rgb: np.ndarray, header: Header, arrived_ns: int) -> Sighting:
        stamp_ns, camera_frame = convert.stamp_ns(header.stamp), header.frame_id.lstrip("/")
        T_base_camera = self._mount.camera_in_base(camera_frame, stamp_ns)
        self._mount_trouble.report("" if T_base_camera is not None else self._mount.missing(camera_frame))
        odometry = None if self._odometry is None else self._odometry.at(stamp_ns)
        T_odom_camera = self._camera_in_odom(odometry, camera_frame, stamp_ns)
        known = ("", 0) if odometry is None else (odometry.odom_frame, odometry.start)
        return Sighting(arrived_ns, header, image_rgb, T_base_camera, T_odom_camera, *known)

    def _camera_in_odom(self, odometry: OdometryPose | None, camera_frame: str, stamp_ns: int) -> np.ndarray | None:
        """(4, 4), or None without odometry; the reason is counted and reported."""
        if self._odometry is None:
            return None
        T_odom_camera, why = None, f"no odometry on {self._odometry.topic} near the images' stamps (odom_gap)"
        if odometry is not None:
            T_child_camera = self._mount.camera_in(odometry.child_frame, camera_frame, stamp_ns)
            why = f"odometry speaks of frame '{odometry.child_frame}' and nothing tells where the camera is on it"
            if T_child_camera is not None:
                T_odom_camera, why = odometry.T_odom_child @ T_child_camera, ""
            else:
                why += ": publish that transform or set base_frame to that frame"
        if T_odom_camera is None:
            self._health.count("images without odometry")
            why += "; images are skipped" if self.role.needs_odometry else "; odometry is not used"
        self._odometry_trouble.report(why)
        return T_odom_camera
