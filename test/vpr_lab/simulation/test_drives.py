"""Simulated drives: reproducible, smooth, with odometry that drifts as real odometry does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.lidar import scan
from vpr_lab.simulation.town import Town
from vpr_lab.simulation.weather import ChangeableDrive
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.geometry import heading, inverse, wrap_angle
from vpr_ros.drives.drive import sample


def make(town, seed=0, **others):
    return SimulatedDrive(town, Condition.preset("overcast", seed), seed=seed, **others)


def test_poses_follow_the_lane_within_the_sway(town):
    """Index i of two drives is the same place, give or take the lateral sway: training pairs rely on it."""
    first, second = make(town, 1), make(town, 2)
    assert len(first) == len(second) and first.world == "town 5"
    apart = np.linalg.norm(first.T_map_camera[:, :3, 3] - second.T_map_camera[:, :3, 3], axis=1)
    assert apart.mean() > 0.05 and apart.max() < 1.41
    assert np.allclose(first.T_map_camera[:, 2, 3], 1.6, atol=1e-3)


def test_motion_is_smooth_and_stamps_follow_the_speed(town):
    """No teleport, no sudden turn between images."""
    drive = make(town, motion=Motion(every_m=1.0, speed_mps=5.0))
    step = np.linalg.norm(np.diff(drive.T_map_camera[:, :3, 3], axis=0), axis=1)
    assert step.min() > 0.7 and step.max() < 1.4
    assert np.abs(np.degrees(wrap_angle(np.diff(heading(drive.T_map_camera))))).max() < 20
    assert np.allclose(np.diff(drive.stamps_ns), 0.2e9)


def test_odometry_drifts_but_is_right_from_image_to_image(town):
    """Small errors a step, growing with distance: what the filter must live with."""
    ends = []
    for seed in range(8):
        drive = make(town, seed, route="random-3")
        true = inverse(drive.T_map_camera[:-1]) @ drive.T_map_camera[1:]
        told = inverse(drive.T_odom_camera[:-1]) @ drive.T_odom_camera[1:]
        error = np.linalg.norm(true[:, :3, 3] - told[:, :3, 3], axis=1)
        assert error.max() < 0.3
        across = np.linalg.norm(drive.T_map_camera[-1, :2, 3] - drive.T_map_camera[0, :2, 3])
        told_across = np.linalg.norm(drive.T_odom_camera[-1, :2, 3] - drive.T_odom_camera[0, :2, 3])
        ends.append(abs(across - told_across) / drive.route.length_m)
    assert 0.0005 < np.mean(ends) < 0.04


def test_frames_are_the_same_each_time_and_carry_depth(town, renderer):
    """The Drive protocol: iterating twice gives the same frames."""
    drive = make(town, 3, renderer=renderer, motion=Motion(every_m=3.0, length_m=12.0))
    first, second = ([frame.read() for frame in drive] for _ in range(2))
    assert len(first) == len(drive) == 4
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    frame = drive[2]
    assert frame.read_depth is not None and frame.read_depth().shape == frame.read().shape[:2] == (120, 160)
    assert frame.load().T_odom_camera is not None
    assert frame.intrinsics.width == 160 and np.array_equal(frame.intrinsics.K, renderer.camera.K)


def test_a_street_seen_again_can_have_other_traffic(town, renderer):
    """A loop closed on the same parked cars would flatter a loop closer."""
    motion = Motion(every_m=1.0, length_m=3.0)
    still = make(town, 3, renderer=renderer, motion=motion)
    moving = make(town, 3, renderer=renderer, motion=replace(motion, traffic_m=2.0))
    cars = [[drive._traffic_of(index) for index in range(3)] for drive in (still, moving)]
    assert cars == [[0, 0, 0], [0, 0, 1]]
    assert np.array_equal(still[0].read(), moving[0].read())
    before = renderer._traffic.places
    moving[2].read()
    assert not np.array_equal(before, renderer._traffic.places)


def test_changeable_weather_changes_every_so_many_images(town, renderer):
    """Calibration sees all conditions in one drive."""
    conditions = [Condition.preset(name, 1) for name in ("overcast", "night")]
    drive = ChangeableDrive(town, conditions, every=2, renderer=renderer, motion=Motion(length_m=8.0))
    light = [float(frame.read().mean()) for frame in drive]
    assert min(light[:2]) > 1.5 * max(light[2:])


def test_sampling_by_distance(town):
    """A simulated drive is a Drive like any other."""
    assert len(list(sample(make(town, motion=Motion(every_m=1.0, length_m=50.0)), every_m=5.0))) in range(8, 12)


def test_a_renderer_of_another_town_is_refused(renderer):
    """Else the pictures would show one town and the poses another."""
    with pytest.raises(ConfigError, match="another town"):
        make(Town.__new__(Town), renderer=renderer)


def test_the_lidar_sees_ground_and_walls_where_they_are(town):
    """Scans must agree with the town: level beams meet walls, downward ones the ground at the right range."""
    route = town.route("reference")
    T = np.eye(4)
    T[:3, 3] = [*route.points[100], 1.0]
    level = scan(town, T)
    assert level.shape[1] == 3 and len(level) > 50 and np.linalg.norm(level[:, :2], axis=1).min() > 1
    T[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # sweeping across the street, x down
    upright = scan(town, T)
    down = upright[np.abs(upright[:, 1]) < 1.5]
    assert np.allclose(down[down[:, 0] > 0, 0], 1.0)
