"""What flows through the house."""

from __future__ import annotations

import pytest

from vpr_ros.base.records import OnDemand


def test_on_demand_makes_an_item_once_and_only_when_looked_at() -> None:
    """The node publishes the best pose before the others exist; nobody may pay for, or see, two versions of one."""
    made: list[int] = []

    def make(number: int) -> str:
        made.append(number)
        return "abcd"[number]

    items = OnDemand(4, make)
    assert len(items) == 4 and made == []
    assert items[0] == "a" and items[0] == "a" and made == [0]
    assert items[-1] == "d" and made == [0, 3]
    assert list(items[1:3]) == ["b", "c"] and list(items) == ["a", "b", "c", "d"] and sorted(made) == [0, 1, 2, 3]
    with pytest.raises(IndexError):
        items[4]
