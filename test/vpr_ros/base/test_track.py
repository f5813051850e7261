"""Tracks and the tree of frames: order, gaps, and frames reached from both sides."""

from __future__ import annotations

import numpy as np

from vpr_ros.base.frames import FrameTree
from vpr_ros.base.geometry import inverse, matrix_from_rpy, transform
from vpr_ros.base.track import PoseTrack, Track, is_trip


def shift(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    return transform(matrix_from_rpy(0, 0, yaw), np.array([x, y, 0.0]))


def test_poses_in_any_order_become_a_track() -> None:
    """Bags log late; of two poses with one stamp the first stays; gaps are not bridged."""
    track = Track.of([20, 0, 10, 10, 100], [shift(2), shift(0), shift(1), shift(9), shift(10)], max_gap_ns=15)
    assert track.at(5)[0, 3] == 0.5 and track.at(10)[0, 3] == 1 and track.at(20)[0, 3] == 2
    assert track.at(50) is None and track.at(101) is None and track.at(-1) is None
    np.testing.assert_allclose(track.compose(shift(0, 3)).at(5)[:3, 3], [0.5, 3, 0])


def test_lookup_goes_up_and_down() -> None:
    """Between two leaves, with a moving joint, in both directions."""
    tree = FrameTree()
    tree.move("map", "base", Track.of([0, 10], [shift(0, 0, 0.0), shift(10, 0, 0.0)], 100))
    tree.fix("base", "camera", shift(1, 2, 0.5))
    tree.fix("map", "beacon", shift(7, 7, 1.0))
    T = tree.lookup("beacon", "camera", 5)
    np.testing.assert_allclose(T, inverse(shift(7, 7, 1.0)) @ shift(5) @ shift(1, 2, 0.5), atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "beacon", 5), inverse(T), atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "camera", 5), np.eye(4))
    assert tree.connected("camera", "beacon") and not tree.connected("camera", "moon")
    assert not tree.is_fixed("beacon", "camera") and tree.is_fixed("base", "camera")
    assert tree.lookup("map", "moon", 5) is None and tree.lookup("map", "camera", 50) is None
    tree.fix("camera", "map", np.eye(4))  # a loop in a broken bag must not hang
    assert len(tree.ancestors("beacon")) == 4


def test_a_joint_that_is_not_heard_of_is_unknown() -> None:
    """A camera on a head: half a second after the last transform the head may have turned."""
    tree, head = FrameTree(), PoseTrack(gap_ns=500)
    for stamp in (1000, 2000):
        head.add(stamp, shift(0, yaw=stamp / 1000))
    tree.fix("base", "mast", shift(1))
    tree.move("mast", "head", head)
    tree.fix("head", "camera", shift(0.5))
    expected = shift(1) @ shift(0, yaw=1.5) @ shift(0.5)
    np.testing.assert_allclose(tree.lookup("base", "camera", 1500), expected, atol=1e-12)
    assert tree.lookup("base", "camera", 9000) is None


def test_two_messages_of_nearly_one_time_are_no_velocity() -> None:
    """Odometry of 50 Hz in bursts: after 100 ms without a message, the robot was four metres away."""
    track, ms = PoseTrack(gap_ns=500_000_000), 1_000_000
    for stamp in [*range(0, 1000, 20), 980.5]:
        track.add(int(stamp * ms), shift(round(stamp / 20) * 0.02 + (stamp == 980.5) * 0.02))
    late = track.at(1080 * ms)
    assert late is not None and abs(late[0, 3] - 1.08) < 0.05
    burst = PoseTrack(gap_ns=500_000_000)
    burst.add(0, shift(0.0))
    burst.add(ms, shift(0.02))
    assert burst.at(100 * ms)[0, 3] == 0.02  # nothing is known of the velocity yet


def test_a_late_pose_is_left_out_and_an_old_one_starts_anew() -> None:
    """One transform that was overtaken cleared the joint's history, and images were without a mounting."""
    track, ms = PoseTrack(gap_ns=500_000_000), 1_000_000
    for stamp in (0, 100, 200, 199):
        track.add(stamp * ms, shift(stamp))
    track.add(-2000 * ms, shift(5.0))
    track.add(199 * ms, shift(0.0))
    track.add(300 * ms, shift(300))
    assert track.at(150 * ms)[0, 3] == 150 and track.at(-2000 * ms) is None
    for stamp in (-2000, -1900):  # a second one follows the first
        track.add(stamp * ms, shift(5.0))
    assert track.at(150 * ms) is None and track.at(-1900 * ms)[0, 3] == 5


def test_the_order_of_a_trip_is_told_from_that_of_names() -> None:
    """The spacing of a map, how its views change, and the filter over time need the order of driving.

    A trip with laps, a robot that stands on the way, and one that hardly moves are trips.
    """
    along = np.column_stack([np.arange(0, 400, 5.0), np.zeros(80)])
    laps = np.concatenate([along, along[::-1] + np.array([1.5, 1.0]), along + np.array([0.5, 0.3])])
    standing = np.repeat(along, 7, axis=0)
    room = np.cumsum(np.random.default_rng(0).normal(0, 0.02, (300, 2)), axis=0)
    slow = np.column_stack([np.arange(0, 60, 0.1), np.zeros(600)])
    noise = np.random.default_rng(1).normal(0, 0.5, (600, 2))
    cameras = np.concatenate([slow + k * np.array([0, 0.5]) for k in range(2)])[
        np.arange(1200).reshape(2, -1).T.ravel()
    ]
    waiting = np.concatenate([slow[:200] + noise[:200], slow[200] + noise[:350], slow[200:] + noise[200:]])
    assert all(map(is_trip, (along, laps, standing, room, slow + noise, cameras, waiting)))
    streets = np.concatenate([along + np.array([1.3 * k, 90 * k]) for k in (0, 3, 1, 4, 2)])
    by_easting = streets[np.lexsort(streets.T[::-1])]
    shuffled = np.random.default_rng(0).permutation(streets)
    panoramas = np.repeat(by_easting, 12, axis=0)
    assert not any(map(is_trip, (by_easting, shuffled, panoramas)))
