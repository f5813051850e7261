"""The places of a map as arrays, and the search for neighbours by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.track import is_trip, moving, nearest_distances
from vpr_ros.maps.constants import LEVELS, NEIGHBOURS, SCORES, STATISTICS, VARIETY
from vpr_ros.maps.levels import same_level
from vpr_ros.maps.stored_descriptors import all_cosines, at_rows, paired_cosines

_LARGEST_COORDINATE = 1e5  # metres; a map with larger ones gets an origin
_PIECE = 1024  # places whose descriptors are read at a time
_COLUMN = 2**32  # cells in a column of the grid of neighbours, more than there can be
_FURTHEST_M = 1e9  # from which on a radius is the whole map
# What a localiser takes from the descriptors of the whole map, to be stored where they are not all at hand.
WHOLE_MAP = ("mean_descriptor", "variety", "background", "steps", "elsewhere_cosine", "later_cosines")


@dataclass(frozen=True, eq=False)
class Places:
    """N places, one row each.

    ids: (N,) int64, in the map. drives: (N,) str, the drive each was recorded in. stamps_ns: (N,) int64. T_map_camera:
    (N, 4, 4) float64. descriptors: (N, V, D) float32, or float16 as the map stores them, unit length, of V views of
    each image (``image.views``); the first view is the whole image. Those of a large map are ``StoredDescriptors``:
    index them by the rows that are needed. heights_agree: whether heights of different drives can be compared.
    Satellites give heights that jump by tens of metres from drive to drive.
    """

    ids: np.ndarray
    drives: np.ndarray
    stamps_ns: np.ndarray
    T_map_camera: np.ndarray
    descriptors: np.ndarray
    heights_agree: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: np.ndarray) -> Places:
        """The places at these rows (indices or a mask), in that order."""
        arrays = self.ids, self.drives, self.stamps_ns, self.T_map_camera
        ids, drives, stamps_ns, T_map_camera = (array[rows] for array in arrays)
        return Places(ids, drives, stamps_ns, T_map_camera, at_rows(self.descriptors, rows), self.heights_agree)

    @property
    def positions(self) -> np.ndarray:
        """(N, 3) metres in the map."""
        return self.T_map_camera[:, :3, 3]

    @cached_property
    def headings(self) -> np.ndarray:
        """Yaw (N,) of the optical axis, radians counter-clockwise from east."""
        return geometry.heading(self.T_map_camera)

    @cached_property
    def mean_descriptor(self) -> np.ndarray:
        """Mean (D,) float32 over the views of ``distinct`` places; zero if there are none."""
        if not len(self):
            return np.zeros(self.descriptors.shape[2], np.float32)
        return np.asarray(self.descriptors[self.distinct], np.float32).mean(axis=(0, 1))

    @cached_property
    def variety(self) -> float:
        """1 for a map of many places that differ; less, down to 1/20, for one of a few or of equal places.

        A few places cannot show what "elsewhere" looks like.
        """
        return min(len(self.distinct) / VARIETY.enough, 1.0)

    @cached_property
    def distinct(self) -> np.ndarray:
        """Rows (K,) of places that differ, of a sample if they are many: they stand for the whole map.

        Where a robot stood still, or drove through a tunnel, hundreds of places look alike. They count as one. Those of
        a corridor only resemble each other: of a map that has enough others, few of them stand for it.
        """
        rows = spread(len(self), STATISTICS.sample)
        sample = np.asarray(self.descriptors[rows, 0])
        cosines = all_cosines(sample, sample)
        for alike in (*VARIETY.resembling, VARIETY.alike):
            differ = np.zeros(len(rows), bool)
            for row in range(len(rows)):
                differ[row] = not (cosines[row, differ] >= alike).any()
            if differ.sum() >= VARIETY.stand_for_all:
                break
        return rows[differ]

    @cached_property
    def steps(self) -> np.ndarray:
        """Cosines (N - 1,) float32 of the whole images of each place and the next."""
        rows = np.arange(len(self))
        return self.cosines(rows[:-1], rows[1:])

    def cosines(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Cosines (K,) float32 of the whole images of the places at rows one (K,) and other (K,)."""
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(one), _PIECE):
            parts = (self.descriptors[rows[start : start + _PIECE], 0] for rows in (one, other))
            found.append(paired_cosines(*parts))
        return np.concatenate(found)

    @cached_property
    def background(self) -> np.ndarray:
        """Descriptors (M, D) of whole images, as stored, of places that stand for the whole map."""
        chosen = spread(len(self.distinct), SCORES.background)
        return np.asarray(self.descriptors[self.distinct[chosen], 0])

    @cached_property
    def elsewhere_cosine(self) -> float:
        """Median cosine of ``distinct`` places."""
        one, other = self.distinct[np.random.default_rng(0).integers(0, len(self.distinct), (2, VARIETY.pairs))]
        cosines = self.cosines(one, other)
        return float(np.median(cosines[differ] if (differ := one != other).any() else cosines))

    @cached_property
    def later_cosines(self) -> np.ndarray:
        """Median cosines (K,) of places that are 1 to K places apart in a drive; 0 if no drive has so many."""
        found = np.zeros(STATISTICS.later)
        for later in range(1, min(STATISTICS.later, len(self) - 1) + 1):
            rows = spread(len(self) - later, VARIETY.pairs)
            rows = rows[(self.drives[rows + later] == self.drives[rows]) & self.follows[rows]]
            rows = rows[moving(np.linalg.norm(self.positions[rows + later] - self.positions[rows], axis=1))]
            if len(rows):
                found[later - 1] = np.median(self.cosines(rows, rows + later))
        return found

    def with_statistics(self, statistics: Mapping[str, Any]) -> Places:
        """The same places, with statistics of the map that they are of, by names of WHOLE_MAP, instead of their own."""
        self.__dict__.update({name: statistics[name] for name in WHOLE_MAP if name in statistics})
        return self

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows (K,) whose descriptors are here, in that order; see ``tiled_map``."""
        return rows

    def attend(self, rows: np.ndarray, belief: np.ndarray, lookalikes: np.ndarray, position: np.ndarray | None) -> None:
        """Say where the robot may be; only a map that loads a part of itself wants to know (``tiled_map``).

        rows, belief: (K,) of places, and the probability of each. lookalikes: (F,) rows of places like the image, the
        most similar first. position: (2,) metres, by odometry since the robot was lost, or None.
        """

    @cached_property
    def spacing(self) -> float:
        """Typical distance between one place and the next of its drive, metres; 1 for a map of one place.

        In a drive that is no trip (``base.track.is_trip``), the nearest place stands for the next.
        """
        lengths = self.step_lengths(2)
        return max(float(np.median(lengths)), 0.1) if len(lengths) else 1.0

    @cached_property
    def gaps(self) -> np.ndarray:
        """Distance (N,) of each place to the next or the last one on its trip, metres, whichever is further.

        ``spacing`` at least: where places lie further apart than usual, each stands for more of the road.
        """
        lengths = np.where(self.follows, np.linalg.norm(np.diff(self.positions[:, :2], axis=0), axis=1), 0.0)
        return np.clip(np.maximum(np.append(lengths, 0.0), np.append(0.0, lengths)), self.spacing, self._reach)

    @cached_property
    def follows(self) -> np.ndarray:
        """Whether each place but the first comes next on the trip of the one before it, (N - 1,) bool."""
        follows = self.drives[1:] == self.drives[:-1]
        for rows in self._unordered:
            follows[rows[0] : rows[-1]] = False
        return np.asarray(follows)

    @cached_property
    def _unordered(self) -> list[np.ndarray]:
        """Rows of each drive whose places are in another order than that of a trip."""
        starts = np.flatnonzero(self.drives[1:] != self.drives[:-1]) + 1
        drives = np.split(np.arange(len(self)), starts)
        return [rows for rows in drives if not is_trip(self.positions[rows])]

    def step_lengths(self, axes: int) -> np.ndarray:
        """Distances (K,) of places and the next one of their drive, metres, along the first 2 or all 3 axes.

        Those of a standing robot, and of views of one panorama, count where there are no others.
        """
        lengths = np.linalg.norm(np.diff(self.positions[:, :axes], axis=0), axis=1)[self.follows]
        lengths = np.concatenate([lengths, *(nearest_distances(self.positions[rows]) for rows in self._unordered)])
        return np.asarray(lengths[moving(lengths)])

    @cached_property
    def neighbours(self) -> Neighbours:
        """The places by position, with a radius that suits their spacing."""
        return Neighbours(self.positions, self._reach, self.has_levels)

    @cached_property
    def has_levels(self) -> bool:
        """Whether some places lie above others. Then a level is told from the one above it (``levels``)."""
        if not self.heights_agree or np.ptp(self.positions[:, 2], axis=0) < LEVELS.height_m:
            return False
        rows = spread(len(self), LEVELS.sample)
        around = Neighbours(self.positions, self._reach, False)
        row, place, distance = around.near(self.positions[rows])
        height = self.positions[rows[row], 2] - self.positions[place, 2]
        above = (distance < max(LEVELS.overlap_m, self.spacing)) & ~same_level(height, distance)
        return len(np.unique(row[above])) > LEVELS.share * len(rows)

    @property
    def _reach(self) -> float:
        return max(NEIGHBOURS.reach_m, NEIGHBOURS.reach_spacings * self.spacing)


def origin_near(position: np.ndarray) -> np.ndarray:
    """Origin (3,) of a map around a position (3,), metres, rounded to hundreds; zero if coordinates are small."""
    if np.abs(position).max() <= _LARGEST_COORDINATE:
        return np.zeros(3)
    return np.asarray(np.round(position * [1, 1, 0], -2))


def spread(count: int, most: int) -> np.ndarray:
    """Rows (K,), at most ``most``, spread evenly over count rows."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


class Neighbours:
    """Places sorted by the cells of a grid: a search around a point takes the same time on a map of any size."""

    def __init__(self, positions: np.ndarray, radius: float, levels: bool = False) -> None:
        """positions: (N, 3) metres. radius: of the search, metres, in the plane. levels: whether others are far."""
        self._levels = levels
        self._positions = positions
        self.radius = radius
        cells = self._cells(positions)
        keys = cells[:, 0] * _COLUMN + cells[:, 1]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def near(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of a point and a place within the radius.

        points: (M, 3) metres. Returns rows of points, rows of places and distances in metres, (P,) each.
        """
        point_rows, place_rows = self._around(points, 1)
        dx, dy = (points[point_rows, :2] - self._positions[place_rows, :2]).T
        distances = np.sqrt(dx * dx + dy * dy)
        keep = distances <= self.radius
        if self._levels:
            keep &= same_level(points[point_rows, 2] - self._positions[place_rows, 2], distances)
        return point_rows[keep], place_rows[keep], distances[keep]

    def within(self, point: np.ndarray, radius: float) -> np.ndarray:
        """Rows (K,) of the places within any radius, metres, of a point (2,)."""
        _, rows = self._around(point[None], int(np.ceil(min(radius, _FURTHEST_M) / self.radius)))
        return rows[np.linalg.norm(self._positions[rows, :2] - point, axis=1) <= radius]

    def _cells(self, points: np.ndarray) -> np.ndarray:
        """Column and row (M, 2) of the cell of each point (M, 2 or 3)."""
        return np.asarray(np.floor(points[:, :2] / self.radius).astype(np.int64))

    def _around(self, points: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """All pairs (P,) of a point (M, 2 or 3) and a place whose cells are at most reach apart: rows of both.

        The cells of a column lie one after the other.
        """
        cells = self._cells(points)
        if not len(self._keys) or not len(cells):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        left, right = self._keys[[0, -1]] // _COLUMN  # a wide reach goes no further than the places
        columns = np.arange(max(-reach, left - cells[:, 0].max()), min(reach, right + 1 - cells[:, 0].min()) + 1)
        lowest = (cells[:, :1] + columns) * _COLUMN + cells[:, 1:]
        first = np.searchsorted(self._keys, lowest - reach, "left")
        counts = np.searchsorted(self._keys, lowest + reach, "right") - first
        point_rows = np.repeat(np.arange(len(points)), counts.sum(axis=1))
        first, counts = first.ravel(), counts.ravel()
        places = np.arange(len(point_rows)) + np.repeat(first - np.cumsum(counts) + counts, counts)
        return point_rows, self._order[places]
