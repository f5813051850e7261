"""Times in files: cells and file names to nanoseconds, with the unit checked, and what to say if clocks differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.image_order import time_text
from vpr_ros.base.tally import Tally

ROUNDED = "image(s) have the time of another one: times may be rounded"
_UNITS_NS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
_DAY_NS = 86_400 * 10**9
_DATES_NS = (20 * 365 * _DAY_NS, 130 * 365 * _DAY_NS)  # since 1970: from 1990 to 2100, as recordings are
_LONGEST_UP_NS = 10 * _DAY_NS  # of a clock that starts with the robot
_CLOSEST_NS = 200_000  # no camera and no pose source is faster than 5 kHz
_SAME_RATIO = 0.05  # of logarithms to the base 10: two recordings of one drive end within a tenth of its length
_SLACK_NS = 1_500_000_000
_LEAPS = {18: "GPS time and UTC", 19: "TAI and GPS time", 37: "TAI and UTC"}


def nanoseconds(text: str, unit: str, where: str, column: str = "") -> int:
    """A time as it stands in a file, exact, in nanoseconds.

    unit: "seconds", "microseconds" or "nanoseconds". where: names the cell or file in the error. column: what to call
    a column of nanoseconds instead, if it may be called so. Raises DriveError for what is no time, and says which unit
    it looks like if it is not this one: clocks count from 1970, or from the robot's start.
    """
    try:
        value = Decimal(text)
        whole = "_" not in text  # Python reads 12_5 as 125, and files have no such numbers
        whole &= value.is_finite() and (unit == "seconds" or value == value.to_integral_value())
        time_ns = value * _UNITS_NS[unit]
    except ArithmeticError:
        whole = False
    if not whole:
        raise DriveError(f"{where}: {text!r} is no time in {unit}")
    if value < 0:
        raise DriveError(f"{where}: {text} is a time below zero: give {unit} since 1970 or since the start")
    if time_ns > _LONGEST_UP_NS and not _is_date(time_ns):
        looks = next((name for name, scale in _UNITS_NS.items() if _is_date(value * scale)), "")
        if looks:
            advice = f", or call the column {column}" if column and looks == "nanoseconds" else ""
            raise DriveError(
                f"{where}: {text} is no likely time in {unit}, and looks like {looks}: {_convert(looks, unit)}{advice}"
            )
    if time_ns >= 2**63:
        raise DriveError(f"{where}: {text} is too large for a time in {unit}")
    return int(time_ns)


def _is_date(time_ns: Decimal) -> bool:
    return _DATES_NS[0] <= time_ns <= _DATES_NS[1]


def are_dates(stamps_ns: np.ndarray) -> bool:
    """Whether all stamps (N,) count from 1970, and do not begin with a recording or a robot's start."""
    return bool(np.all((stamps_ns >= _DATES_NS[0]) & (stamps_ns <= _DATES_NS[1])))


def _convert(unit: str, wanted: str) -> str:
    """What to do with times in a unit to have them in the wanted one."""
    ratio = math.log10(_UNITS_NS[wanted] / _UNITS_NS[unit])
    return f"{'divide' if ratio > 0 else 'multiply'} by 1e{abs(round(ratio))}"


def check_spacing(stamps_ns: Sequence[int] | np.ndarray, unit: str, where: str) -> None:
    """Raise DriveError if times lie so close together, or so far apart, that they must be of another unit.

    stamps_ns: the times in nanoseconds. unit: of the file they are from. where: names the file in the error.
    """
    stamps = np.unique(np.asarray(stamps_ns, dtype=np.int64))
    if len(stamps) < 2:
        return
    step_ns = float(np.median(np.diff(stamps)))
    others = list(_UNITS_NS)
    if step_ns < _CLOSEST_NS:
        looks = others[: others.index(unit)]
    elif len(stamps) > 2 and step_ns > _DAY_NS and stamps[-1] < _DATES_NS[0]:  # dates may lie days apart
        looks = others[others.index(unit) + 1 :]
    else:
        return
    apart_ns = step_ns / _UNITS_NS[unit]
    if looks:
        raise DriveError(
            f"{where} is in {unit}, and its times are {apart_ns:g} {unit} apart: they look like {' or '.join(looks)}; "
            f"give {unit}"
        )


def in_order(stamps_ns: Sequence[int] | np.ndarray, tally: Tally, where: str) -> tuple[list[int], list[int]]:
    """Rows of images in order of time, and the stamps of these rows.

    Those that are equal are moved on by 1 ns each, and counted: two images of one stamp are two images. where: names
    the times in the tally.
    """
    stamps = np.asarray(stamps_ns, dtype=np.int64).tolist()
    rows = sorted(range(len(stamps)), key=stamps.__getitem__)
    moved: list[int] = []
    for row in rows:
        moved.append(max(stamps[row], moved[-1] + 1) if moved else stamps[row])
    tally.add(ROUNDED, where, len(stamps) - len(set(stamps)))
    return rows, moved


class Span(NamedTuple):
    """From when to when, nanoseconds. gap_ns: the usual one between poses, if it is too wide to be bridged; else 0."""

    first_ns: int
    last_ns: int
    gap_ns: int = 0

    def __str__(self) -> str:
        return f"{time_text(self.first_ns)} to {time_text(self.last_ns)}"


def clocks(images: Span, poses: Span | None) -> str:
    """Both time ranges in words, and what their distance looks like; "" if the drive has no poses at all."""
    if poses is None:
        return ""
    return f"images are of {images}, poses of {poses}{_guess(images, poses)}"


def _guess(images: Span, poses: Span) -> str:
    """What the clocks' distance looks like, judged by the starts and the ends of the two ranges; "" if like nothing."""
    for power, unit in ((3, "microseconds"), (6, "milliseconds"), (9, "seconds")):
        if abs(abs(math.log10(max(images.last_ns, 1) / max(poses.last_ns, 1))) - power) < _SAME_RATIO:
            return f": a factor of 1e{power} between them, as between nanoseconds and {unit}"
    overlap = images.first_ns <= poses.last_ns and poses.first_ns <= images.last_ns
    if poses.gap_ns and overlap:
        seconds = poses.gap_ns / 1e9
        return (
            f": poses lie {seconds:.1f} s apart, which is more than max_pose_gap_s and so is not bridged: give "
            f"-d max_pose_gap_s={math.ceil(1.2 * seconds)}"
        )
    away_ns = [images.first_ns - poses.first_ns, images.last_ns - poses.last_ns]
    size_ns = np.abs(away_ns)
    if abs(size_ns[0] - size_ns[1]) > 2 * _SLACK_NS:
        return ""
    for leap_s, names in _LEAPS.items():
        if np.all(np.abs(size_ns - leap_s * 10**9) < _SLACK_NS):
            return f": {leap_s} s is the distance between {names}"
    hours = round(float(size_ns.mean()) / 3.6e12)
    if 1 <= hours <= 14 and np.all(np.abs(size_ns - hours * 3600 * 10**9) < 60 * 10**9):
        return f": {hours} h apart, as a time zone"
    return ""
