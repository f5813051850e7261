"""Anchors: keyframe positions corrected by loop closures, so that copies of a place coincide.

Odometry drifts and may restart with another origin. In addition to its pose in odometry's frame, a keyframe therefore
has an anchored pose, in the odometry frame of the drive that saw the place first: the anchor. The anchored pose is a
correction times T_odom_camera; many keyframes share one correction. A loop closure gives the keyframes around it a new
correction. Nothing is optimised. Poses with different anchors cannot be compared.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from vpr_ros.base import geometry

_ROW = np.dtype([("drive", np.int32), ("correction", np.int32)])
_CORRECTION = np.dtype([("anchor", np.int32), ("T_anchor_odom", np.float64, (4, 4))])


class Anchors:
    """Corrections of rows 0 to N - 1, in the order they were stored. Drives are given by number.

    A row takes 8 bytes and a loop closure about 180. The time for each does not grow with their number.
    """

    def __init__(self) -> None:
        self._rows = np.zeros(1024, _ROW)
        self._count = 0
        self._corrections = np.zeros(64, _CORRECTION)
        self._made = 0
        self._latest: dict[int, int] = {}  # drive -> correction of its next keyframe
        self._begun: dict[int, int] = {}  # drive -> its first row
        self._linked: dict[int, list[int]] = {}  # drive -> its rows with a loop closure, ascending

    def __len__(self) -> int:
        return self._count

    def extend(self, drives: np.ndarray) -> None:
        """Add rows of these drives (K,), each corrected like the row before; the first row of a drive is not."""
        start, self._count = self._count, self._count + len(drives)
        self._rows = _enlarged(self._rows, self._count)
        new = self._rows[start : self._count]
        new["drive"] = drives
        for drive in map(int, np.unique(drives)):
            if drive not in self._latest:
                self._latest[drive] = self._correction(drive, np.eye(4))
                self._begun[drive] = start + int(np.argmax(drives == drive))
            new["correction"][drives == drive] = self._latest[drive]

    def positions(self, rows: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (K,) and their positions (K, 3) in odometry -> their anchors (K,) and positions (K, 3) in these."""
        corrections = self._corrections[self._rows["correction"][: self._count][rows]]
        T = corrections["T_anchor_odom"]
        return corrections["anchor"], np.einsum("kij,kj->ki", T[:, :3, :3], positions) + T[:, :3, 3]

    def link(
        self, query: int, match: int, T_odom_query: np.ndarray, T_odom_match: np.ndarray, T_match_query: np.ndarray
    ) -> None:
        """Add a loop closure from one row to an earlier one. T_odom_*, T_match_query: (4, 4).

        The first closure between two drives moves all keyframes of the later drive: nothing else relates the two.
        """
        anchor, T_anchor_odom = self._corrections[self._rows["correction"][match]]
        T_anchor_query = T_anchor_odom @ T_odom_match @ T_match_query
        T_anchor_odom = T_anchor_query @ geometry.inverse(T_odom_query)
        drive = int(self._rows["drive"][query])
        before, T_before_odom = self._corrections[self._rows["correction"][query]]
        if before == drive != anchor:
            own = self._corrections[: self._made]
            mine = own["anchor"] == drive
            T_anchor_before = T_anchor_odom @ geometry.inverse(T_before_odom)
            own["T_anchor_odom"][mine] = T_anchor_before @ own["T_anchor_odom"][mine]
            own["anchor"][mine] = anchor
        self._correct(query, match, drive, self._correction(int(anchor), T_anchor_odom))

    def _correct(self, query: int, match: int, drive: int, correction: int) -> None:
        """Correct the rows that are closer to the query than to the closures before and after, or to the match."""
        linked = self._linked.setdefault(drive, [])
        place = bisect_left(linked, query)
        known = linked[place - 1 : place]
        if self._rows["drive"][match] == drive and match < query:
            known = [*known, match]
        first = (max(known) + query) // 2 + 1 if known else self._begun[drive]
        later = [row for row in linked[place : place + 2] if row > query]
        end = (query + later[0]) // 2 + 1 if later else self._count
        rows = self._rows[first:end]
        rows["correction"][rows["drive"] == drive] = correction
        if not later:
            self._latest[drive] = correction
        if linked[place : place + 1] != [query]:
            linked.insert(place, query)

    def _correction(self, anchor: int, T_anchor_odom: np.ndarray) -> int:
        """Store a correction and return its number."""
        self._corrections = _enlarged(self._corrections, self._made + 1)
        self._corrections[self._made] = anchor, T_anchor_odom
        self._made += 1
        return self._made - 1


def _enlarged(array: np.ndarray, count: int) -> np.ndarray:
    """The array, doubled in size until it holds ``count`` items."""
    while count > len(array):
        array = np.concatenate([array, np.zeros_like(array)])
    return array
