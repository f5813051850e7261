"""Stamps of another program's keyframes. No ROS here."""

from __future__ import annotations

import bisect


class StampTable:
    """Looks up another program's keyframe numbers by stamp. Not thread-safe."""

    def __init__(self) -> None:
        self._stamps_ns: list[int] = []
        self._ids: list[int] = []
        self._stamp_of: dict[int, int] = {}
        self.restarts = 0  # of the other program's count

    def add(self, number: int, stamp_ns: int) -> bool:
        """Add a number with its stamp; whether it was new.

        A known number with a new stamp, or one that follows a higher one in time, means that the other program
        restarted its count. Then all earlier numbers are invalid and are cleared.
        """
        known_ns = self._stamp_of.get(number)
        if known_ns == stamp_ns:
            return False
        before = bisect.bisect_left(self._stamps_ns, stamp_ns)
        if known_ns is not None or (before and self._ids[before - 1] > number):
            self.clear()
            self.restarts += 1
        at = bisect.bisect_right(self._stamps_ns, stamp_ns)
        self._stamps_ns.insert(at, stamp_ns)
        self._ids.insert(at, number)
        self._stamp_of[number] = stamp_ns
        return True

    def is_settled(self, stamp_ns: int) -> bool:
        """Whether no later entry can be nearer to this stamp. Numbers are given in the order of time."""
        return bool(self._stamps_ns) and self._stamps_ns[-1] >= stamp_ns

    def nearest(self, stamp_ns: int) -> tuple[int, int] | None:
        """(number, its stamp) nearest in time; of two with one stamp the one added last. None if the table is empty."""
        if not self._stamps_ns:
            return None
        after = bisect.bisect_right(self._stamps_ns, stamp_ns)
        near = [at for at in (after - 1, after) if 0 <= at < len(self._ids)]
        best = min(near, key=lambda at: abs(self._stamps_ns[at] - stamp_ns))
        return self._ids[best], self._stamps_ns[best]

    def clear(self) -> None:
        """Remove all entries."""
        self._stamps_ns.clear()
        self._ids.clear()
        self._stamp_of.clear()
