"""Lots along the streets, parks, and a raster of occupied ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from vpr_lab.simulation.mesh import Placement
from vpr_lab.simulation.streets import GRID, Street, Streets

EXTENT_M = 640.0
_PER_M = 2.0


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a street, its pavement on the left of the line's direction; (N, 2) metres, about 1 m apart."""

    street: Street
    line: np.ndarray

    @cached_property
    def _distance(self) -> np.ndarray:
        """(N,) metres along the line."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.line, axis=0), axis=1))])

    @cached_property
    def length_m(self) -> float:
        """Metres."""
        return float(np.linalg.norm(np.diff(self.line, axis=0), axis=1).sum())

    def place(self, along_m: float, out_m: float) -> Placement:
        """The frame at a distance along the line and to its left, x along the street, y away from it."""
        distance = self._distance
        x, y = (float(np.interp(along_m, distance, self.line[:, axis])) for axis in range(2))
        index = int(np.clip(np.searchsorted(distance, along_m), 1, len(self.line) - 1))
        before, after = self.line[max(index - 2, 0)], self.line[min(index + 1, len(self.line) - 1)]
        yaw = float(np.arctan2(after[1] - before[1], after[0] - before[0]))
        return Placement(x, y, yaw).moved(0.0, out_m)

    def lot(self, along_m: float, width: float, out_m: float) -> Placement:
        """The frame of a lot's front: from along_m to along_m + width, straight."""
        start, end = self.place(along_m, out_m), self.place(along_m + width, out_m)
        return Placement(start.x, start.y, float(np.arctan2(end.y - start.y, end.x - start.x)))


def sides(streets: Streets) -> Iterator[Side]:
    """Both sides of every street."""
    for street in streets.streets:
        yield Side(street, street.line)
        yield Side(street, street.line[::-1])


class Raster:
    """Which half metre squares of the town are taken: 1 a street, 2 a park, 3 a building."""

    def __init__(self, streets: Streets) -> None:
        size = round(EXTENT_M * _PER_M)
        self.taken = np.zeros((size, size), np.uint8)
        for street in streets.streets:
            thickness = round(2 * street.corridor_m * _PER_M)
            cv2.polylines(self.taken, [to_pixels(street.line, _PER_M).astype(np.int32)], False, 1, thickness)

    def is_free(self, corners: np.ndarray) -> bool:
        """Whether nothing touches a (N, 2) polygon that lies inside the town."""
        pixels = to_pixels(corners, _PER_M)
        low, high = np.floor(pixels.min(0)).astype(int), np.ceil(pixels.max(0)).astype(int) + 1
        if (low < 0).any() or (high >= len(self.taken)).any():
            return False
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(mask, [np.round(pixels - low).astype(np.int32)], 1)
        return not bool((self.taken[low[1] : high[1], low[0] : high[0]] * mask).any())

    def take(self, corners: np.ndarray, code: int) -> None:
        """Mark a (N, 2) polygon; streets stay streets."""
        pixels = np.round(to_pixels(corners, _PER_M)).astype(np.int32)
        low, high = np.maximum(pixels.min(0), 0), pixels.max(0) + 1
        part = self.taken[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros_like(part)
        cv2.fillPoly(mask, [pixels - low], 1)
        part[(mask > 0) & (part != 1)] = code

    def code(self, x: float, y: float) -> int:
        """What stands at a point; 1 outside the town."""
        column, row = (int(np.floor((value + EXTENT_M / 2) * _PER_M)) for value in (x, y))
        inside = 0 <= row < len(self.taken) and 0 <= column < len(self.taken)
        return int(self.taken[row, column]) if inside else 1


def to_pixels(points: np.ndarray, per_m: float) -> np.ndarray:
    """(..., 2) metres -> pixels of a raster whose row 0 is the town's southern edge."""
    return (np.asarray(points) + EXTENT_M / 2) * per_m


def footprint(place: Placement, width: float, depth: float, margin: float = 0.0) -> np.ndarray:
    """(4, 2) metres: a lot's rectangle, smaller by a margin on every side."""
    m = margin
    corners = np.array([[m, m, 0], [width - m, m, 0], [width - m, depth - m, 0], [m, depth - m, 0]])
    return place.apply(corners)[:, :2]


def park_blocks(streets: Streets, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """(4, 2) polygons of a few blocks without buildings."""
    blocks = []
    for index in rng.choice((GRID - 1) ** 2, count, replace=False):
        row, column = divmod(int(index), GRID - 1)
        corner = row * GRID + column
        blocks.append(streets.crossings[[corner, corner + 1, corner + GRID + 1, corner + GRID]])
    return blocks
