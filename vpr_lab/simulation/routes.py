"""Loops to drive: a reference round the town, the same with a detour, random ones, and several loops in one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation.streets import Street, Streets

STEP_M = 0.25
OFF_REFERENCE_M = 55.0
TURNING_RADIUS_M = 3.5


@dataclass(frozen=True, eq=False)
class Route:
    """A closed line to drive along.

    crossings: the loop's crossings, first and last the same. points: (N, 2) metres, STEP_M apart, smooth round
    corners, in the lane for its direction. headings: (N,) radians counter-clockwise from east.
    """

    name: str
    crossings: tuple[int, ...]
    points: np.ndarray
    headings: np.ndarray

    @property
    def length_m(self) -> float:
        """Length of one lap."""
        return len(self.points) * STEP_M


def make_route(streets: Streets, name: str, crossings: list[int], left_hand_traffic: bool) -> Route:
    """The line a car takes through a closed list of crossings (first and last the same)."""
    offset = _lane_offset(streets, crossings) * (1.0 if left_hand_traffic else -1.0)
    centre = _resampled(streets.path(crossings)[:-1])
    direction = _tangent(_smoothed(centre, 2.0))
    lane = centre + offset * np.stack([-direction[:, 1], direction[:, 0]], 1)
    lane = _eased(_resampled(_smoothed(_resampled(lane), 3.5)))
    direction = _tangent(_smoothed(lane, 1.0))
    return Route(name, tuple(crossings), lane, np.arctan2(direction[:, 1], direction[:, 0]))


def _lane_offset(streets: Streets, crossings: list[int]) -> float:
    roads = [streets.streets[streets.neighbours[a][b]].road_m for a, b in itertools.pairwise(crossings)]
    return 0.23 * float(np.mean(roads))


def find_loop(streets: Streets, rng: np.random.Generator, shortest_m: float, longest_m: float) -> list[int]:
    """A random simple cycle of a length in the range, first and last crossing the same."""
    longest_try = 4000
    while True:
        start = int(rng.integers(len(streets.crossings)))
        path, length, tries = [start], [0.0], 0
        choices = [_shuffled(streets, path, rng)]
        while path and tries < longest_try:
            tries += 1
            if not choices[-1]:
                for stack in (path, length, choices):
                    stack.pop()  # type: ignore[attr-defined]
                continue
            following = choices[-1].pop()
            total = length[-1] + _street(streets, path[-1], following).length_m
            if following == start and total >= shortest_m and not _sharp(streets, path[-1], start, path[1]):
                return [*path, start]
            home = float(np.linalg.norm(streets.crossings[following] - streets.crossings[start]))
            if following in path or total + home > longest_m:
                continue
            path.append(following)
            length.append(total)
            choices.append(_shuffled(streets, path, rng))


def with_detour(streets: Streets, loop: list[int]) -> tuple[list[int], float]:
    """The loop with one part led far off it, and the metres driven more than OFF_REFERENCE_M away from it."""
    reference = streets.path(loop)
    best, best_off = loop, 0.0
    count = len(loop) - 1
    for start in range(count):
        for path in _paths_off(streets, loop, loop[start]):
            end = loop.index(path[-1])
            if not 1 <= end - start <= 6:
                continue
            candidate = loop[:start] + path + loop[end + 1 :]
            if candidate[0] != candidate[-1] or _has_sharp_turn(streets, candidate):
                continue
            points = streets.path(path)
            if 0.85 * len(points) <= best_off:
                continue
            off = float((_squared_distance(points, reference[::4]) > OFF_REFERENCE_M**2).sum())
            if off - 0.15 * len(points) > best_off:
                best, best_off = candidate, off - 0.15 * len(points)
    return best, best_off


def chain_loops(streets: Streets, rng: np.random.Generator) -> list[int]:
    """A loop, another through one of its crossings, and the first again: 1.5 to 2.2 km.

    Of many pairs the one that shares most streets, both along and against the first time.
    """
    loops = [find_loop(streets, rng, 450.0, 750.0) for _ in range(24)]
    best, best_shared = [], -1.0
    for first, other in itertools.permutations(loops, 2):
        for second in (other, other[::-1]):
            chained = _chained(streets, first, second)
            if chained is None or not 1500.0 <= _length(streets, chained) <= 2200.0:
                continue
            pairs = set(itertools.pairwise(first))
            along = sum(_street(streets, *pair).length_m for pair in itertools.pairwise(second) if pair in pairs)
            against = sum(_street(streets, *p).length_m for p in itertools.pairwise(second) if p[::-1] in pairs)
            shared = min(along, 200.0) + min(against, 200.0)
            if shared > best_shared:
                best, best_shared = chained, shared
    return best


def _chained(streets: Streets, first: list[int], second: list[int]) -> list[int] | None:
    """first, second, first from a crossing of both at which all turns can be driven, or None."""
    for crossing in set(first) & set(second):
        laps = [loop[(k := loop.index(crossing)) : -1] + loop[:k] for loop in (first, second, first)]
        chained = [*itertools.chain(*laps), crossing]
        if not _has_sharp_turn(streets, chained):
            return chained
    return None


def _length(streets: Streets, crossings: list[int]) -> float:
    return sum(_street(streets, a, b).length_m for a, b in itertools.pairwise(crossings))


def _squared_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N, 2), (M, 2) -> (N,) squared metres to the nearest point of the line."""
    return (np.sum(points**2, axis=1)[:, None] + np.sum(line**2, axis=1) - 2 * points @ line.T).min(1)


def _paths_off(streets: Streets, loop: list[int], start: int) -> list[list[int]]:
    """Paths of two to six streets from a loop's crossing over crossings off the loop and back onto it."""
    on_loop, found = set(loop), []
    stack = [[start]]
    while stack:
        path = stack.pop()
        for following in streets.neighbours[path[-1]]:
            if following in path:
                continue
            if following in on_loop:
                if len(path) >= 3:
                    found.append([*path, following])
            elif len(path) < 6:
                stack.append([*path, following])
    return found


def _street(streets: Streets, a: int, b: int) -> Street:
    return streets.streets[streets.neighbours[a][b]]


def _shuffled(streets: Streets, path: list[int], rng: np.random.Generator) -> list[int]:
    options = list(streets.neighbours[path[-1]])
    if len(path) > 1:
        options = [o for o in options if not _sharp(streets, path[-2], path[-1], o)]
    return [options[i] for i in rng.permutation(len(options))]


def _sharp(streets: Streets, before: int, here: int, after: int) -> bool:
    """Whether the turn at a crossing is sharper than 115 degrees."""
    if before == after:
        return True
    arriving = streets.crossings[here] - streets.crossings[before]
    leaving = streets.crossings[after] - streets.crossings[here]
    cosine = arriving @ leaving / (np.linalg.norm(arriving) * np.linalg.norm(leaving))
    return bool(cosine < np.cos(np.radians(115)))


def _has_sharp_turn(streets: Streets, loop: list[int]) -> bool:
    closed = [*loop, loop[1]]
    return any(_sharp(streets, *closed[i : i + 3]) for i in range(len(loop) - 1))


def _resampled(points: np.ndarray) -> np.ndarray:
    """A closed line -> the same, evenly spaced by about STEP_M."""
    closed = np.concatenate([points, points[:1]])
    distance = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    wanted = np.linspace(0, distance[-1], max(8, round(distance[-1] / STEP_M)), endpoint=False)
    return np.stack([np.interp(wanted, distance, closed[:, axis]) for axis in range(2)], 1)


def _smoothed(points: np.ndarray, sigma_m: float) -> np.ndarray:
    """Gaussian smoothing of a closed line."""
    frequency = np.fft.fftfreq(len(points), STEP_M)
    window = np.exp(-2 * (np.pi * frequency * sigma_m) ** 2)
    return np.real(np.fft.ifft(np.fft.fft(points, axis=0) * window[:, None], axis=0))


def _eased(points: np.ndarray) -> np.ndarray:
    """A closed line with its tight turns smoothed, and only those, until a car can steer through them."""
    for _ in range(60):
        direction = _tangent(_smoothed(points, 1.0))
        following = np.roll(direction, -1, 0)
        turn = np.arctan2(
            direction[:, 0] * following[:, 1] - direction[:, 1] * following[:, 0], (direction * following).sum(1)
        )
        tight = np.abs(turn) > STEP_M / TURNING_RADIUS_M
        if not tight.any():
            break
        weight = np.clip(12 * _smoothed(tight[:, None].astype(float), 3.0), 0, 1)
        points = _resampled(points + weight * (_smoothed(points, 2.0) - points))
    return points


def _tangent(points: np.ndarray) -> np.ndarray:
    """(N, 2) unit tangents of a closed line."""
    tangent = np.roll(points, -1, 0) - np.roll(points, 1, 0)
    return tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
