"""Times in files: exact, of the unit that is meant, and if not, one sentence that says which it looks like."""

from __future__ import annotations

import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import ROUNDED, Span, check_spacing, clocks, in_order, nanoseconds

T0 = 1_700_000_000


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1700000000.123456789", "seconds", 1_700_000_000_123_456_789),
        ("1.7e9", "seconds", T0 * 10**9),
        ("0", "seconds", 0),
        ("1700000000123456", "microseconds", 1_700_000_000_123_456_000),
        ("1700000000123456789", "nanoseconds", 1_700_000_000_123_456_789),
        ("1700000000123456789.0", "nanoseconds", 1_700_000_000_123_456_789),
    ],
)
def test_times_are_exact(text: str, unit: str, expected: int) -> None:
    assert nanoseconds(text, unit, "here") == expected


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        (
            "1700000000123456789",
            "seconds",
            "looks like nanoseconds: divide by 1e9$",
        ),
        ("1.7e18", "seconds", "looks like nanoseconds"),
        ("1700000000123456", "seconds", "looks like microseconds: divide by 1e6"),
        ("1700000000123", "seconds", "looks like milliseconds: divide by 1e3"),
        ("17000000001234567890", "nanoseconds", "too large for a time in nanoseconds"),
        ("1700000000123456", "nanoseconds", "looks like microseconds: multiply by 1e3"),
        ("1700000000123", "microseconds", "looks like milliseconds: multiply by 1e3"),
        ("1e999999", "seconds", "no time in seconds"),
        ("12_5", "seconds", "no time in seconds"),
        ("1700000000123456789", "microseconds", "looks like nanoseconds"),
        ("99999999999999999999999", "seconds", "too large"),
        ("-1", "seconds", "below zero"),
        ("1.5", "nanoseconds", "no time in nanoseconds"),
        ("nan", "seconds", "no time in seconds"),
        ("inf", "seconds", "no time in seconds"),
        ("", "seconds", "no time in seconds"),
        ("noon", "microseconds", "no time in microseconds"),
    ],
)
def test_other_units_are_named(text: str, unit: str, says: str) -> None:
    """Each of these was an OverflowError with a traceback, or another time in silence."""
    with pytest.raises(DriveError, match=f"^here: .*{says}") as caught:
        nanoseconds(text, unit, "here")
    assert "\n" not in str(caught.value)


def test_clocks_that_start_with_the_robot_stay() -> None:
    """Only a time that is no likely one in its unit and a date in another is of that other unit."""
    for text in ("0", "1700000000123", "864000000000000"):  # up to ten days
        assert nanoseconds(text, "nanoseconds", "here") == int(text)


def test_spacing_tells_units_apart() -> None:
    """Seconds in stamp_ns built a map whose frames lay 1 ns apart; microseconds in stamp, one of days between them."""
    for scale in (1, 1000, 1_000_000):
        with pytest.raises(DriveError, match="they look like seconds or milliseconds or microseconds; give nanosec"):
            check_spacing([T0 * scale + i * scale // 10 for i in range(50)], "nanoseconds", "column stamp_ns")
    with pytest.raises(DriveError, match="300000 seconds apart: they look like milliseconds or microseconds"):
        check_spacing([i * 300_000 * 10**9 for i in range(5)], "seconds", "column stamp")
    check_spacing([(T0 + i * 7 * 86_400) * 10**9 for i in range(5)], "seconds", "an image a week")
    check_spacing([T0 * 10**9 + i * 5_000_000 for i in range(50)], "nanoseconds", "column stamp_ns")
    check_spacing([5], "nanoseconds", "column stamp_ns")


def test_images_of_one_stamp_stay_apart() -> None:
    tally = Tally()
    assert in_order([9, 5, 5, 5, 6], tally, "times.txt") == ([1, 2, 3, 4, 0], [5, 6, 7, 8, 9])
    assert tally.lines() == [f"2 {ROUNDED} (the first: times.txt)"]


def test_both_times_are_told_and_what_lies_between() -> None:
    """Clocks that differ by leap seconds or a time zone are an hour of search without this hint."""
    images = Span(T0 * 10**9, (T0 + 60) * 10**9)

    def poses(later_s: float) -> Span:
        return Span(images.first_ns + int(later_s * 1e9), images.last_ns + int(later_s * 1e9))

    told = clocks(images, poses(-37.2))
    assert told.startswith(
        "images are of 2023-11-14 22:13:20.000 to 2023-11-14 22:14:20.000, poses of 2023-11-14 22:12"
    )
    assert told.endswith("37 s is the distance between TAI and UTC")
    assert clocks(images, poses(18)).endswith("GPS time and UTC")
    assert clocks(images, poses(7200)).endswith("2 h apart, as a time zone")
    assert clocks(images, poses(300)).endswith("22:19:20.000") and clocks(images, None) == ""
    minute = Span(10**9, 60 * 10**9)
    assert clocks(minute, Span(10**6, 60 * 10**6)).endswith("as between nanoseconds and microseconds")
    assert clocks(Span(1, 60), minute).endswith("as between nanoseconds and seconds")
