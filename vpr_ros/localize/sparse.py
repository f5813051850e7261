"""One number for each place of a map, of which only few differ: the cost of an image does not grow with the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vpr_ros.localize.constants import FILTER
from vpr_ros.maps.scores import largest


@dataclass(frozen=True, eq=False)
class SparseValues:
    """N numbers, one a row.

    rows: (K,) int64, ascending, without repetition. values: (K,) float64, theirs. rest: the value of each other row.
    count: N.
    """

    rows: np.ndarray
    values: np.ndarray
    rest: float
    count: int

    @classmethod
    def of(cls, values: np.ndarray) -> SparseValues:
        """All of N values (N,)."""
        return cls(np.arange(len(values)), np.asarray(values, float), 0.0, len(values))

    @classmethod
    def constant(cls, value: float, count: int) -> SparseValues:
        """The same value N times; few rows are stored one by one, so that they stay exact."""
        stored = count if count <= FILTER.individual else 0
        return cls(np.arange(stored), np.full(stored, value), value, count)

    @classmethod
    def with_rows(cls, rows: np.ndarray, values: np.ndarray, rest: float, count: int) -> SparseValues:
        """rows (K,), in any order, without repetition, with values (K,)."""
        order = np.argsort(rows)
        return cls(rows[order], values[order], rest, count)

    @property
    def others(self) -> int:
        """Number of rows that have the value ``rest``."""
        return self.count - len(self.rows)

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Values (M,) of rows (M,)."""
        if rows is self.rows:
            return self.values
        if not self.others:
            return self.values[rows]
        if not len(self.rows):
            return np.full(len(rows), self.rest)
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[place] == rows, self.values[place], self.rest)

    def sum(self) -> float:
        """Sum of all N values."""
        return float(self.values.sum() + self.rest * self.others)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> SparseValues:
        """function of each value; it takes and returns (M,)."""
        return SparseValues(self.rows, function(self.values), float(function(np.array([self.rest]))[0]), self.count)

    def scaled(self, factor: float) -> SparseValues:
        """Each value times a factor."""
        return SparseValues(self.rows, self.values * factor, self.rest * factor, self.count)

    def combined(self, other: SparseValues, function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> SparseValues:
        """function of each value of this and of another one with the same N; it takes and returns (M,)."""
        rows = self._joined(other)
        rest = function(np.array([self.rest]), np.array([other.rest]))
        return SparseValues(rows, function(self.at(rows), other.at(rows)), float(rest[0]), self.count)

    def _joined(self, other: SparseValues) -> np.ndarray:
        """The rows of both, ascending."""
        if not self.others or not len(other.rows):
            return self.rows
        if not other.others or not len(self.rows):
            return other.rows
        rows = np.concatenate([self.rows, other.rows])
        rows.sort(kind="stable")
        return rows[np.append(True, rows[1:] != rows[:-1])]

    def plus(self, other: SparseValues) -> SparseValues:
        """Sum of the values of each row."""
        return self.combined(other, np.add)

    def added(self, rows: np.ndarray, values: np.ndarray) -> SparseValues:
        """With values (M,) added to rows (M,), which may repeat."""
        distinct, number = np.unique(rows, return_inverse=True)
        return self.plus(SparseValues(distinct, np.bincount(number, values, len(distinct)), 0.0, self.count))

    def replaced(self, places: np.ndarray, value: float) -> SparseValues:
        """With the value of the stored rows at these places (M,) of ``rows``."""
        values = self.values.copy()
        values[places] = value
        return SparseValues(self.rows, values, self.rest, self.count)

    def reduced(self, above: float = -np.inf) -> SparseValues:
        """The largest values, at most ``FILTER.individual`` and above a limit; the others share their mean.

        N numbers that are few anyway are all kept.
        """
        if self.count <= FILTER.individual:
            return self
        kept = np.sort(largest(self.values, FILTER.individual, above))
        values = self.values[kept]
        dropped = np.delete(self.values, kept)  # a difference of sums could be below zero
        rest = (dropped.sum() + self.rest * self.others) / (self.count - len(kept))
        return SparseValues(self.rows[kept], values, float(rest), self.count)

    def extended(self, count: int, value: float) -> SparseValues:
        """With count more rows of this value at the end."""
        total = self.count + count
        if total <= FILTER.individual:
            return SparseValues(np.arange(total), np.append(self.values, np.full(count, value)), 0.0, total)
        rest = (self.rest * self.others + value * count) / (self.others + count)
        return SparseValues(self.rows, self.values, float(rest), total)
