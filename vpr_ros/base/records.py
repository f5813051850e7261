"""What flows through the house: frozen records, each with its units and frames.

Frames of reference (REP-103): ``map`` is east-north-up in metres; ``camera`` is the *optical* frame, x right,
y down, z forward. ``T_map_camera`` takes points from camera to map. Stamps are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, overload

import numpy as np

from vpr_ros.base.camera import Intrinsics

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
    odometry frame at that time, or None where there is no odometry. intrinsics: of the camera, or None where unknown:
    nothing can be measured in the image then.
    """

    stamp_ns: int
    image_rgb: np.ndarray
    T_odom_camera: np.ndarray | None = None
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One image of a drive, not decoded yet, with the truth the drive knows about it.

    read: () -> (H, W, 3) uint8 RGB; raises DriveError or ImageError naming the file or topic.
    T_map_camera: (4, 4) true pose in the drive's world frame, or None where the drive has none at this time.
    T_odom_camera: (4, 4) pose in a drifting odometry frame, or None.
    read_depth: () -> (H, W) float32 metres along the optical axis, 0 where unknown; None where there is no depth.
    detach: () -> a read that any thread may call at any later time, holding what it needs; None where an image can
    only be read by the thread that iterates the drive (a renderer). To be called while the frame is the current one.
    intrinsics: of the camera, or None where the drive does not know them.
    """

    stamp_ns: int
    read: Callable[[], np.ndarray]
    T_map_camera: np.ndarray | None = None
    T_odom_camera: np.ndarray | None = None
    read_depth: Callable[[], np.ndarray] | None = None
    detach: Callable[[], Callable[[], np.ndarray]] | None = None
    intrinsics: Intrinsics | None = None

    def load(self) -> Frame:
        """Decode the image."""
        return Frame(self.stamp_ns, self.read(), self.T_odom_camera, self.intrinsics)


@dataclass(frozen=True, eq=False)
class Match:
    """One place of the map that looks like the image.

    similarity: cosine of the descriptors less their means (``retrieval.centring``), -1 to 1. probability: of the robot
    being at this place now.
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


def likeliest(hypotheses: Sequence[Hypothesis], off_map_probability: float) -> Hypothesis | None:
    """The first of hypotheses (best first), or None if "not on this map" is at least as likely."""
    return hypotheses[0] if hypotheses and off_map_probability < hypotheses[0].probability else None


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
        """The likeliest pose, or None if "not on this map" is at least as likely."""
        return likeliest(self.hypotheses, self.off_map_probability)


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """The robot was here before: a keyframe of now and one of earlier that show the same place.

    stamp_ns, keyframe_id: the keyframe of now. match_stamp_ns, match_id, match_drive: the earlier one, the last two by
    its map's own number and its drive's name; match_map: that map's file name, empty for the session's own.
    T_map_match: (4, 4) pose of the earlier camera in its map, or in odometry's frame for the session's own.
    similarity: cosine of the descriptors, -1 to 1. probability: that it is the same place.

    Of a verified closure: T_match_query (4, 4), metric pose of the camera now in the earlier camera's optical frame;
    covariance (6, 6) of it, order x y z roll pitch yaw about the earlier camera's axes, metres and radians, positive
    definite; inliers: local features that agree; reprojection_px: their root mean square distance, pixels of the image
    now. Others have no transform.
    """

    stamp_ns: int
    keyframe_id: int
    match_stamp_ns: int
    match_id: int
    match_drive: str
    match_map: str
    T_map_match: np.ndarray
    similarity: float
    probability: float
    T_match_query: np.ndarray | None = None
    covariance: np.ndarray | None = None
    inliers: int = 0
    reprojection_px: float = 0.0

    @property
    def verified(self) -> bool:
        """Whether geometry was measured and neighbouring keyframes agree with it."""
        return self.T_match_query is not None


@dataclass(frozen=True, eq=False)
class Observation:
    """What one image meant to a growing map.

    keyframe_id: its number in the session's map, or None where it did not become a keyframe (too near the last).
    closures: found now; agreement may confirm one that began a few keyframes ago, under that keyframe's stamp.
    depth: (h, w) float32 metres as hallucinated, or None. timings_ms: wall milliseconds of each step, by name.
    descriptor: of a keyframe, (D,) or (V, D) float32 as the map keeps it.
    """

    stamp_ns: int
    keyframe_id: int | None
    closures: Sequence[LoopClosure] = ()
    depth: np.ndarray | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    descriptor: np.ndarray | None = None
