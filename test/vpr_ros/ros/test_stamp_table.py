"""Which node of another program is which moment: a wrong answer ties two places together that are not one."""

from __future__ import annotations

from vpr_ros.ros.adapters.stamp_table import StampTable


def table(*pairs: tuple[int, int]) -> StampTable:
    made = StampTable()
    for number, stamp_ns in pairs:
        made.add(number, stamp_ns)
    return made


def test_nearest_of_numbers_that_came_out_of_order() -> None:
    """RTAB-Map sends old nodes again now and then."""
    made = table((3, 300), (1, 100), (2, 200))
    assert made.nearest(0) == (1, 100)
    assert made.nearest(160) == (2, 200)
    assert made.nearest(10_000) == (3, 300)
    assert StampTable().nearest(1) is None


def test_nearest_is_final_only_when_a_later_one_is_known() -> None:
    """The next node may be nearer: asking too early would take one a second too old."""
    made = table((1, 100))
    assert not made.is_settled(101)
    assert made.is_settled(100)
    made.add(2, 150)
    assert made.is_settled(101)


def test_a_number_with_another_stamp_voids_the_others() -> None:
    """RTAB-Map was reset: its number 7 of before is another place than 7 of now."""
    made = table((6, 600), (7, 700))
    assert not made.add(7, 700)
    assert made.add(7, 9000)
    assert made.nearest(600) == (7, 9000)


def test_of_two_with_one_stamp_the_later_counts() -> None:
    """A bag played twice into one database: the graph being built holds the later number."""
    assert table((1, 100), (40, 100)).nearest(100) == (40, 100)


def test_a_count_that_begins_again_voids_numbers_that_were_never_repeated() -> None:
    """This node knew 50 to 100 when RTAB-Map began at 1 again. As soon as that came to 50, 1 to 49 went."""
    made = table(*((number, number) for number in range(50, 101)))
    for number in range(1, 60):
        assert made.add(number, 1000 + number)
    assert made.nearest(1030) == (30, 1030) and made.nearest(80) == (1, 1001) and made.restarts == 1
