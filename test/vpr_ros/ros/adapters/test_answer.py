"""The relative pose of the base, which every transform handed to a SLAM stack is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base import geometry


def test_relative_pose_is_that_of_the_base(bench: Any) -> None:
    """Cameras are compared, robots drive: a mount left out is an error of metres in every turn."""
    T, covariance = bench.closure().relative_base()
    np.testing.assert_allclose(T, bench.T_match_base, atol=1e-12)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_a_camera_on_a_head_had_another_mounting_then(bench: Any) -> None:
    """The head looked aside at the earlier keyframe: with the mounting of now, the edge was turned by that angle."""
    T_base_then = bench.T_base_camera @ geometry.transform(geometry.matrix_from_rpy(0, 0.8, 0), np.zeros(3))
    T_then_base = geometry.inverse(T_base_then)
    T_match_query = T_then_base @ bench.T_match_base @ bench.T_base_camera
    closure = replace(bench.closure(T_match_query=T_match_query), T_match_base=T_then_base)
    np.testing.assert_allclose(closure.relative_base()[0], bench.T_match_base, atol=1e-12)
    assert replace(closure, T_match_base=None).relative_base() is None


def test_base_in_map_adds_the_earlier_pose(bench: Any) -> None:
    """What initialpose and global_pose say on an earlier map."""
    T_map_earlier = geometry.transform(geometry.matrix_from_rpy(0, 0, 2.0), np.array([50.0, -20.0, 1.0]))
    closure = bench.closure(match_map="town.vprmap", T_map_match=T_map_earlier @ bench.T_base_camera)
    T, covariance = closure.base_in_map()
    np.testing.assert_allclose(T, T_map_earlier @ bench.T_match_base, atol=1e-9)
    assert np.linalg.eigvalsh(covariance)[0] > 0


@pytest.mark.parametrize(
    ("changes", "own"),
    [({}, True), ({"match_drive": "today-0"}, False), ({"match_map": "town.vprmap"}, False)],
    ids=["this drive", "an earlier drive of the session", "a map with a drive of that name"],
)
def test_only_this_drive_is_the_own_past(bench: Any, changes: dict[str, Any], own: bool) -> None:
    """A bag played twice has every stamp twice: who looks up the earlier drive's finds this one's moments."""
    assert bench.closure(**changes).own_past is own


@pytest.mark.parametrize("match_drive", ["today-1", "today-0"])
def test_no_pose_on_the_sessions_own_map(bench: Any, match_drive: str) -> None:
    """Each of its drives has an origin of its own, which nobody shares."""
    assert bench.closure(match_drive=match_drive).base_in_map() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"verified": False},
        {"covariance": None},
        {"covariance": np.full((6, 6), np.nan)},
        {"covariance": -np.eye(6)},
        {"T_match_query": np.full((4, 4), np.nan)},
    ],
    ids=["unverified", "no covariance", "NaN covariance", "negative covariance", "NaN pose"],
)
def test_no_transform_where_none_was_measured(bench: Any, changes: dict[str, Any]) -> None:
    """An identity in its place would pull a pose graph together at a point it may never have passed."""
    closure = bench.closure(**changes)
    assert closure.relative_base() is None
    assert replace(closure, closure=replace(closure.closure, match_map="town.vprmap")).base_in_map() is None


def test_no_transform_of_the_base_without_its_mount(bench: Any) -> None:
    """A guess at where the camera sits is a wrong transform."""
    assert replace(bench.closure(), T_camera_base=None).relative_base() is None


def test_no_pose_on_a_map_of_raw_odometry(bench: Any) -> None:
    """A session's map lies where its odometry began: its poses mean nothing in the frame of a map."""
    closure = replace(bench.closure(match_map="day.vprmap"), map_is_odometry=True)
    assert closure.base_in_map() is None
    assert closure.relative_base() is not None
