"""Poses along time, and trees of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vpr_ros.base.geometry import T_BODY_OPTICAL, interpolate_track, inverse, matrix_from_rpy, transform
from vpr_ros.base.times import Span

NO_GAP = 2**62  # nanoseconds: a widest gap for tracks that are whole


@dataclass(frozen=True, eq=False)
class Track:
    """Poses of something at ascending times. stamps_ns: (N,) int64. T: (N, 4, 4). max_gap_ns: widest gap bridged."""

    stamps_ns: np.ndarray
    T: np.ndarray
    max_gap_ns: int

    @classmethod
    def of(cls, stamps_ns: list[int] | np.ndarray, T: list[np.ndarray] | np.ndarray, max_gap_ns: int) -> Track:
        """From stamps and poses in any order; of poses with one stamp the first stays."""
        stamps, order = np.unique(np.asarray(stamps_ns, dtype=np.int64), return_index=True)
        return cls(stamps, np.asarray(T, dtype=float).reshape(-1, 4, 4)[order], max_gap_ns)

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


def planar_poses(positions: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(N, 3) positions and (N,) yaw counter-clockwise from east in radians -> (N, 4, 4) level poses of a body, z up."""
    return np.array([transform(matrix_from_rpy(0.0, 0.0, a), p) for p, a in zip(positions, yaw, strict=True)])


def camera_on_body(mount: np.ndarray | None) -> np.ndarray:
    """T_body_camera: the mount where it is known, else a camera at the body's origin that looks ahead."""
    return T_BODY_OPTICAL if mount is None else mount


@dataclass(eq=False)
class TransformTree:
    """The frames of a bag's /tf and /tf_static. T_parent_child; a frame has one parent (a later one replaces it)."""

    max_gap_ns: int
    static: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    moving: dict[str, tuple[str, Track]] = field(default_factory=dict)

    def parent(self, frame: str) -> str | None:
        """The frame a frame hangs from, or None for a root."""
        found = self.static.get(frame) or self.moving.get(frame)
        return None if found is None else found[0]

    def ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, ... up to the root."""
        chain = [frame]
        while (parent := self.parent(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def connected(self, target: str, source: str) -> bool:
        """Whether a chain of transforms joins two frames."""
        return self.ancestors(target)[-1] == self.ancestors(source)[-1]

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray | None:
        """T_target_source at a time, or None where no chain joins them or a part of it has no pose then."""
        up_target, up_source = self.ancestors(target), self.ancestors(source)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            return None
        T_common_target = self._climb(up_target[: up_target.index(common)], stamp_ns)
        T_common_source = self._climb(up_source[: up_source.index(common)], stamp_ns)
        if T_common_target is None or T_common_source is None:
            return None
        return inverse(T_common_target) @ T_common_source

    def _climb(self, frames: list[str], stamp_ns: int) -> np.ndarray | None:
        """T_common_first of a chain of frames whose last one's parent is the common frame."""
        T = np.eye(4)
        for frame in frames:
            if frame in self.static:
                step: np.ndarray | None = self.static[frame][1]
            else:
                step = self.moving[frame][1].at(stamp_ns)
            if step is None:
                return None
            T = step @ T
        return T
