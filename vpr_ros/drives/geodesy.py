"""Latitude and longitude to UTM metres, and headings from a track of positions."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.base.tally import Tally
from vpr_ros.base.world import utm_of, utm_world

if TYPE_CHECKING:
    import pyproj

logger = logging.getLogger(__name__)

STRAY = "position(s) left out: no vehicle is so fast as to be there between its neighbours"
_STRAY_M, _MOST_STRAY = 20.0, 0.1  # from its neighbours, at least; share of positions, at most
_FASTEST = 100.0  # metres a second
_NO_FIX_DEG = 1e-6  # receivers without a fix report 0, 0
_JUMP_M = 1000.0  # between neighbours
_NOISES = 8.0  # standard deviations of a position: two of a vehicle that stands are nearer than this
_NOISY = 0.3  # of the steps: pure noise has 0.6
_MEDIAN = 0.6745  # of the absolute value of a standard normal number
_FURTHEST_DEG = 15.0  # of longitude at the equator from a zone's middle: two zones further lengths are 3 % wrong
_EAST_M = (100_000.0, 900_000.0)  # eastings of a UTM zone, with some overlap into its neighbours
_NORTH_M = (0.0, 10_000_000.0)
_STEP_M = 10.0  # eastward, to measure the rotation between zones
_STEP_DEG = 1e-4  # northward, to measure that of a zone's grid


def utm_zone(latitude: float, longitude: float) -> int:
    """UTM zone (1 to 60) of a position in degrees, with the exceptions for south-west Norway and Svalbard.

    As in NGA.SIG.0012, the utm package and GeographicLib, so that positions agree with other tools.
    """
    longitude = (longitude + 180) % 360 - 180
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        return 32
    if 72 <= latitude <= 84 and 0 <= longitude < 42:
        return 31 + 2 * int((longitude + 3) // 12)
    return int((longitude + 180) // 6) % 60 + 1


def good_fixes(latitude: np.ndarray, longitude: np.ndarray, tally: Tally, where: str) -> np.ndarray:
    """(N,) bool: which positions in degrees are valid fixes. The others are counted.

    Receivers report 0, 0 before their first fix. Raises DriveError if most positions are out of range or none is valid.
    """
    finite = np.isfinite(latitude) & np.isfinite(longitude)
    off = finite & ((np.abs(latitude) > 90) | (np.abs(longitude) > 360))
    none = finite & (np.abs(latitude) < _NO_FIX_DEG) & (np.abs(longitude) < _NO_FIX_DEG)
    good = finite & ~off & ~none
    if off.sum() > good.sum():
        row = int(np.argmax(off))
        raise DriveError(
            f"{where}: latitude {latitude[row]:g}, longitude {longitude[row]:g} is out of range: latitude and "
            "longitude may be swapped, or in degrees and minutes"
        )
    for kind, rows in (("0, 0 is no fix", none), ("out of range", off), ("not a number", ~finite)):
        tally.add(f"position(s) left out: {kind}", where, int(rows.sum()))
    if not good.any():
        raise DriveError(f"{where}: no position is a valid fix; {'; '.join(tally.lines()) or 'there are none'}")
    if max(np.abs(latitude[good]).max(), np.abs(longitude[good]).max() / 2) <= np.pi / 2:
        tally.add("position(s) are off Africa, as radians are that are taken for degrees", where, int(good.sum()))
    return good


def utm_from_latlon(
    latitude: np.ndarray, longitude: np.ndarray, altitude: np.ndarray, world: str = ""
) -> tuple[np.ndarray, str]:
    """WGS84 degrees and metres, each (N,) -> ((N, 3) float64 east, north, up in metres; the world, "utm 30 north").

    An altitude that is NaN is that of its neighbours, 0 if none is known. All positions are converted to one zone, so
    that a drive across a zone's edge stays whole: that of world if it names one, else that of the median position.
    Warns of fixes in several zones. Raises DriveError for positions too far from the zone.
    """
    # Relative to the first, so that the median of a track across the antimeridian is on the track.
    ahead = longitude[0] + (longitude - longitude[0] + 180) % 360 - 180
    zone = utm_of(world) or (utm_zone(float(np.median(latitude)), float(np.median(ahead))), np.median(latitude) >= 0)
    east, north = _projection(*zone).transform((ahead + 180) % 360 - 180, latitude)
    away_deg = np.abs((longitude - (6 * zone[0] - 183) + 180) % 360 - 180)
    if zone[1] != bool(np.median(latitude) >= 0):
        there, here = ("north", "south")[:: 1 if zone[1] else -1]
        logger.warning(
            "the positions lie %s of the equator, and world '%s' is of the %s: set world to '%s' if that is not meant",
            here, utm_world(*zone), there, utm_world(zone[0], not zone[1]),
        )  # fmt: skip
    if not np.isfinite(east).all() or np.median(away_deg * np.cos(np.radians(latitude))) > _FURTHEST_DEG:
        raise DriveError(f"the positions are too far from '{utm_world(*zone)}': set world to another zone")
    _warn_of_zones(latitude, longitude, utm_world(*zone))
    return np.column_stack([east, north, _filled(altitude)]), utm_world(*zone)


def _filled(altitude: np.ndarray) -> np.ndarray:
    """Altitudes (N,), those that are not finite interpolated by their rows; 0 if none is finite."""
    known = np.flatnonzero(np.isfinite(altitude))
    return np.interp(np.arange(len(altitude)), known, altitude[known]) if len(known) else np.zeros(len(altitude))


def strays(positions: np.ndarray, stamps_ns: np.ndarray) -> np.ndarray:
    """(N,) bool: positions (N, 3) that no vehicle reaches from those before and leaves to those after.

    stamps_ns: (N,) ascending. Reflections in a street throw one fix, or all of some seconds, hundreds of metres aside.
    Where many seem to be thrown, the positions are of several vehicles, or in no order, and none is found.
    """
    found, most = np.zeros(len(positions), bool), max(1.0, _MOST_STRAY * len(positions))
    steps_m = np.linalg.norm(np.diff(positions[:, :2], axis=0), axis=1)
    fast = np.flatnonzero(steps_m > np.maximum(_FASTEST * 1e-9 * np.diff(stamps_ns), _STRAY_M))
    if not len(found) or len(fast) > 2 * most:
        return found

    # Runs of rows without a step too fast: those kept so far, by their first and last rows.
    begins, ends = np.append(0, fast + 1), np.append(fast, len(positions) - 1)
    first, last, kept = begins.copy(), ends.copy(), 1
    for begin, end in zip(begins[1:], ends[1:], strict=True):
        oldest = max(1, int(np.searchsorted(first[:kept], begin - most)))
        before, thrown = positions[last[oldest - 1 : kept - 1], :2], positions[first[oldest:kept], :2]
        here, aside = positions[begin, :2], positions[last[kept - 1], :2]
        steps_m = np.minimum(np.linalg.norm(thrown - before, axis=1), np.linalg.norm(here - aside))
        returns = np.linalg.norm(here - before, axis=1) < steps_m
        # Of two spots that a receiver changes between, the one with fewer rows is aside.
        longest = np.maximum(last[oldest - 1 : kept - 1] - first[oldest - 1 : kept - 1], end - begin) + 1
        back = oldest + np.flatnonzero(returns & (begin - first[oldest:kept] <= longest))
        if len(back):
            found[first[back[-1]] : begin] = True
            kept = back[-1]
        else:
            first[kept] = begin
            kept += 1
        last[kept - 1] = end
    return found & bool(found.sum() <= most)


def warn_of_jumps(
    positions: np.ndarray,
    named: np.ndarray,
    stamps_ns: Sequence[int] | np.ndarray | None,
    form: str = "%.6f, %.6f",
    check: str = "the receiver's log",
) -> None:
    """Warn of kilometres between positions (N, 2 or more) that follow each other, unless a vehicle drives them.

    named: (N, 2 or more) the positions as their file has them. stamps_ns: (N,), None if unknown. form: of a pair of
    positions, in the warning. check: what to check.
    """
    steps = np.linalg.norm(np.diff(positions[:, :2], axis=0), axis=1)
    driven_m = 0.0 if stamps_ns is None else _FASTEST * 1e-9 * np.diff(stamps_ns)
    jumps = np.flatnonzero(~(steps < np.maximum(_JUMP_M, driven_m)))
    if len(jumps):
        row = int(jumps[0])
        here, there = (form % tuple(named[k][:2]) for k in (row, row + 1))
        text = "positions jump by %.1f km from %s to %s (%d such jump(s)): check %s"
        logger.warning(text, steps[row] / 1000, here, there, len(jumps), check)


def _warn_of_zones(latitude: np.ndarray, longitude: np.ndarray, world: str) -> None:
    zones = sorted({utm_zone(float(a), float(b)) for a, b in zip(latitude, longitude, strict=True)})
    if len(zones) > 1:
        named = ", ".join(map(str, zones))
        logger.warning("positions lie in UTM zones %s: all are converted to '%s'", named, world)


def warn_unless_utm(name: str, position: np.ndarray, world: str) -> None:
    """Warn if a position (2 or more,) of a drive cannot be in the UTM coordinates that its world is said to have."""
    east, north = position[:2]
    if not (_EAST_M[0] <= east <= _EAST_M[1] and _NORTH_M[0] <= north <= _NORTH_M[1]):
        logger.warning(
            "drive %s: its poses do not look like UTM coordinates, as the first is %.1f m east and %.1f m north; they "
            "are not converted, and world '%s' is only a name for their frame",
            name, east, north, world,
        )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _projection(number: int, northern: bool) -> pyproj.Transformer:
    import pyproj

    return pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{(32600 if northern else 32700) + number}", always_xy=True)


def on_grid(T: np.ndarray, world: str) -> np.ndarray:
    """Poses (N, 4, 4) in a world of UTM coordinates, turned about up from true north to that of its grid.

    The two differ by the grid convergence, up to three degrees and, near the poles, more. Poses of other worlds are
    returned as they are.
    """
    zone = utm_of(world)
    if zone is None:
        return T
    projection = _projection(*zone)
    longitude, latitude = projection.transform(T[:, 0, 3], T[:, 1, 3], direction="INVERSE")
    east, north = projection.transform(longitude, latitude + _STEP_DEG)
    known = np.isfinite([longitude, latitude, east, north]).all(axis=0)  # else it is far from the zone
    turn = np.zeros(len(T))
    turn[known] = np.arctan2(-(east - T[:, 0, 3])[known], (north - T[:, 1, 3])[known])
    turned = T.copy()
    for pose, angle in zip(turned, turn, strict=True):
        pose[:3, :3] = matrix_from_rpy(0.0, 0.0, float(angle)) @ pose[:3, :3]
    return turned


def zone_change(world: str, wanted: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function that converts (4, 4) poses from one UTM zone to another: positions, and headings by grid convergence.

    world, wanted: names of worlds of UTM coordinates. The function raises DriveError for a position too far from the
    wanted zone.
    """
    zones = utm_of(world), utm_of(wanted)
    assert zones[0] is not None and zones[1] is not None  # see above
    there, here = _projection(*zones[0]), _projection(*zones[1])

    def change(T: np.ndarray) -> np.ndarray:
        ends = T[0, 3] + np.array([0.0, _STEP_M]), np.full(2, T[1, 3])
        east, north = here.transform(*there.transform(*ends, direction="INVERSE"))
        if not np.isfinite([east, north]).all():
            raise DriveError(f"a position in '{world}' is too far from '{wanted}': set world to another zone")
        turn = matrix_from_rpy(0.0, 0.0, float(np.arctan2(north[1] - north[0], east[1] - east[0])))
        return transform(turn @ T[:3, :3], np.array([east[0], north[0], T[2, 3]]))

    return change


def _noise_m(positions: np.ndarray) -> float:
    """Standard deviation of one coordinate of (N, 2 or more) positions, by how they bend from one to the next.

    Zero where they lie far apart for that: then it is the road that bends.
    """
    steps = np.diff(positions[:, :2], axis=0)
    if len(steps) < 2:
        return 0.0
    noise_m = float(np.median(np.abs(np.diff(steps, axis=0))) / (_MEDIAN * np.sqrt(6)))
    return noise_m if noise_m > _NOISY * np.median(np.linalg.norm(steps, axis=1)) else 0.0


def _apart(positions: np.ndarray, step_m: float) -> list[int]:
    """Rows of (N, 2 or more) positions, each step_m from the last one at least."""
    kept = [0]
    for i in range(1, len(positions)):
        if np.linalg.norm(positions[i, :2] - positions[kept[-1], :2]) >= step_m:
            kept.append(i)
    return kept


def headings_from_track(positions: np.ndarray, min_step_m: float = 1.0) -> np.ndarray | None:
    """Course over ground of (N, 2 or more) positions -> (N,) yaw in radians, counter-clockwise from east.

    Taken between positions at least min_step_m apart, and further where they are noisier, so that the heading does not
    spin at a standstill. A reversing vehicle gets the opposite heading. None if the track is shorter than min_step_m.
    """
    step_m = max(min_step_m, _NOISES * _noise_m(positions))
    kept = _apart(positions, step_m)
    while len(kept) < 2 and step_m > min_step_m:
        step_m = max(step_m / 2, min_step_m)
        kept = _apart(positions, step_m)
    if len(kept) < 2:
        return None
    steps = np.diff(positions[kept, :2], axis=0)
    courses = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    midway = (np.array(kept[:-1]) + np.array(kept[1:])) / 2
    return np.interp(np.arange(len(positions)), midway, courses)
