"""What flows through the house: frozen records, each with its units and frames.

Frames of reference (REP-103): ``map`` is east-north-up in metres; ``camera`` is the *optical* frame, x right,
y down, z forward. ``T_map_camera`` takes points from camera to map. Stamps are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


class OnDemand(Sequence[T], Generic[T]):
    """Items that are made when someone looks at them, each once: the best answer need not wait for the others."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        """make: number in 0..count - 1 -> item."""
        self._make = make
        self._made: list[T | None] = [None] * count

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, number: int) -> T: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[T]: ...

    def __getitem__(self, number: int | slice) -> T | Sequence[T]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        item = self._made[number]
        if item is None:
            item = self._made[number] = self._make(number % len(self._made))
        return item


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, ready to be localised.

    image_rgb: (H, W, 3) uint8. stamp_ns: time of exposure. T_odom_camera: (4, 4) pose of the camera in the
    odometry frame at that time, or None where there is no odometry.
    """

    stamp_ns: int
    image_rgb: np.ndarray
    T_odom_camera: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One image of a drive, not decoded yet, with the truth the drive knows about it.

    read: () -> (H, W, 3) uint8 RGB; raises DriveError or ImageError naming the file or topic.
    T_map_camera: (4, 4) true pose in the drive's world frame, or None where the drive has none at this time.
    T_odom_camera: (4, 4) pose in a drifting odometry frame, or None.
    read_depth: () -> (H, W) float32 metres along the optical axis, 0 where unknown; None where there is no depth.
    detach: () -> a read that any thread may call at any later time, holding what it needs; None where an image can
    only be read by the thread that iterates the drive (a renderer). To be called while the frame is the current one.
    """

    stamp_ns: int
    read: Callable[[], np.ndarray]
    T_map_camera: np.ndarray | None = None
    T_odom_camera: np.ndarray | None = None
    read_depth: Callable[[], np.ndarray] | None = None
    detach: Callable[[], Callable[[], np.ndarray]] | None = None

    def load(self) -> Frame:
        """Decode the image."""
        return Frame(self.stamp_ns, self.read(), self.T_odom_camera)


@dataclass(frozen=True, eq=False)
class Match:
    """One place of the map that looks like the image.

    similarity: cosine of the descriptors, -1 to 1. probability: of the robot being at this place now.
    T_map_camera: (4, 4) pose the place was recorded from. covariance: (6, 6) of the robot's pose if it is here,
    order x y z roll pitch yaw about the map's axes, metres and radians.
    """

    place_id: int
    drive: str
    stamp_ns: int
    similarity: float
    probability: float
    T_map_camera: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One place in space where the robot may be: a cluster of places.

    T_map_camera: (4, 4). covariance: (6, 6), order x y z roll pitch yaw about the map's axes, metres and
    radians, positive definite. probability: calibrated; those of an estimate and off the map sum to at most 1.
    """

    T_map_camera: np.ndarray
    covariance: np.ndarray
    probability: float
    place_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Estimate:
    """The answer for one image.

    hypotheses: best first, over the images so far. matches: this image's places, most similar first.
    off_map_probability: that the robot is nowhere on this map. depth: (h, w) float32 metres as hallucinated by the
    network, or None for a model without depth. timings_ms: wall milliseconds of each step, by name (preprocess,
    network, search, ...).
    """

    stamp_ns: int
    hypotheses: Sequence[Hypothesis]
    matches: Sequence[Match]
    off_map_probability: float
    depth: np.ndarray | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Hypothesis | None:
        """The likeliest pose, or None where "not on this map" is likelier."""
        if not self.hypotheses or self.off_map_probability >= self.hypotheses[0].probability:
            return None
        return self.hypotheses[0]
