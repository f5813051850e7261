"""Times in files: cells and file names to nanoseconds, with the unit checked, and what to say if clocks differ."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import numpy as np

from vpr_ros.errors import DriveError
from vpr_ros.image_order import time_text

# Unit -> (nanoseconds in it, the largest number of them that is a time: before the year 2262, where int64 ends).
_UNITS = {"seconds": (10**9, 10**10), "microseconds": (10**3, 2**63 // 10**3), "nanoseconds": (1, 2**63 - 1)}
_LOOKS_LIKE = (("milliseconds", 10**11), ("microseconds", 10**14), ("nanoseconds", 10**17), ("no time", 2**63))
_CLOSEST_NS = 200_000  # no camera and no pose source is faster than 5 kHz
_SLACK_NS = 1_500_000_000
_LEAPS = {18: "GPS time and UTC", 19: "TAI and GPS time", 37: "TAI and UTC"}


def nanoseconds(text: str, unit: str, where: str) -> int:
    """A time as it stands in a file, exact, in nanoseconds.

    unit: "seconds", "microseconds" or "nanoseconds". where: names the cell or file in the error. Raises DriveError for
    what is no time, and says which unit it looks like if it is not this one.
    """
    scale, largest = _UNITS[unit]
    try:
        value = Decimal(text)
        whole = "_" not in text  # Python reads 12_5 as 125, and files have no such numbers
        whole &= value.is_finite() and (unit == "seconds" or value == value.to_integral_value())
    except InvalidOperation:
        whole = False
    if not whole:
        raise DriveError(f"{where}: {text!r} is no time in {unit}")
    if value < 0:
        raise DriveError(f"{where}: {text} is a time below zero: give {unit} since 1970 or since the start")
    if value > largest:
        looks = next((name for name, least in reversed(_LOOKS_LIKE) if value >= least), "no time")
        raise DriveError(f"{where}: {text} is too large for a time in {unit}, and looks like {looks}{_advice(looks)}")
    return int(value * scale)


def _advice(looks: str) -> str:
    if looks == "nanoseconds":
        return ": divide by 1e9, or, in a CSV file, call the column stamp_ns"
    divisor = {"milliseconds": "1e3", "microseconds": "1e6"}.get(looks)
    return f": divide by {divisor}" if divisor else ""


def check_spacing(stamps_ns: Sequence[int] | np.ndarray, where: str) -> None:
    """Raise DriveError if stamps in nanoseconds lie so close that they must be of another unit."""
    steps = np.diff(np.unique(np.asarray(stamps_ns, dtype=np.int64)))
    if len(steps) and np.median(steps) < _CLOSEST_NS:
        raise DriveError(
            f"{where} is in nanoseconds, and its times are {np.median(steps):.0f} ns apart: they look like seconds, "
            "milliseconds or microseconds; give nanoseconds, or seconds in a column called stamp"
        )


def apart(stamps_ns: Sequence[int]) -> list[int]:
    """Ascending stamps, those that are equal moved on by 1 ns each: two images of one stamp are two images."""
    moved: list[int] = []
    for stamp in stamps_ns:
        moved.append(stamp if not moved or stamp > moved[-1] else moved[-1] + 1)
    return moved


class Span(NamedTuple):
    """From when to when, nanoseconds."""

    first_ns: int
    last_ns: int

    def __str__(self) -> str:
        return f"{time_text(self.first_ns)} to {time_text(self.last_ns)}"


def clocks(images: Span, poses: Span | None) -> str:
    """Both time ranges in words, and what their distance looks like; "" if the drive has no poses at all."""
    if poses is None:
        return ""
    return f"images are of {images}, poses of {poses}{_guess(images, poses)}"


def _guess(images: Span, poses: Span) -> str:
    """What the clocks' distance looks like, judged by the starts and the ends of the two ranges; "" if like nothing."""
    away_ns = [images.first_ns - poses.first_ns, images.last_ns - poses.last_ns]
    size_ns = np.abs(away_ns)
    if abs(size_ns[0] - size_ns[1]) > 2 * _SLACK_NS:
        return ""
    for seconds, names in _LEAPS.items():
        if np.all(np.abs(size_ns - seconds * 10**9) < _SLACK_NS):
            return f": {seconds} s is the distance between {names}"
    hours = round(float(size_ns.mean()) / 3.6e12)
    if 1 <= hours <= 14 and np.all(np.abs(size_ns - hours * 3600 * 10**9) < 60 * 10**9):
        return f": {hours} h apart, as a time zone"
    return ""
