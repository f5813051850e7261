"""Fixes of a satellite receiver: which are usable, in order of time, and the headings of their track."""

from __future__ import annotations

import logging

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import first_of_each
from vpr_ros.drives.geodesy import utm_from_latlon

logger = logging.getLogger(__name__)

NO_FIX = "position(s) left out: 0, 0 is no fix"
STRAY = "position(s) left out: no vehicle is so fast as to be there between its neighbours"
_STRAY_M, _MOST_STRAY = 20.0, 0.1  # from its neighbours, at least; share of positions, at most
_FASTEST = 100.0  # metres a second
_NO_FIX_DEG = 1e-6  # receivers without a fix report 0, 0
_JUMP_M = 1000.0  # between neighbours
_INEXACT_M = 10.0  # standard deviation that a fix states for itself, from which on it is left out,
_INEXACT, _USUAL = 5.0, 0.25  # if it is so many times this quantile of all: a whole drive may be as inexact
_LEAST_STEP_M = 1.0  # of positions that tell a heading
_NOISES = 8.0  # standard deviations of a position: two of a vehicle that stands are nearer than this
_NOISY = 0.3  # of the steps: pure noise has 0.6
_MEDIAN = 0.6745  # of the absolute value of a standard normal number


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
    left_out = "position(s) left out: "
    for kind, rows in ((NO_FIX, none), (f"{left_out}out of range", off), (f"{left_out}not a number", ~finite)):
        tally.add(kind, where, int(rows.sum()))
    if not good.any():
        raise DriveError(f"{where}: no position is a valid fix; {'; '.join(tally.lines()) or 'there are none'}")
    if max(np.abs(latitude[good]).max(), np.abs(longitude[good]).max() / 2) <= np.pi / 2:
        tally.add("position(s) are off Africa, as radians are that are taken for degrees", where, int(good.sum()))
    return good


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


def reachable(
    positions: np.ndarray, stamps_ns: np.ndarray | None, named: np.ndarray, form: str, tally: Tally, where: str
) -> np.ndarray:
    """(N,) bool: which positions (N, 2 or more), in order of time, a vehicle reaches. ``strays`` are counted.

    Warns of kilometres between others that follow each other, unless a vehicle drives them. stamps_ns: (N,), None if
    unknown, and then none is a stray. named: (N, 2 or more) the positions as their file has them. form: of a pair of
    those, in the warning. where: names the file.
    """
    kept = np.ones(len(positions), bool)
    driven_m: np.ndarray | float = 0.0
    if stamps_ns is not None:
        kept = ~strays(positions, stamps_ns)
        tally.add(STRAY, where, int((~kept).sum()))
        driven_m = _FASTEST * 1e-9 * np.diff(stamps_ns[kept])
    steps_m = np.linalg.norm(np.diff(positions[kept, :2], axis=0), axis=1)
    jumps = np.flatnonzero(~(steps_m < np.maximum(_JUMP_M, driven_m)))
    if len(jumps):
        row = int(jumps[0])
        here, there = (form % tuple(pair[:2]) for pair in named[kept][row : row + 2])
        text = "positions jump by %.1f km from %s to %s (%d such jump(s)): check %s"
        logger.warning(text, steps_m[row] / 1000, here, there, len(jumps), where)
    return kept


def usable_fixes(
    degrees: np.ndarray,
    altitude: np.ndarray,
    stamps_ns: np.ndarray | None,
    tally: Tally,
    where: str,
    world: str = "",
    sigma_m: np.ndarray | None = None,
    once: bool = False,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Fixes -> (rows (K,) of the usable ones in order of time, (K, 3) east, north, up in metres, the world's name).

    degrees: (N, 2) latitude and longitude. altitude: (N,) metres. stamps_ns: (N,); None if they are in order. world:
    the UTM zone to convert them to; empty: their own. sigma_m: (N,) standard deviations that fixes state, 0 if none.
    once: of fixes of one time the first is used. Other fixes are counted. Raises DriveError if most are out of range or
    none is valid.
    """
    rows = np.arange(len(degrees)) if stamps_ns is None else np.argsort(stamps_ns, kind="stable")
    rows = rows[good_fixes(degrees[rows, 0], degrees[rows, 1], tally, where)]
    if sigma_m is not None:
        inexact = sigma_m[rows] > max(_INEXACT_M, _INEXACT * float(np.quantile(sigma_m[rows], _USUAL)))
        kind = f"position(s) left out: by their own covariance more than {_INEXACT_M:g} m off"
        tally.add(kind, where, int(inexact.sum()))
        rows = rows[~inexact]
    positions, world = utm_from_latlon(degrees[rows, 0], degrees[rows, 1], altitude[rows], world)
    times = None if stamps_ns is None else stamps_ns[rows]
    kept = reachable(positions, times, degrees[rows], "%.6f, %.6f", tally, where)
    rows, positions = rows[kept], positions[kept]
    if once and stamps_ns is not None:
        first = first_of_each(stamps_ns[rows], positions, tally, where)
        rows, positions = rows[first], positions[first]
    return rows, positions, world


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


def headings_from_track(positions: np.ndarray) -> np.ndarray | None:
    """Course over ground of (N, 2 or more) positions -> (N,) yaw in radians, counter-clockwise from east.

    Taken between positions at least a metre apart, and further where they are noisier, so that the heading does not
    spin at a standstill. A reversing vehicle gets the opposite heading. None if the track is shorter than a metre.
    """
    step_m = max(_LEAST_STEP_M, _NOISES * _noise_m(positions))
    kept = _apart(positions, step_m)
    while len(kept) < 2 and step_m > _LEAST_STEP_M:
        step_m = max(step_m / 2, _LEAST_STEP_M)
        kept = _apart(positions, step_m)
    if len(kept) < 2:
        return None
    steps = np.diff(positions[kept, :2], axis=0)
    courses = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    midway = (np.array(kept[:-1]) + np.array(kept[1:])) / 2
    return np.interp(np.arange(len(positions)), midway, courses)
