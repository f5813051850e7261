"""What the node does with an image once it is decoded: the one thing that differs between its modes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from std_msgs.msg import Header

from vpr_ros.base import geometry
from vpr_ros.ros import convert


@dataclass(frozen=True, eq=False)
class Sighting:
    """An image and what is known of the moment it was taken.

    arrived_ns: when its callback ran, monotonic clock. header: the image's own. image_rgb: (H, W, 3) uint8.
    T_base_camera: (4, 4), optical, or None where nothing tells how the camera sits on the robot. T_odom_camera: (4, 4)
    in odom_frame, or None without odometry. odometry_start: counts how often odometry began anew; poses with different
    counts have nothing to do with each other.
    """

    arrived_ns: int
    header: Header
    image_rgb: np.ndarray
    T_base_camera: np.ndarray | None
    T_odom_camera: np.ndarray | None = None
    odom_frame: str = ""
    odometry_start: int = 0

    @property
    def stamp_ns(self) -> int:
        """Time of exposure."""
        return convert.stamp_ns(self.header.stamp)

    @property
    def T_camera_base(self) -> np.ndarray | None:
        """(4, 4), or None as T_base_camera."""
        return None if self.T_base_camera is None else geometry.inverse(self.T_base_camera)

    @property
    def T_odom_base(self) -> np.ndarray | None:
        """(4, 4) pose of the base, or None where odometry or the mount is unknown."""
        if self.T_odom_camera is None or self.T_camera_base is None:
            return None
        return self.T_odom_camera @ self.T_camera_base


@dataclass(frozen=True)
class Reply:
    """What became of an image.

    words: one short line for people. sent_ns: when the answer was published, monotonic clock. timings_ms: wall
    milliseconds of each step, by name; empty where there was nothing to do.
    """

    words: str
    sent_ns: int
    timings_ms: dict[str, float] = field(default_factory=dict)


class Role(Protocol):
    """A mode of the node, opened by configure. ``answer`` and ``forget`` are called from the worker's thread."""

    needs_odometry: bool  # an image without it is skipped
    room: int  # images that may wait while one is answered; the oldest of more is dropped

    @property
    def doing(self) -> str:
        """What it does on which map, in a few words for the log."""
        ...

    @property
    def trouble(self) -> str:
        """What is wrong, as one sentence; empty when all is well."""
        ...

    def answer(self, sighting: Sighting) -> Reply:
        """One image. Raises ImageError for one that is none."""
        ...

    def forget(self) -> None:
        """The past is void: the clock jumped back."""
        ...

    def tend(self) -> None:
        """What wants doing once a second, in the executor's thread."""
        ...

    def values(self) -> dict[str, str]:
        """Names with values for diagnostics."""
        ...

    def close(self) -> None:
        """Destroy services and publishers, close the maps."""
        ...
