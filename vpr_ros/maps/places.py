"""The places of a map as arrays, and the search for neighbours by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.maps.constants import LEVELS, NEIGHBOURS, SCORES, VARIETY
from vpr_ros.maps.levels import same_level

_LARGEST_COORDINATE = 1e5  # metres; a map with larger ones gets an origin
_PIECE = 4096  # descriptors compared at a time
# What a localiser takes from the descriptors of the whole map, to be stored where they are not all at hand.
WHOLE_MAP = ("mean_descriptor", "variety", "background", "steps", "elsewhere_cosine")


@dataclass(frozen=True, eq=False)
class Places:
    """N places, one row each.

    ids: (N,) int64, in the map. drives: (N,) str, the drive each was recorded in. stamps_ns: (N,) int64. T_map_camera:
    (N, 4, 4) float64. descriptors: (N, V, D) float32, or float16 as the map stores them, unit length, of V views of
    each image (``image.views``); the first view is the whole image. heights_agree: whether heights of different drives
    can be compared. Satellites give heights that jump by tens of metres from drive to drive.
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
        return replace(Places(*(array[rows] for array in self.arrays)), heights_agree=self.heights_agree)

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays of N rows, in the order of the constructor."""
        return [getattr(self, field.name) for field in fields(self) if field.name != "heights_agree"]

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
        """Mean (D,) float32 over all places and views; zero if there are none."""
        count = self.descriptors.shape[0] * self.descriptors.shape[1]
        total = self.descriptors.sum(axis=(0, 1), dtype=np.float64)
        return (total / max(count, 1)).astype(np.float32)

    @cached_property
    def variety(self) -> float:
        """1 for a map of many places that differ; less, down to 1/20, for one of a few or of equal places.

        A few places cannot show what "elsewhere" looks like.
        """
        kept: list[np.ndarray] = []
        for stored in self.descriptors[:, 0]:
            descriptor = stored.astype(np.float32)
            if not kept or max(float(descriptor @ other) for other in kept) < VARIETY.alike:
                kept.append(descriptor)
            if len(kept) == VARIETY.enough:
                break
        return len(kept) / VARIETY.enough

    @cached_property
    def background(self) -> np.ndarray:
        """Descriptors (M, D) of whole images, as stored, of places that stand for the whole map."""
        rows = np.linspace(0, len(self) - 1, min(SCORES.background, len(self))).astype(int)
        return np.asarray(self.descriptors[np.unique(rows), 0])

    @cached_property
    def steps(self) -> np.ndarray:
        """Cosines (N - 1,) float32 of each place and the next one."""
        rows = np.arange(len(self))
        return self._cosines(rows[:-1], rows[1:])

    @cached_property
    def elsewhere_cosine(self) -> float:
        """Median cosine of places far apart."""
        one, other = np.random.default_rng(0).integers(0, len(self), (2, VARIETY.pairs))
        return float(np.median(self._cosines(one, other)))

    def _cosines(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(K,) of the places at rows one and other, (K,) each, piece by piece: stored numbers may be half precise."""
        pieces = (np.array_split(rows, -(-len(rows) // _PIECE) or 1) for rows in (one, other))
        found = [
            np.einsum("nd,nd->n", *(self.descriptors[part, 0].astype(np.float32) for part in parts))
            for parts in zip(*pieces, strict=True)
        ]
        return np.concatenate(found)

    def with_statistics(self, statistics: Mapping[str, Any]) -> Places:
        """The same places, with the statistics WHOLE_MAP of the map that they are of instead of their own."""
        self.__dict__.update({name: statistics[name] for name in WHOLE_MAP})
        return self

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows (K,) whose descriptors are here, in that order; see ``tiled_map``."""
        return rows

    def attend(self, positions: np.ndarray, weights: np.ndarray) -> None:
        """Say where the robot may be: positions (K, 2), metres, and probabilities (K,); see ``tiled_map``."""

    @cached_property
    def spacing(self) -> float:
        """Typical distance between one place and the next of its drive, metres; 1 for a map of one place."""
        follows = self.drives[1:] == self.drives[:-1]
        steps = np.linalg.norm(np.diff(self.positions[:, :2], axis=0), axis=1)[follows]
        return max(float(np.median(steps)), 0.1) if len(steps) else 1.0

    @cached_property
    def neighbours(self) -> Neighbours:
        """The places by position, with a radius that suits their spacing."""
        return Neighbours(self.positions, self._reach, self.has_levels)

    @cached_property
    def has_levels(self) -> bool:
        """Whether some places lie above others. Then a level is told from the one above it (``levels``)."""
        if not self.heights_agree or np.ptp(self.positions[:, 2], axis=0) < LEVELS.height_m:
            return False
        rows = np.unique(np.linspace(0, len(self) - 1, min(LEVELS.sample, len(self))).astype(int))
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


class Neighbours:
    """Places in a grid, so that a search around a point takes the same time on a map of any size."""

    def __init__(self, positions: np.ndarray, radius: float, levels: bool = False) -> None:
        """positions: (N, 3) metres. radius: of the search, metres, in the plane. levels: whether others are far."""
        self._levels = levels
        self._positions = positions
        self.radius = radius
        cells = np.floor(positions[:, :2] / radius).astype(np.int64)
        self._rows: dict[tuple[int, int], np.ndarray] = {}
        self._joined: dict[tuple[int, int], np.ndarray] = {}
        order = np.lexsort((cells[:, 1], cells[:, 0]))
        starts = np.flatnonzero(np.any(np.diff(cells[order], axis=0), axis=1)) + 1
        for rows in np.split(order, starts) if len(order) else []:
            self._rows[int(cells[rows[0], 0]), int(cells[rows[0], 1])] = rows

    def near(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of a point and a place within the radius.

        points: (M, 3) metres. Returns rows of points, rows of places and distances in metres, (P,) each.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for row, (x, y) in enumerate(np.floor(points[:, :2] / self.radius).astype(np.int64).tolist()):
            groups.setdefault((x, y), []).append(row)
        of_point, of_place = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for cell, members in groups.items():
            nearby = self._around(cell)
            of_point.append(np.repeat(members, len(nearby)))
            of_place.append(np.tile(nearby, len(members)))
        point_rows, place_rows = np.concatenate(of_point), np.concatenate(of_place)
        dx, dy = (points[point_rows, :2] - self._positions[place_rows, :2]).T
        distances = np.sqrt(dx * dx + dy * dy)
        keep = distances <= self.radius
        if self._levels:
            keep &= same_level(points[point_rows, 2] - self._positions[place_rows, 2], distances)
        return point_rows[keep], place_rows[keep], distances[keep]

    def within(self, point: np.ndarray, radius: float) -> np.ndarray:
        """Rows (K,) of the places within any radius, metres, of a point (2,)."""
        x, y = np.floor(point / self.radius).astype(np.int64).tolist()
        reach = int(np.ceil(radius / self.radius))
        if (2 * reach + 1) ** 2 > len(self._rows):
            cells = [(i, j) for i, j in self._rows if abs(i - x) <= reach and abs(j - y) <= reach]
        else:
            across = range(-reach, reach + 1)
            cells = [(x + i, y + j) for i in across for j in across if (x + i, y + j) in self._rows]
        rows = np.concatenate([np.zeros(0, np.int64), *(self._rows[cell] for cell in cells)])
        return rows[np.linalg.norm(self._positions[rows, :2] - point, axis=1) <= radius]

    def _around(self, cell: tuple[int, int]) -> np.ndarray:
        """Rows of the places in a cell and the eight around it, cached."""
        if cell not in self._joined:
            x, y = cell
            found = [self._rows.get((x + i, y + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            there = [rows for rows in found if rows is not None]
            self._joined[cell] = np.concatenate(there) if there else np.zeros(0, np.int64)
        return self._joined[cell]
