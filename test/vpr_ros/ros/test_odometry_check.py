"""Odometry that contradicts the poses on the map is named: nothing else shows a wrong scale or a mirrored axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vpr_ros.base.geometry import inverse, matrix_from_rpy, transform
from vpr_ros.ros.health.odometry_check import OdometryCheck


def told(change: Callable[[np.ndarray], np.ndarray], noise_m: float = 1.5) -> str:
    """What is said after a drive of 400 m in curves, with odometry that is changed."""
    rng, check = np.random.default_rng(0), OdometryCheck()
    heading, at = 0.0, np.zeros(3)
    for k in range(80):
        heading += 0.06 * np.sin(k / 9)
        at = at + 5.0 * np.array([np.cos(heading), np.sin(heading), 0])
        seen = at + np.append(rng.normal(0, noise_m, 2), 0)
        T = transform(matrix_from_rpy(0, 0, heading), at)
        check.add(transform(matrix_from_rpy(0, 0, heading), seen), change(T), 5.0)
    return check.problem


def test_right_odometry_is_not_blamed() -> None:
    """In another frame, turned by any angle, drifting by 2 %, and with poses that are 1.5 m off."""
    T_odom_map = transform(matrix_from_rpy(0, 0, 2.0), np.array([300.0, -20, 0]))
    assert not told(lambda T: T_odom_map @ transform(T[:3, :3], 1.02 * T[:3, 3]))


@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0])
def test_a_wrong_scale_is_named(scale: float) -> None:
    assert "check its scale" in told(lambda T: transform(T[:3, :3], scale * T[:3, 3]))


def test_a_mirrored_axis_is_named() -> None:
    """A robot that drives backwards by its odometry."""
    assert "does not fit" in told(lambda T: transform(T[:3, :3], -T[:3, 3]))


def test_drift_of_a_robot_that_goes_about_in_a_room_is_not_blamed() -> None:
    """It is never far from where it was; after two kilometres, drift alone was as large as the room."""
    rng, check, told = np.random.default_rng(0), OdometryCheck(), 0
    T_odom, T_last, at, heading = np.eye(4), np.eye(4), np.zeros(2), 0.0
    for _ in range(6000):
        step = 0.5 * np.array([np.cos(heading), np.sin(heading)])
        inside = np.abs(at + step).max() < 4
        at, heading = (at + step, heading + rng.normal(0, 0.2)) if inside else (at, heading + np.pi / 2)
        T = transform(matrix_from_rpy(0, 0, heading), np.append(at, 0))
        moved, T_last = inverse(T_last) @ T, T
        T_odom = T_odom @ transform(matrix_from_rpy(0, 0, 0.003) @ moved[:3, :3], 1.03 * moved[:3, 3])
        check.add(T, T_odom, 0.5)
        told += bool(check.problem)
    assert told == 0


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_diameter_for_radius_is_named(scale: float) -> None:
    """The commonest mistake of scale: within what was allowed, whatever the map's spacing."""
    assert "check its scale" in told(lambda T: transform(T[:3, :3], scale * T[:3, 3]), noise_m=0.5)


def test_heights_that_jump_from_drive_to_drive_are_not_blamed() -> None:
    """Satellites' heights do; odometry was blamed for 20 m of them."""
    check, wrong = OdometryCheck(), 0
    for k in range(400):
        at = np.array([3.0 * k, 0.0, 20.0 * (k // 10 % 2)])
        check.add(transform(np.eye(3), at), transform(np.eye(3), at * [1, 1, 0]), 2.0)
        wrong += bool(check.problem)
    assert wrong == 0
