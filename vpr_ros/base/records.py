"""The records that pass between the layers: frozen, each with its units and frames.

Frames of reference (REP-103): ``map`` is east-north-up in metres; ``camera`` is the *optical* frame, x right,
y down, z forward. ``T_map_camera`` takes points from camera to map. Stamps are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import FrameError
from vpr_ros.base.geometry import pose_fault

T = TypeVar("T")


class OnDemand(Sequence[T], Generic[T]):
    """A sequence whose items are made on first access, so that the first need not wait for the others."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        """make: index in 0..count - 1 -> item."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a list: an estimate may leave its process."""
        return list, (list(self),)


@dataclass(frozen=True, eq=False)
class Prior:
    """Where the camera is by another source than its image: satellites, a dock, a click on the map."""

    position: np.ndarray
    """(2,) metres east and north in the map."""
    covariance: np.ndarray
    """(2, 2) of the position, square metres."""
    heading: float | None = None
    """Yaw of the optical axis, radians counter-clockwise from east; None if unknown."""
    heading_sigma: float = np.pi
    """Standard deviation of the heading, radians."""
    wrong: float = 0.2
    """Probability that the source is wrong by more than it says: a street canyon, an old pose, another frame."""
    lasting: bool = False
    """Whether it counts once and from then on, as a start pose does. Otherwise it counts for its image alone."""

    def check(self) -> None:
        """Raise FrameError, one sentence, for a position or a probability that is not valid."""
        position, covariance = np.asarray(self.position, float), np.asarray(self.covariance, float)
        shaped = position.shape == (2,) and covariance.shape == (2, 2)
        finite = shaped and bool(np.isfinite(position).all() and np.isfinite(covariance).all())
        if not finite or np.linalg.eigvalsh(covariance)[0] <= 0:
            raise FrameError("a prior needs a finite position (2,) and a positive covariance (2, 2), in metres")
        if self.heading is not None and not (np.isfinite(self.heading) and 0 < self.heading_sigma < np.inf):
            raise FrameError("a prior needs a finite heading in radians, or None, and a positive heading_sigma")
        if not 0 <= self.wrong <= 1:
            raise FrameError(f"a prior is wrong with probability {self.wrong}: give one from 0 to 1")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image, ready to be localised."""

    stamp_ns: int
    """Time of exposure."""
    image_rgb: np.ndarray
    """(H, W, 3) uint8."""
    T_odom_camera: np.ndarray | None = None
    """(4, 4) pose of the camera in the odometry frame at that time; None without odometry."""
    intrinsics: Intrinsics | None = None
    """Of the camera; None if it is not calibrated, in which case no metric pose can be measured."""
    priors: tuple[Prior, ...] = ()
    """What other sources say of the camera's position at that time."""
    camera: str = ""
    """Name of the camera, where a robot has several."""
    T_base_camera: np.ndarray | None = None
    """(4, 4) pose of the camera on the robot, whose x axis points forward; needed where it has several."""

    def check(self) -> None:
        """Raise FrameError, one sentence, for a field that would harm what is kept from image to image."""
        if isinstance(self.stamp_ns, bool) or not isinstance(self.stamp_ns, (int, np.integer)):
            raise FrameError(f"stamp_ns is {self.stamp_ns!r}: give integer nanoseconds")
        if not -(2**63) <= self.stamp_ns < 2**63:
            raise FrameError(f"stamp_ns {self.stamp_ns} does not fit 64 bits: give nanoseconds since 1970")
        if self.intrinsics is not None and not isinstance(self.intrinsics, Intrinsics):
            raise FrameError("intrinsics is no Intrinsics: give Intrinsics(width, height, K), or None")
        for name in ("T_odom_camera", "T_base_camera"):
            T = getattr(self, name)
            if T is not None and (fault := pose_fault(T)):
                raise FrameError(f"{name} is {fault}: give a (4, 4) array of finite floats, a rigid transform")
        if not isinstance(self.priors, (tuple, list)) or not all(isinstance(prior, Prior) for prior in self.priors):
            raise FrameError("priors is no tuple of Prior: give (prior,), or () without any")
        for prior in self.priors:
            prior.check()


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """One image of a drive, not decoded yet, with its true pose if the drive has one."""

    stamp_ns: int
    """Time of exposure."""
    read: Callable[[], np.ndarray]
    """() -> (H, W, 3) uint8 RGB. Raises DriveError or ImageError, which names the file or topic."""
    T_map_camera: np.ndarray | None = None
    """(4, 4) true pose in the drive's world; None if the drive has none at this time."""
    T_odom_camera: np.ndarray | None = None
    """(4, 4) pose in a drifting odometry frame, or None."""
    read_depth: Callable[[], np.ndarray] | None = None
    """() -> (H, W) float32 metres along the optical axis, 0 if unknown; None without depth."""
    detach: Callable[[], Callable[[], np.ndarray]] | None = None
    """() -> a ``read`` that any thread may call at any later time. Call it while the frame is the current one. None if
    only the thread that iterates the drive can read the image (a renderer)."""
    intrinsics: Intrinsics | None = None
    """Of the camera, or None if unknown."""

    def load(self) -> Frame:
        """Decode the image."""
        return Frame(self.stamp_ns, self.read(), self.T_odom_camera, self.intrinsics)


@dataclass(frozen=True, eq=False)
class Match:
    """A place of the map that looks like the image."""

    place_id: int
    drive: str
    """Name of the drive that recorded the place."""
    stamp_ns: int
    """Time at which the place was recorded."""
    similarity: float
    """Cosine of the mean-centred descriptors (``maps.centring``), -1 to 1. After a re-ranker, the sorted ones of the
    search, in the new order of the places."""
    probability: float
    """That the robot is at this place now."""
    T_map_camera: np.ndarray
    """(4, 4) pose from which the place was recorded."""
    covariance: np.ndarray
    """(6, 6) of the robot's pose if it is here: x y z roll pitch yaw about the map's axes, metres and radians."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A pose that the robot may have, from a cluster of places."""

    T_map_camera: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), positive definite: x y z roll pitch yaw about the map's axes, metres and radians."""
    probability: float
    """Calibrated. Those of an estimate and its off_map_probability sum to at most 1."""
    place_ids: tuple[int, ...]
    """The places in the cluster, most probable first."""
    inliers: int = 0
    """Number of local features that agree on the pose; 0 if it was not measured."""

    @property
    def measured(self) -> bool:
        """Whether the pose was measured from local features. Otherwise it is that of the places."""
        return self.inliers > 0


def likeliest(hypotheses: Sequence[Hypothesis], off_map_probability: float) -> Hypothesis | None:
    """The first of hypotheses (best first), or None if "not on this map" is at least as likely."""
    return hypotheses[0] if hypotheses and off_map_probability < hypotheses[0].probability else None


@dataclass(frozen=True, eq=False)
class Estimate:
    """The answer for one image."""

    stamp_ns: int
    hypotheses: Sequence[Hypothesis]
    """Best first, from all images so far."""
    matches: Sequence[Match]
    """Places for this image alone, most similar first."""
    off_map_probability: float
    """That the robot is not on this map."""
    depth: np.ndarray | None = None
    """(h, w) float32 metres, predicted by the network; None for a model without depth."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Wall milliseconds of each step, by name (preprocess, network, search, ...)."""
    problem: str = ""
    """Why the image is no evidence, such as that it is black; empty if it is evidence."""
    view_kept: float = 0.0
    """Share of the last counted view that the image still shows: 1 for the same view again, 0 for another one."""

    @property
    def best(self) -> Hypothesis | None:
        """The likeliest pose, or None if "not on this map" is at least as likely."""
        return likeliest(self.hypotheses, self.off_map_probability)


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """A keyframe of now and an earlier one that show the same place. Only a verified closure has a transform."""

    stamp_ns: int
    """Of the keyframe now."""
    keyframe_id: int
    """Of the keyframe now."""
    match_stamp_ns: int
    """Of the earlier keyframe."""
    match_id: int
    """Of the earlier keyframe, in its map."""
    match_drive: str
    """Name of the earlier keyframe's drive."""
    match_map: str
    """File name of the earlier keyframe's map; "" for this session's."""
    T_map_match: np.ndarray
    """(4, 4) pose of the earlier camera in its map, or in the odometry frame for this session's."""
    similarity: float
    """Cosine of the descriptors, -1 to 1."""
    probability: float
    """That it is the same place."""
    T_match_query: np.ndarray | None = None
    """(4, 4) metric pose of the camera now in the earlier camera's optical frame."""
    covariance: np.ndarray | None = None
    """(6, 6) of it, positive definite: x y z roll pitch yaw about the earlier camera's axes, metres and radians."""
    inliers: int = 0
    """Number of local features that agree."""
    reprojection_px: float = 0.0
    """Their root mean square reprojection error, in pixels of the image now."""

    @property
    def verified(self) -> bool:
        """Whether the transform was measured and neighbouring keyframes agree with it."""
        return self.T_match_query is not None


@dataclass(frozen=True, eq=False)
class Observation:
    """The result of one image for a growing map."""

    stamp_ns: int
    keyframe_id: int | None
    """In the session's map; None if the image did not become a keyframe (too near the last, or it shows nothing)."""
    closures: Sequence[LoopClosure] = ()
    """Found now. One that began a few keyframes ago has that keyframe's stamp."""
    depth: np.ndarray | None = None
    """(h, w) float32 metres, predicted by the network, or None."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Wall milliseconds of each step, by name."""
    descriptor: np.ndarray | None = None
    """Of a keyframe: (D,) or (V, D) float32, as stored in the map."""
    problem: str = ""
    """Why the image did not become a keyframe although the robot has moved far enough, one sentence, or empty."""
