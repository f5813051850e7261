"""Which of another program's keyframes was taken when. Knows no ROS."""

from __future__ import annotations

import bisect


class StampTable:
    """Numbers that somebody else gave to moments, found again by the moment. Not for several threads at once."""

    def __init__(self) -> None:
        self._stamps_ns: list[int] = []
        self._ids: list[int] = []
        self._stamp_of: dict[int, int] = {}

    def add(self, number: int, stamp_ns: int) -> bool:
        """Learn one; whether it was new.

        A number that comes with another stamp than before means that the other program counts anew: all earlier
        numbers would name other moments now, and are forgotten.
        """
        known_ns = self._stamp_of.get(number)
        if known_ns == stamp_ns:
            return False
        if known_ns is not None:
            self.clear()
        at = bisect.bisect_right(self._stamps_ns, stamp_ns)
        self._stamps_ns.insert(at, stamp_ns)
        self._ids.insert(at, number)
        self._stamp_of[number] = stamp_ns
        return True

    def is_settled(self, stamp_ns: int) -> bool:
        """Whether what comes next can no longer be nearer to this moment, as numbers are given in order of time."""
        return bool(self._stamps_ns) and self._stamps_ns[-1] >= stamp_ns

    def nearest(self, stamp_ns: int) -> tuple[int, int] | None:
        """(number, its stamp) nearest in time, of two of one stamp the later learnt; None in an empty table."""
        if not self._stamps_ns:
            return None
        after = bisect.bisect_right(self._stamps_ns, stamp_ns)
        near = [at for at in (after - 1, after) if 0 <= at < len(self._ids)]
        best = min(near, key=lambda at: abs(self._stamps_ns[at] - stamp_ns))
        return self._ids[best], self._stamps_ns[best]

    def clear(self) -> None:
        """Forget everything."""
        self._stamps_ns.clear()
        self._ids.clear()
        self._stamp_of.clear()
