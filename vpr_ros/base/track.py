"""Poses over time: of a whole recording (Track), and as they arrive (PoseTrack)."""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass

import numpy as np

from vpr_ros.base.geometry import T_BODY_OPTICAL, interpolate, interpolate_track, matrix_from_rpy, transform
from vpr_ros.base.image_order import JumpBack
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span

TWO_POSES = "pose(s) left out: an earlier one of the same time differs"
_LATELY_NS = 100_000_000  # a velocity is that of this time
_SHORTEST_NS = 5_000_000  # of a time that tells one
_SAME_POSE = 1e-6  # of its numbers
SAME_PLACE_M = 0.01  # within which positions are the same: of a standing robot, or views of one panorama
_SHORTEST_TRIP = 8  # positions, below which any order may be that of a trip
_AHEAD = 1.5  # two steps of a trip, over one
_STRIDES = (1, 4, 16)  # positions that are a step
_FEW = 32  # such steps, below which they tell nothing
_FURTHER = 3.0  # the next position of a trip that goes nowhere, over the nearest
_LOOKED_AT = 100  # positions whose nearest is looked for
NO_GAP = 2**62  # nanoseconds: a widest gap for tracks that are whole


def is_trip(positions: np.ndarray) -> bool:
    """Whether positions (N, 2 or 3), metres, follow each other as on a trip, and not as the names of images do.

    On a trip two steps lead nearly twice as far as one. Where noise is larger than a step, more steps tell. Where they
    do not either, as in a crowded room, the next position is still about as near as the nearest.
    """
    around = np.asarray(positions, float)[:, :2]
    if len(around) < _SHORTEST_TRIP:
        return True
    steps = np.linalg.norm(np.diff(around, axis=0), axis=1)
    moved = around[np.append(True, steps > SAME_PLACE_M)]
    if len(moved) < _SHORTEST_TRIP:
        return True
    for stride in _STRIDES:
        some = moved[::stride]
        if stride > 1 and len(some) < _FEW:
            break
        one, two = (np.linalg.norm(some[k:] - some[:-k], axis=1).mean() for k in (1, 2))
        if two >= _AHEAD * one:
            return True
    return bool(np.median(steps[steps > SAME_PLACE_M]) <= _FURTHER * np.median(nearest_distances(moved)))


def moving(steps_m: np.ndarray) -> np.ndarray:
    """(N,) bool: which steps (N,), metres, lead to another place. All if none does: then nothing else is known."""
    moved = steps_m > SAME_PLACE_M
    return moved if moved.any() else np.ones_like(moved)


def nearest_distances(positions: np.ndarray) -> np.ndarray:
    """Distances (K,), metres, of some of the positions (N, 2) to the nearest other one, in the plane."""
    around = positions[:, :2]
    rows = np.unique(np.linspace(0, len(around) - 1, min(len(around), _LOOKED_AT)).astype(int))
    away = (np.linalg.norm(around - around[row], axis=1) for row in rows)
    nearest = np.array([distances[distances > SAME_PLACE_M].min(initial=np.inf) for distances in away])
    return nearest[np.isfinite(nearest)]


def first_of_each(stamps_ns: np.ndarray, poses: np.ndarray, tally: Tally | None, where: str) -> np.ndarray:
    """Rows of poses (N, numbers) in order of time, of those with one stamp (N,) the first.

    tally: counts the others that differ from it, as where two runs are joined. where: names the poses in it.
    """
    _, first, of = np.unique(stamps_ns, return_index=True, return_inverse=True)
    if tally is not None:
        differ = np.any(np.abs(poses - poses[first[of.reshape(-1)]]) > _SAME_POSE, axis=1)
        tally.add(TWO_POSES, where, int(differ.sum()))
    return np.asarray(first)


@dataclass(frozen=True, eq=False)
class Track:
    """Poses of something at ascending times. stamps_ns: (N,) int64. T: (N, 4, 4). max_gap_ns: widest gap bridged."""

    stamps_ns: np.ndarray
    T: np.ndarray
    max_gap_ns: int

    @classmethod
    def of(
        cls,
        stamps_ns: list[int] | np.ndarray,
        T: list[np.ndarray] | np.ndarray,
        max_gap_ns: int,
        tally: Tally | None = None,
        where: str = "",
    ) -> Track:
        """From stamps and poses in any order, see ``first_of_each``."""
        stamps, poses = np.asarray(stamps_ns, dtype=np.int64), np.asarray(T, dtype=float).reshape(-1, 16)
        rows = first_of_each(stamps, poses, tally, where)
        return cls(stamps[rows], poses[rows].reshape(-1, 4, 4), max_gap_ns)

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """(4, 4) pose at a time, interpolated, or None in a gap and outside."""
        return interpolate_track(self.stamps_ns, self.T, stamp_ns, self.max_gap_ns)

    @property
    def span(self) -> Span:
        """From the first to the last pose, and whether the gaps between them are bridged."""
        gap_ns = int(np.median(np.diff(self.stamps_ns))) if len(self.stamps_ns) > 1 else 0
        return Span(int(self.stamps_ns[0]), int(self.stamps_ns[-1]), gap_ns if gap_ns > self.max_gap_ns else 0)

    def compose(self, T_right: np.ndarray) -> Track:
        """The track of something fixed to this one: T @ T_right."""
        return Track(self.stamps_ns, self.T @ T_right, self.max_gap_ns)


class PoseTrack:
    """The latest poses of a moving frame, as they arrive. May be written and read from different threads."""

    def __init__(self, gap_ns: int, keep: int = 1000) -> None:
        """gap_ns: maximum distance in time from a pose. keep: number of poses held; the oldest are dropped first."""
        self._gap_ns, self._keep = gap_ns, keep
        self._lock = threading.Lock()
        self._stamps_ns: list[int] = []
        self._poses: list[np.ndarray] = []
        self._jump_back = JumpBack()

    def add(self, stamp_ns: int, T: np.ndarray) -> None:
        """Append a (4, 4) pose. One that is late is left out.

        With a second one after one that was late for long, the clock jumped back: the track starts anew.
        """
        with self._lock:
            if self._stamps_ns:
                jumped_back = self._jump_back.at(stamp_ns, self._stamps_ns[-1])
                if stamp_ns <= self._stamps_ns[-1] and not jumped_back:
                    return
                if jumped_back:
                    self._clear()
            self._stamps_ns.append(stamp_ns)
            self._poses.append(T)
            if len(self._stamps_ns) > 2 * self._keep:
                del self._stamps_ns[: self._keep], self._poses[: self._keep]

    def clear(self) -> None:
        """Forget every pose."""
        with self._lock:
            self._clear()

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """(4, 4) pose at a stamp: between two poses, or after the newest at constant velocity.

        That is the velocity over _LATELY_NS, since two messages may have come at nearly the same time. None if the
        nearest pose on either side is further than gap_ns from the stamp.
        """
        gap_ns = self._gap_ns
        with self._lock:
            after = bisect.bisect_left(self._stamps_ns, stamp_ns)
            if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp_ns:
                return self._poses[after]
            if after == 0 or stamp_ns - self._stamps_ns[after - 1] > gap_ns:
                return None
            if after == len(self._stamps_ns):
                T_ahead = self._ahead(stamp_ns, gap_ns)
                return self._poses[-1] if T_ahead is None else T_ahead
            start_ns, end_ns = self._stamps_ns[after - 1], self._stamps_ns[after]
            T_start, T_end = self._poses[after - 1], self._poses[after]
        if end_ns - stamp_ns > gap_ns:
            return None
        return interpolate(T_start, T_end, (stamp_ns - start_ns) / (end_ns - start_ns))

    def ahead(self, stamp_ns: int) -> np.ndarray | None:
        """(4, 4) pose at a stamp, however long after the newest pose, at constant velocity; None if that is unknown."""
        with self._lock:
            return self._ahead(stamp_ns, NO_GAP)

    def _ahead(self, stamp_ns: int, gap_ns: int) -> np.ndarray | None:
        """As ``ahead``. gap_ns: maximum time between the poses that tell the velocity."""
        newest = len(self._stamps_ns) - 1
        if newest < 1:
            return None
        end_ns = self._stamps_ns[-1]
        start = min(newest - 1, max(bisect.bisect_right(self._stamps_ns, end_ns - _LATELY_NS) - 1, 0))
        start_ns = self._stamps_ns[start]
        if not _SHORTEST_NS <= end_ns - start_ns <= gap_ns:
            return None  # two poses too near or too far apart to tell a velocity
        return interpolate(self._poses[start], self._poses[-1], (stamp_ns - start_ns) / (end_ns - start_ns))

    def _clear(self) -> None:
        self._stamps_ns.clear()
        self._poses.clear()


def planar_poses(positions: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(N, 3) positions and (N,) yaw counter-clockwise from east in radians -> (N, 4, 4) level poses of a body, z up."""
    return np.array([transform(matrix_from_rpy(0.0, 0.0, a), p) for p, a in zip(positions, yaw, strict=True)])


def camera_on_body(mount: np.ndarray | None) -> np.ndarray:
    """T_body_camera: the mount where it is known, else a camera at the body's origin that looks ahead."""
    return T_BODY_OPTICAL if mount is None else mount
