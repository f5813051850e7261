"""Poses in order of time, and the pose in between. Knows no ROS."""

from __future__ import annotations

import bisect
import threading

import numpy as np

from vpr_ros.base import geometry


class PoseTrack:
    """The last poses of one moving frame. May be written and read from different threads.

    keep: poses held; the oldest go first.
    """

    def __init__(self, keep: int = 1000) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._stamps_ns: list[int] = []
        self._poses: list[np.ndarray] = []

    def add(self, stamp_ns: int, T: np.ndarray) -> None:
        """Append a (4, 4) pose; one earlier than the last is a clock that jumped back, and all before is forgotten."""
        with self._lock:
            if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
                if stamp_ns == self._stamps_ns[-1]:
                    return
                self._clear()
            self._stamps_ns.append(stamp_ns)
            self._poses.append(T)
            if len(self._stamps_ns) > 2 * self._keep:
                del self._stamps_ns[: self._keep], self._poses[: self._keep]

    def clear(self) -> None:
        """Forget every pose."""
        with self._lock:
            self._clear()

    def at(self, stamp_ns: int, gap_ns: int) -> np.ndarray | None:
        """(4, 4) pose at a stamp: between two poses, or past the newest at the same velocity.

        None where the nearest poses on either side are further than gap_ns from the stamp.
        """
        with self._lock:
            after = bisect.bisect_left(self._stamps_ns, stamp_ns)
            first = min(after, len(self._stamps_ns) - 1) - 1
            if after < len(self._stamps_ns) and self._stamps_ns[after] == stamp_ns:
                return self._poses[after]
            if after == 0 or stamp_ns - self._stamps_ns[after - 1] > gap_ns:
                return None
            if len(self._stamps_ns) == 1:
                return self._poses[0]
            start_ns, end_ns = self._stamps_ns[first], self._stamps_ns[first + 1]
            T_start, T_end = self._poses[first], self._poses[first + 1]
        if after == first + 1 and end_ns - stamp_ns > gap_ns:
            return None
        if end_ns - start_ns > gap_ns and after > first + 1:
            return T_end  # two poses too far apart to tell a velocity
        return geometry.interpolate(T_start, T_end, (stamp_ns - start_ns) / (end_ns - start_ns))

    def _clear(self) -> None:
        self._stamps_ns.clear()
        self._poses.clear()
