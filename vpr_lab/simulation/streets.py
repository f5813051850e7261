"""The streets of a town: a jittered grid of crossings joined by curved streets, and loops to drive along them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

GRID = 7


@dataclass(frozen=True, eq=False)
class Street:
    """One street between two crossings.

    ends: crossings' indices. line: (N, 2) centre line, about 1 m apart, from the first end to the second.
    road_m: carriageway width. pavement_m: width of each pavement. main: has lane markings and more shops.
    """

    ends: tuple[int, int]
    line: np.ndarray
    road_m: float
    pavement_m: float
    main: bool

    @property
    def corridor_m(self) -> float:
        """Distance from the centre line to the far edge of the pavement."""
        return self.road_m / 2 + self.pavement_m

    @property
    def length_m(self) -> float:
        """Length of the centre line."""
        return float(np.linalg.norm(np.diff(self.line, axis=0), axis=1).sum())


@dataclass(frozen=True, eq=False)
class Streets:
    """crossings: (M, 2) metres. streets: every street once. neighbours: crossing -> {crossing: index of the street}."""

    crossings: np.ndarray
    streets: tuple[Street, ...]
    neighbours: tuple[dict[int, int], ...]

    def line_between(self, start: int, end: int) -> np.ndarray:
        """(N, 2) centre line from one crossing to the next."""
        street = self.streets[self.neighbours[start][end]]
        return street.line if street.ends[0] == start else street.line[::-1]

    def path(self, crossings: list[int]) -> np.ndarray:
        """(N, 2) centre line through crossings, without doubled points."""
        lines = [self.line_between(a, b)[:-1] for a, b in itertools.pairwise(crossings)]
        return np.concatenate([*lines, self.crossings[crossings[-1]][None]])


def make_streets(rng: np.random.Generator, identical: bool = False) -> Streets:
    """A town's streets from its random numbers; the town's middle is the origin.

    identical: a chessboard of straight streets of one length and width instead.
    """
    if identical:
        return _chessboard(rng)
    crossings = _crossings(rng)
    pairs = _pairs(rng)
    main_rows, main_columns = rng.choice(GRID, 2, replace=False), rng.choice(GRID, 2, replace=False)
    streets = []
    side_road, main_road = rng.uniform(5.5, 7.5), rng.uniform(8.0, 11.0)
    for a, b in pairs:
        (row_a, column_a), (row_b, column_b) = divmod(a, GRID), divmod(b, GRID)
        main = (row_a == row_b and row_a in main_rows) or (column_a == column_b and column_a in main_columns)
        road = (main_road if main else side_road) * rng.uniform(0.92, 1.12)
        line = _curve(crossings[a], crossings[b], rng)
        streets.append(Street((a, b), line, road, rng.uniform(1.8, 3.8), bool(main)))
    return _joined(crossings, streets)


def _chessboard(rng: np.random.Generator) -> Streets:
    spacing = float(rng.integers(68, 81))  # whole metres, so that every block meets the raster of lots alike
    road, pavement = rng.uniform(6.0, 8.0), rng.uniform(2.2, 3.0)
    middle = (GRID - 1) / 2
    crossings = np.array([(k % GRID - middle, k // GRID - middle) for k in range(GRID**2)]) * spacing
    t = np.linspace(0, 1, round(spacing) + 1)[:, None]
    lines = {(a, b): (1 - t) * crossings[a] + t * crossings[b] for a, b in _grid_pairs()}
    return _joined(crossings, [Street(ends, line, road, pavement, False) for ends, line in lines.items()])


def _joined(crossings: np.ndarray, streets: list[Street]) -> Streets:
    neighbours: tuple[dict[int, int], ...] = tuple({} for _ in crossings)
    for index, street in enumerate(streets):
        a, b = street.ends
        neighbours[a][b] = neighbours[b][a] = index
    return Streets(crossings, tuple(streets), neighbours)


def _crossings(rng: np.random.Generator) -> np.ndarray:
    """(GRID**2, 2): rows and columns of uneven spacing, every crossing moved a little, the whole turned a little."""
    across, along = (np.cumsum(rng.uniform(62, 88, GRID)) for _ in range(2))
    grid = np.stack(np.meshgrid(across, along), -1).reshape(-1, 2)
    grid += rng.uniform(-9, 9, grid.shape)
    grid -= grid.mean(0)
    turn = rng.uniform(-0.15, 0.15)
    return grid @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def _pairs(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Joined crossings: the grid's edges, a tenth of them closed where both ends keep three, and two diagonals."""
    pairs = _grid_pairs()
    degree = np.bincount(np.array(pairs).ravel())
    for index in rng.permutation(len(pairs))[: len(pairs) // 7].tolist():
        a, b = pairs[index]
        if degree[a] > 3 and degree[b] > 3:
            degree[[a, b]] -= 1
            pairs[index] = (-1, -1)
    for _ in range(2):
        row, column = rng.integers(1, GRID - 2, 2)
        start = int(row * GRID + column)
        pairs.append((start, start + GRID + 1) if rng.random() < 0.5 else (start + 1, start + GRID))
    return sorted({pair for pair in pairs if pair[0] >= 0})


def _grid_pairs() -> list[tuple[int, int]]:
    along = [(i, i + 1) for i in range(GRID**2) if i % GRID < GRID - 1]
    return along + [(i, i + GRID) for i in range(GRID * (GRID - 1))]


def _curve(start: np.ndarray, end: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A shallow Bezier curve from start to end, a point about every metre."""
    along = end - start
    length = float(np.linalg.norm(along))
    normal = np.array([-along[1], along[0]]) / length
    bend = rng.normal(0, 0.02) + (rng.random() < 0.25) * rng.choice([-1, 1]) * rng.uniform(0.06, 0.14)
    middle = (start + end) / 2 + normal * bend * 2 * length
    t = np.linspace(0, 1, max(8, round(length)) + 1)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
