"""The health of a map: where robots got lost, what looks alike, what was not seen lately, what to drive again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.files import write_json
from vpr_ros.base.times import are_dates
from vpr_ros.evaluation.record import Answer, Run
from vpr_ros.localize.hypotheses import hypothesis_radius
from vpr_ros.maps.centring import centred, map_mean
from vpr_ros.maps.constants import LOOKS
from vpr_ros.maps.levels import distances
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Neighbours, Places, spread

SURE = 0.9  # probability from which on a pose counts, as in ~/status
SAMPLE = 2000  # places that are compared with the whole map, spread evenly
LONGEST_GAP_M = 200.0  # between two sure poses, up to which a robot without a true pose was on the line between them
FAR_RADII = 2.0  # from which on a place is far away, in multiples of the radius of a hypothesis
GAP_SPACINGS = 4.0  # between parts of one stretch, in multiples of the map's spacing
_FURTHEST_M = 1e9
_CHUNK = 4096  # places whose surroundings are looked up together
_DAY_NS = 86_400 * 10**9
LOST, OFF_MAP, OLD, TWINS = "lost", "off the map", "not seen lately", "twins"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring places or images with one problem.

    problem: LOST, OFF_MAP, OLD or TWINS. count: of images if robots were lost or off the map, else of places. start,
    end: (x, y) of its ends, metres in the map's world. length_m: between them. note: more about it.
    """

    problem: str
    count: int
    start: tuple[float, float]
    end: tuple[float, float]
    length_m: float
    note: str = ""


@dataclass(frozen=True)
class RunHealth:
    """What a recorded run says. off_map: images taken where the map has no place. unplaced: lost, at an unknown place.

    images: those that were answered; each is sure, lost, off the map or unplaced.
    """

    name: str
    images: int
    sure: int
    lost: int
    off_map: int
    unplaced: int


@dataclass(frozen=True, eq=False)
class Health:
    """The findings. sampled: places compared with the whole map. notes: what was not looked at, a sentence each.

    points: of each problem, (K, 2) metres in the map, for the picture. origin: metres, of the map in its world.
    """

    places: int
    sampled: int
    runs: tuple[RunHealth, ...]
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...]
    points: dict[str, np.ndarray] = field(default_factory=dict)
    origin: tuple[float, float] = (0.0, 0.0)

    def of(self, problem: str) -> list[Stretch]:
        """The stretches with a problem, the one with the most images or places first."""
        return [stretch for stretch in self.stretches if stretch.problem == problem]

    @property
    def drive_again(self) -> list[Stretch]:
        """The stretches that another drive would help: all but those that look like others."""
        return [stretch for stretch in self.stretches if stretch.problem != TWINS]

    def write(self, path: Path) -> None:
        """Write JSON."""
        content: dict[str, Any] = {
            "places": self.places,
            "places_compared": self.sampled,
            "runs": [asdict(run) for run in self.runs],
            "drive_again": [asdict(stretch) for stretch in self.drive_again],
            "twins": [asdict(stretch) for stretch in self.of(TWINS)],
            "notes": list(self.notes),
        }
        write_json(path, content)


def examine(
    place_map: PlaceMap, runs: Sequence[Run], days: float = 180.0, on_progress: Progress | None = None
) -> Health:
    """Look a map over. Memory does not grow with its descriptors; the time for twins does.

    runs: recorded on this map, also on earlier versions of it. days: after which a place counts as not seen lately,
    before the newest image of the map and the runs. Raises MapError for a map without places or of raw odometry,
    DriveError for a run on another map.
    """
    if place_map.is_odometry:
        raise MapError(f"the poses of {place_map.path} are raw odometry: examine it after `vpr map set-poses`")
    places = place_map.whereabouts
    if not len(places):
        raise MapError(f"{place_map.path} has no places: add a drive to it with `vpr map add MAP DRIVE`")
    notes: list[str] = []
    size, origin = GAP_SPACINGS * places.spacing, place_map.origin[:2]
    found: list[Stretch] = []
    points: dict[str, np.ndarray] = {}
    looked = [_Passage(run, places, place_map.path) for run in runs]
    for problem in (LOST, OFF_MAP):
        points[problem] = np.concatenate([np.zeros((0, 2)), *(passage.points[problem] for passage in looked)])
        found += stretches(problem, points[problem], size, origin)
    if not runs:
        notes.append("no run was given, so nothing is known of where robots got lost")
    if unplaced := sum(passage.health.unplaced for passage in looked):
        notes.append(f"{unplaced} image(s) without a sure or true pose are nowhere on the picture")
    age = _days_since(places, looked)
    undated = [passage.health.name for passage in looked if not are_dates(passage.stamps_ns)]
    if age is not None and undated:
        notes.append(
            f"the stamps of {', '.join(undated)} are not dates, so these runs say nothing of how old places are"
        )
    if age is None:
        notes.append("the stamps of some drives are not dates, so nothing is known of how old places are")
    else:
        points[OLD] = places.positions[age > days, :2]
        found += stretches(OLD, points[OLD], size, origin, f"more than {days:g} days before the newest image")
    twins = find_twins(place_map, places, on_progress)
    points[TWINS] = places.positions[twins.rows, :2]
    found += _twin_stretches(twins, places, size, origin)
    if twins.compared < len(places):
        notes.append(f"for twins, {twins.compared} of {len(places)} places were compared with all, spread evenly")
    if twins.alone:
        notes.append(f"{twins.alone} of these have no place near them, so nothing says how alike neighbours are")
    health = tuple(passage.health for passage in looked)
    at = float(origin[0]), float(origin[1])
    return Health(len(places), twins.compared, health, tuple(found), tuple(notes), points, at)


class _Passage:
    """A recorded run, seen from the map."""

    def __init__(self, run: Run, places: Places, path: Path) -> None:
        answers = [answer for answer in run.answers if answer.answered]
        radius = max(run.tolerance.metres, places.spacing)
        around = Neighbours(places.positions, radius, places.has_levels)
        _check_map(run, around, path)
        sure = np.array([_is_sure(answer, run) for answer in answers], dtype=bool)
        positions = _positions(answers, sure)
        known = np.isfinite(positions).all(axis=1)
        near = np.zeros(len(answers), bool)
        near[np.flatnonzero(known)[np.unique(around.near(positions[known])[0])]] = True
        off, lost = known & ~near & ~sure, known & near & ~sure
        self.points = {LOST: positions[lost, :2], OFF_MAP: positions[off, :2]}
        self.stamps_ns = np.array([answer.stamp_ns for answer in answers], dtype=np.int64)[sure]
        self.T_map_camera = np.array([a.best.T_map_camera for a in answers if a.best], float).reshape(-1, 4, 4)
        self.T_map_camera = self.T_map_camera[sure[[a.best is not None for a in answers]]]
        self.health = RunHealth(
            run.name, len(answers), int(sure.sum()), int(lost.sum()), int(off.sum()), int((~known & ~sure).sum())
        )


def _check_map(run: Run, around: Neighbours, path: Path) -> None:
    """Raises DriveError if a run was recorded on another map."""
    positions = run.T_map_places[:: max(1, len(run.T_map_places) // SAMPLE), :3, 3]
    positions = positions[np.isfinite(positions).all(axis=1)]
    if 2 * len(np.unique(around.near(positions)[0])) < len(positions):
        raise DriveError(f"the run {run.name} was recorded on another map than {path}: give runs on this one")


def _is_sure(answer: Answer, run: Run) -> bool:
    """Whether an answer has a pose that one can rely on: probable, and right as far as that is known."""
    best, truth = answer.best, answer.T_map_camera_true
    if best is None or best.probability < SURE:
        return False
    if truth is None:
        return True
    error = distances(best.T_map_camera[:3, 3], truth[:3, 3], run.tolerance.levels)
    return bool(run.tolerance.right(error))


def _positions(answers: Sequence[Answer], sure: np.ndarray) -> np.ndarray:
    """Where each image was taken, (F, 3): its true pose, a sure one, or between two sure ones; else NaN."""
    positions = np.full((len(answers), 3), np.nan)
    for row, answer in enumerate(answers):
        if answer.T_map_camera_true is not None:
            positions[row] = answer.T_map_camera_true[:3, 3]
        elif sure[row] and answer.best is not None:
            positions[row] = answer.best.T_map_camera[:3, 3]
    positions[np.any(np.abs(positions) > _FURTHEST_M, axis=1)] = np.nan  # a damaged record
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    for before, after in pairwise(known):
        gap = positions[after] - positions[before]
        if after > before + 1 and np.linalg.norm(gap) <= LONGEST_GAP_M:
            share = np.arange(1, after - before)[:, None] / (after - before)
            positions[before + 1 : after] = positions[before] + share * gap
    return positions


def stretches(problem: str, points: np.ndarray, size: float, origin: np.ndarray, note: str = "") -> list[Stretch]:
    """Points (K, 2) with a problem as stretches: squares of this size, metres, that touch each other are one.

    origin: (2,) metres, of the map in its world.
    """
    found = []
    for rows in _touching(points, size):
        here = points[rows]
        offsets = here - here.mean(axis=0)
        axis = np.linalg.svd(offsets[:: max(1, len(here) // SAMPLE)], full_matrices=False)[2][0]
        along = offsets @ axis
        start, end = here[along.argmin()], here[along.argmax()]
        length_m = round(float(np.linalg.norm(end - start)), 1)
        found.append(Stretch(problem, len(rows), _point(start + origin), _point(end + origin), length_m, note))
    return sorted(found, key=lambda stretch: -stretch.count)


def _point(position: np.ndarray) -> tuple[float, float]:
    return round(float(position[0]), 1), round(float(position[1]), 1)


def _touching(points: np.ndarray, size: float) -> list[np.ndarray]:
    """Rows of points (K, 2) in squares that touch each other, group by group."""
    members: dict[tuple[int, int], list[int]] = {}
    for row, (x, y) in enumerate(np.floor(points / size).astype(np.int64).tolist()):
        members.setdefault((x, y), []).append(row)
    groups = []
    while members:
        waiting, rows = [next(iter(members))], []
        while waiting:
            x, y = waiting.pop()
            if (here := members.pop((x, y), None)) is not None:
                rows += here
                waiting += [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (x + i, y + j) in members]
        groups.append(np.sort(rows))
    return groups


def _days_since(places: Places, passages: Sequence[_Passage]) -> np.ndarray | None:
    """Days (N,) from the last image or sure pose at each place to the newest of all; None if stamps are no dates."""
    dated = [passage for passage in passages if are_dates(passage.stamps_ns)]
    if not are_dates(places.stamps_ns):
        return None
    stamps = np.concatenate([places.stamps_ns, *(passage.stamps_ns for passage in dated)])
    poses = np.concatenate([places.T_map_camera, *(passage.T_map_camera for passage in dated)])
    headings = geometry.heading(poses)
    seen = np.zeros(len(places), np.int64)
    around = Neighbours(poses[:, :3, 3], LOOKS.near_spacings * places.spacing, places.has_levels)
    for first in range(0, len(places), _CHUNK):
        rows = np.arange(first, min(first + _CHUNK, len(places)))
        one, other, _ = around.near(places.positions[rows])
        alike = np.abs(geometry.wrap_angle(headings[other] - places.headings[rows[one]])) < LOOKS.heading
        np.maximum.at(seen, rows[one[alike]], stamps[other[alike]])
    return np.asarray((stamps.max() - seen) / _DAY_NS)


@dataclass(frozen=True, eq=False)
class Twins:
    """Places that look more like one far away than like their neighbours.

    rows, others: (K,) of the place and the one far away. similarity, neighbour: (K,) cosines to that one and to the
    most similar neighbour. compared: number of places that were compared with all. alone: those without a neighbour.
    """

    rows: np.ndarray
    others: np.ndarray
    similarity: np.ndarray
    neighbour: np.ndarray
    compared: int
    alone: int


def find_twins(place_map: PlaceMap, places: Places, on_progress: Progress | None = None) -> Twins:
    """Compare up to SAMPLE places with all places, exactly and piece by piece, as the localiser would.

    places: of the map, without descriptors. Neighbours lie within the radius of a hypothesis and look the same way.
    """
    rows = spread(len(places), SAMPLE)
    sample = replace(places.subset(rows), descriptors=place_map.descriptors_of(places.ids[rows]))
    mean = map_mean(sample)
    queries = centred(sample.descriptors[:, 0], mean)
    radius = hypothesis_radius(0.0, places)
    row, place, away = Neighbours(places.positions, FAR_RADII * radius, places.has_levels).near(sample.positions)
    order = np.argsort(place, kind="stable")
    row, place, away = row[order], place[order], away[order]
    turn = np.abs(geometry.wrap_angle(sample.headings[row] - places.headings[place]))
    is_neighbour = (away < radius) & (turn < LOOKS.heading) & (rows[row] != place)
    far, far_row, near = np.full(len(rows), -1.0), np.zeros(len(rows), int), np.full(len(rows), -1.0)
    done = 0
    for piece in place_map.pieces():
        views = centred(piece.descriptors, mean)
        similarity = np.max([queries @ views[:, view].T for view in range(views.shape[1])], axis=0)
        here = slice(*np.searchsorted(place, [done, done + len(piece)]))
        one, other, neighbour = row[here], place[here] - done, is_neighbour[here]
        np.maximum.at(near, one[neighbour], similarity[one[neighbour], other[neighbour]])
        similarity[one, other] = -1.0  # not far away
        best = similarity.argmax(axis=1)
        most = similarity[np.arange(len(rows)), best]
        better = most > far
        far[better], far_row[better] = most[better], done + best[better]
        done += len(piece)
        if on_progress:
            on_progress(done, len(places))
    chosen = (far > near) & (near > -1.0)
    return Twins(rows[chosen], far_row[chosen], far[chosen], near[chosen], len(rows), int(np.sum(near == -1.0)))


def _twin_stretches(twins: Twins, places: Places, size: float, origin: np.ndarray) -> list[Stretch]:
    """Stretches with the most similar pair of each."""
    found = []
    for group in _touching(places.positions[twins.rows, :2], size):
        k = group[twins.similarity[group].argmax()]
        x, y = places.positions[twins.others[k], :2] + origin
        note = (
            f"looks like ({x:.1f}, {y:.1f}): cosine {twins.similarity[k]:.2f}, to its neighbours "
            f"{twins.neighbour[k]:.2f}"
        )
        found += stretches(TWINS, places.positions[twins.rows[group], :2], size, origin, note)
    return sorted(found, key=lambda stretch: -stretch.count)
