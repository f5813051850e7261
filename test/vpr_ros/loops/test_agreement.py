"""Closures are believed together: what one keyframe measures, another has to confirm by way of odometry."""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import LoopClosure
from vpr_ros.loops.agreement import Agreement


def at(x, y=0.0, yaw=0.0):
    return geometry.transform(geometry.matrix_from_rpy(0, 0, yaw), np.array([x, y, 0.0]))


def closure(stamp, T_map_query, match_map="earlier.vprmap", drive="a"):
    """A closure that puts the robot at this pose of the map, by way of a keyframe a metre before it."""
    T_map_match = T_map_query @ at(-1.0)
    T_match_query = geometry.inverse(T_map_match) @ T_map_query
    return LoopClosure(
        stamp, stamp, stamp + 1000, 7, drive, match_map, T_map_match, 0.9, 0.9, T_match_query, np.eye(6), 20, 1.0
    )


def test_two_that_agree_are_believed_both():
    """The first waits for the second, then both go out, each once."""
    agreement = Agreement(2)
    first, second, third = (closure(k, at(100 + 2 * k)) for k in (1, 2, 3))
    assert agreement.add([first], at(2), 2.0) == []
    assert agreement.add([second], at(4), 4.0) == [first, second]
    assert agreement.add([third], at(6), 6.0) == [third]


def test_one_that_lies_elsewhere_is_not_believed():
    """A false closure finds no second like it, and does not spoil the right ones round it."""
    agreement = Agreement(2)
    agreement.add([closure(1, at(102))], at(2), 2.0)
    assert agreement.add([closure(2, at(140))], at(4), 4.0) == []
    assert [c.stamp_ns for c in agreement.add([closure(3, at(106))], at(6), 6.0)] == [1, 3]


def test_a_turn_that_odometry_did_not_make_is_no_agreement():
    """Same position, other heading."""
    agreement = Agreement(2)
    agreement.add([closure(1, at(102))], at(2), 2.0)
    assert agreement.add([closure(2, at(104, yaw=0.2))], at(4), 4.0) == []


def test_other_maps_and_the_distant_past_do_not_count():
    """Poses of two maps cannot be compared, and after 30 m odometry has had its chance."""
    agreement = Agreement(2)
    agreement.add([closure(1, at(102))], at(2), 2.0)
    assert agreement.add([closure(2, at(104), match_map="")], at(4), 4.0) == []
    assert agreement.add([closure(3, at(150))], at(50), 50.0) == []


def test_the_next_place_is_expected_where_odometry_leads():
    """By the last believed closure; nothing is expected before there is one, or after a reset."""
    agreement = Agreement(2)
    assert agreement.predicted("earlier.vprmap", at(0)) is None
    agreement.add([closure(1, at(102))], at(2), 2.0)
    agreement.add([closure(2, at(104))], at(4), 4.0)
    T_map_camera, match_id = agreement.predicted("earlier.vprmap", at(6))
    assert np.allclose(T_map_camera, at(106)) and match_id == 7
    agreement.reset()
    assert agreement.predicted("earlier.vprmap", at(6)) is None


def test_one_view_does_not_confirm_itself():
    """A robot that stood made three keyframes of one false match, 120 m off, with a probability of 1.000."""
    agreement = Agreement(3)
    for k in range(5):
        assert agreement.add([closure(k, at(102))], at(2 + 0.01 * k), 2.0 + 0.01 * k) == []
    agreement.add([closure(6, at(104))], at(4), 4.0)
    assert agreement.add([closure(7, at(106))], at(6), 6.0)


def test_odometry_that_may_drift_more_agrees_more():
    """With 20 % of scale no closure was left, whatever loops.drift said."""
    for drift, accepted in ((0.03, 0), (0.2, 2)):
        agreement = Agreement(2, drift)
        agreement.add([closure(1, at(102))], at(2), 2.0)
        assert len(agreement.add([closure(2, at(112))], at(14), 14.0)) == accepted


def test_drives_of_one_frame_confirm_each_other():
    """With each drive more in a map fewer closures were found: neighbours matched different drives."""
    for names, accepted in (((), 0), (("earlier.vprmap",), 2)):
        agreement = Agreement(2, of_one_frame=names)
        agreement.add([closure(1, at(102), drive="a")], at(2), 2.0)
        assert len(agreement.add([closure(2, at(104), drive="b")], at(4), 4.0)) == accepted
