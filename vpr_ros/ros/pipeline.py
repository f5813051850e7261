"""One image message in, one answer out: decode, check the order, look up mounting and odometry, pass to the mode.

No ROS here: the live node feeds it from subscriptions (``wiring``), ``vpr replay`` from a bag (``replay``).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vpr_ros.base.errors import VprError
from vpr_ros.base.image_messages import decode_message
from vpr_ros.base.image_order import ImageOrder, Ordered, clock_problem
from vpr_ros.base.messages import stamp_ns
from vpr_ros.ros.health.condition import Condition, Log
from vpr_ros.ros.health.counters import FrameTiming, Health
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.input.odometry import OdometryPose, OdometryTrack
from vpr_ros.ros.input.priors import PriorTrack
from vpr_ros.ros.modes.mode import ImageSample, Mode, Reply

_LATELY_NS = 5_000_000_000  # since an image, for its camera to count


@dataclass(frozen=True, eq=False)
class Arrival:
    """An image message on arrival.

    read: returns the message; raises ImageError if its bytes are damaged.
    time_ns: time of its callback, monotonic clock.
    clock_ns: the same on the ROS clock; 0 if that clock is not running.
    camera: its topic, where there are several cameras; else empty.
    """

    read: Callable[[], Any]
    time_ns: int
    clock_ns: int
    camera: str = ""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Result of one image.

    stamp_ns: its stamp, or the arrival time if the stamp could not be read.
    problem: why it was not answered, or empty.
    in_order: false if it was late or a duplicate.
    reply: of the mode, or None.
    """

    stamp_ns: int
    problem: str = ""
    in_order: bool = True
    reply: Reply | None = None


class _Camera:
    """What the pipeline keeps of one camera: the order of its images, and what is wrong with them."""

    def __init__(self, log: Log, name: str) -> None:
        self.name = name
        self.order = ImageOrder()
        self.mounted = False  # whether the mounting was known once
        self.clock_problem = ""  # one sentence if its stamps are of another clock than the node's
        self.on_clock_ns: int | None = None  # arrival of its last image with a stamp of the node's clock
        self.mount = Condition(log, "the camera's mounting is known now", name)
        self.stamps = Condition(log, "images have stamps that advance now", name)
        self.odometry = Condition(log, "images have odometry now", name)

    @property
    def problem(self) -> str:
        """Why poses are missing or degraded while its images arrive; empty if nothing is wrong."""
        return self.mount.lasting or self.stamps.lasting or self.odometry.lasting


class Pipeline:
    """The stages that every image passes. Call ``process`` from one thread."""

    def __init__(
        self,
        mode: Mode,
        mount: CameraMount,
        odometry: OdometryTrack | None,
        health: Health,
        log: Log,
        now_ns: Callable[[], int],
        priors: PriorTrack | None = None,
    ) -> None:
        """now_ns: the ROS clock."""
        self.mode = mode
        self._mount = mount
        self._odometry = odometry
        self._priors = priors
        self._health = health
        self._log = log
        self._now_ns = now_ns
        self._cameras: dict[str, _Camera] = {}
        self._traceback_shown = False

    @property
    def problem(self) -> str:
        """Why poses are missing or degraded while images arrive; empty if nothing is wrong."""
        return next((camera.problem for camera in list(self._cameras.values()) if camera.problem), "")

    @property
    def clock_problem(self) -> str:
        """One sentence if the images' stamps are of another clock than the node's; else empty."""
        for camera in list(self._cameras.values()):
            if camera.clock_problem:
                return f"{camera.name}: {camera.clock_problem}" if camera.name else camera.clock_problem
        return ""

    def process(self, arrival: Arrival) -> Outcome:
        """Answer one image. An image that cannot be used is dropped, counted and reported."""
        placed: Ordered | None = None
        camera = self._cameras.get(arrival.camera)
        if camera is None:
            camera = self._cameras[arrival.camera] = _Camera(self._log, arrival.camera)
        try:
            message = arrival.read()
            image_rgb = decode_message(message)
            placed = self._place(stamp_ns(message.header.stamp), arrival, camera)
            if not placed.taken:
                self._health.count(f"images {placed.problem}")
                return Outcome(placed.stamp_ns, placed.problem, in_order=False)
            if self._has_another_clock(camera, arrival):
                self._health.count("images left out: of another clock")
                return self._left_out(camera, placed.stamp_ns, camera.clock_problem)
            frame_id = message.header.frame_id.lstrip("/")
            sample = self._sample(camera, image_rgb, placed.stamp_ns, frame_id, arrival)
            if camera.name and sample.T_base_camera is None:
                self._health.count("images left out: mounting unknown")
                return self._left_out(camera, placed.stamp_ns, "the camera's pose on the robot is not known")
            if sample.T_odom_camera is None and self.mode.needs_odometry:
                self._health.whole_image(camera.name)
                return Outcome(placed.stamp_ns, "no odometry at its time")
            if self._priors is not None:  # last, since a start pose is given once
                T_base_camera = sample.T_base_camera if self._mount.base_frame else None
                sample = replace(sample, priors=self._priors.at(sample.stamp_ns, T_base_camera))
            reply = self.mode.answer(sample)
        except VprError as error:
            self._health.bad_image(str(error), camera.name)
            of = f" of {camera.name}" if camera.name else ""
            self._log.warning(f"image{of} dropped: {error}", throttle_duration_sec=5.0)
            return Outcome(placed.stamp_ns if placed else arrival.clock_ns, str(error))
        timing = None
        if reply.timings_ms:
            age = None if camera.clock_problem else (self._now_ns() - sample.stamp_ns) / 1e6
            timing = FrameTiming((reply.sent_ns - arrival.time_ns) / 1e6, age, reply.timings_ms)
        self._health.answered(timing, reply.words, camera.name)
        return Outcome(placed.stamp_ns, reply=reply)

    def failed(self, error: Exception) -> None:
        """Handle an internal error: count it, log the first traceback, continue."""
        self._health.count("internal errors")
        text = "".join(traceback.format_exception(error)) if not self._traceback_shown else repr(error)
        self._traceback_shown = True
        self._log.error(f"internal error while processing an image: {text}", throttle_duration_sec=5.0)

    def _has_another_clock(self, camera: _Camera, arrival: Arrival) -> bool:
        """Whether a camera's stamps are of another clock than those of another camera that lately had images."""
        if not (camera.name and camera.clock_problem):
            return False
        seen_ns = [c.on_clock_ns for c in self._cameras.values() if c is not camera and c.on_clock_ns is not None]
        return any(arrival.time_ns - on_clock_ns < _LATELY_NS for on_clock_ns in seen_ns)

    def _left_out(self, camera: _Camera, stamp_ns: int, why: str) -> Outcome:
        """One of several cameras, whose image cannot be used."""
        self._health.whole_image(camera.name)
        self.mode.leave_out(camera.name, why)
        return Outcome(stamp_ns, f"{camera.name}: {why}")

    def _place(self, header_ns: int, arrival: Arrival, camera: _Camera) -> Ordered:
        """The stamp to use and whether the image is in order. If the clock jumped back, the mode forgets."""
        clock_ns = arrival.clock_ns
        placed = camera.order.place(header_ns, clock_ns or time.time_ns())
        if placed.taken:
            sentence = f"images come {placed.problem}, so the arrival time is used: set the stamps in the driver"
            camera.stamps.report(sentence if placed.problem else "")
        camera.clock_problem = _clock_problem(header_ns, clock_ns)
        if not camera.clock_problem:
            camera.on_clock_ns = arrival.time_ns
        if placed.back_ns and not self._has_another_clock(camera, arrival):
            back_s = placed.back_ns / 1e9
            self._log.warning(f"the images' stamps jumped back by {back_s:.3f} s: earlier images are forgotten")
            self._health.count("clock jumps")
            for other in self._cameras.values():
                if other is not camera:
                    other.order = ImageOrder()
            if self._priors is not None:
                self._priors.clear()
            self.mode.forget()
        return placed

    def _sample(
        self, camera: _Camera, image_rgb: np.ndarray, stamp_ns: int, frame_id: str, arrival: Arrival
    ) -> ImageSample:
        T_base_camera = self._mount.camera_in_base(frame_id, stamp_ns)
        camera.mount.report("" if T_base_camera is not None else self._mount.missing(frame_id))
        if T_base_camera is not None and not camera.mounted:
            camera.mounted = True
            if doubt := self._mount.doubt(T_base_camera, frame_id):
                self._log.warning(doubt)
        odometry = None if self._odometry is None else self._odometry.at(stamp_ns)
        if odometry is not None and camera.clock_problem and not _clock_problem(odometry.latest_ns, arrival.clock_ns):
            odometry = None  # it is of the node's clock, and says nothing of another one's times
        return ImageSample(
            arrived_ns=arrival.time_ns,
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            image_rgb=image_rgb,
            T_base_camera=T_base_camera,
            T_odom_camera=self._camera_in_odom(odometry, camera, frame_id, stamp_ns),
            odom_frame="" if odometry is None else odometry.odom_frame,
            odometry_start=0 if odometry is None else odometry.start,
            camera=camera.name,
            clock_problem=camera.clock_problem,
        )

    def _camera_in_odom(
        self, odometry: OdometryPose | None, camera: _Camera, camera_frame: str, stamp_ns: int
    ) -> np.ndarray | None:
        """(4, 4), or None without odometry; the reason is counted and reported."""
        if self._odometry is None:
            return None
        T_odom_camera, why = None, ""
        if odometry is None:
            why = self._odometry.missing(stamp_ns)
        else:
            T_child_camera = self._mount.camera_in(odometry.child_frame, camera_frame, stamp_ns)
            why = f"odometry is of frame '{odometry.child_frame}', but the camera's pose in it is unknown"
            if T_child_camera is not None:
                T_odom_camera, why = odometry.T_odom_child @ T_child_camera, ""
            elif odometry.child_frame != self._mount.base_frame:
                why += ": publish that transform or set base_frame to that frame"
        if T_odom_camera is None:
            self._health.count("images without odometry")
            why += "; images are skipped" if self.mode.needs_odometry else "; odometry is not used"
        camera.odometry.report(why)
        return T_odom_camera


def _clock_problem(header_ns: int, clock_ns: int) -> str:
    if not clock_ns:
        return "use_sim_time is set but /clock is not published: play the bag with --clock, or unset it"
    return clock_problem(header_ns, clock_ns) if header_ns > 0 else ""
