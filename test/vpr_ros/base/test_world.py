"""One name for a world, however it is written."""

from __future__ import annotations

import pytest

from vpr_ros.base.world import canonical_world, utm_of, utm_world


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("utm 13T", "utm 13 north"),
        ("utm 13S", "utm 13 north"),  # a band, 32 to 40 degrees north
        ("utm 56H", "utm 56 south"),
        ("utm 1M", "utm 1 south"),
        ("utm 01N", "utm 1 north"),
        ("UTM 30 North", "utm 30 north"),
        ("utm 30 south", "utm 30 south"),
        ("utm 61T", "utm 61T"),
        ("utm 30", "utm 30"),
        ("utm 30I", "utm 30I"),  # no band
        ("town 7", "town 7"),
        ("", ""),
    ],
)
def test_one_name(name: str, canonical: str) -> None:
    """Maps of before name MGRS bands: two bands of one zone are one world, and S is a band of the north."""
    assert canonical_world(name) == canonical == canonical_world(canonical)


def test_zone_and_hemisphere_come_back() -> None:
    assert utm_of(utm_world(60, False)) == (60, False) and utm_of("local") is None
