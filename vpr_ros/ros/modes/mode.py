"""The interface of a mode: what the node does with a decoded image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.records import Frame, Prior


@dataclass(frozen=True, eq=False)
class ImageSample:
    """An image with the poses at its stamp.

    arrived_ns: time of its callback, monotonic clock.
    stamp_ns: time of exposure.
    frame_id: the camera's frame.
    image_rgb: (H, W, 3) uint8.
    T_base_camera: (4, 4), optical, or None if the camera's mounting is unknown.
    T_odom_camera: (4, 4) in odom_frame, or None without odometry.
    odometry_start: number of times odometry has restarted; poses with different numbers are unrelated.
    priors: what other sources say of the camera's position.
    camera: its topic, where there are several cameras; else empty.
    clock_problem: one sentence if its stamp is of another clock than the node's; else empty.
    """

    arrived_ns: int
    stamp_ns: int
    frame_id: str
    image_rgb: np.ndarray
    T_base_camera: np.ndarray | None = None
    T_odom_camera: np.ndarray | None = None
    odom_frame: str = ""
    odometry_start: int = 0
    priors: tuple[Prior, ...] = ()
    camera: str = ""
    clock_problem: str = ""

    @property
    def T_camera_base(self) -> np.ndarray | None:
        """(4, 4), or None if the camera's mounting is unknown."""
        return None if self.T_base_camera is None else geometry.inverse(self.T_base_camera)

    @property
    def T_odom_base(self) -> np.ndarray | None:
        """(4, 4) pose of the base, or None without odometry or mounting."""
        if self.T_odom_camera is None or self.T_camera_base is None:
            return None
        return self.T_odom_camera @ self.T_camera_base

    def frame(self, intrinsics: Intrinsics | None = None) -> Frame:
        """The sample as the localiser and the loop closer take it."""
        T_base_camera = self.T_base_camera if self.camera else None
        return Frame(
            self.stamp_ns, self.image_rgb, self.T_odom_camera, intrinsics, self.priors, self.camera, T_base_camera
        )


@dataclass(frozen=True)
class Reply:
    """Result of one image.

    words: one short line for people.
    sent_ns: time when the answer was published, monotonic clock.
    timings_ms: wall milliseconds of each step, by name; empty if nothing was computed.
    """

    words: str
    sent_ns: int
    timings_ms: dict[str, float] = field(default_factory=dict)


class Mode(Protocol):
    """Processes the pipeline's images. Called from the worker's thread."""

    needs_odometry: bool  # an image without odometry is skipped

    def answer(self, sample: ImageSample) -> Reply:
        """Process one image. Raises ImageError if it cannot be used."""
        ...

    def leave_out(self, camera: str, why: str) -> None:
        """An image of one of several cameras cannot be used. camera: its topic. why: one sentence."""
        ...

    def forget(self) -> None:
        """Forget all earlier images: the clock jumped back."""
        ...


class LiveMode(Mode, Protocol):
    """A mode of the live node, opened by configure. These methods are called from the executor's thread."""

    queue_size: int  # images that wait while one is processed; if there are more, the oldest is dropped

    @property
    def description(self) -> str:
        """Mode and map in a few words, for the log."""
        ...

    @property
    def problem(self) -> str:
        """The current problem as one sentence, or empty."""
        ...

    def odometry_restarted(self, start: int) -> None:
        """Odometry has restarted, for this many times. Called with its message, before an image comes."""
        ...

    def on_timer(self) -> None:
        """Called once a second."""
        ...

    def values(self) -> dict[str, str]:
        """Names and values for diagnostics."""
        ...

    def close(self) -> None:
        """Destroy services and publishers, close the maps."""
        ...
