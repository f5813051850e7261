"""Tracks and trees of transforms: order, gaps, and frames reached from both sides."""

from __future__ import annotations

import numpy as np

from vpr_ros.base.geometry import inverse, matrix_from_rpy, transform
from vpr_ros.base.track import Track, TransformTree


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
    tree = TransformTree(max_gap_ns=100)
    tree.moving["base"] = ("map", Track.of([0, 10], [shift(0, 0, 0.0), shift(10, 0, 0.0)], 100))
    tree.static["camera"] = ("base", shift(1, 2, 0.5))
    tree.static["beacon"] = ("map", shift(7, 7, 1.0))
    T = tree.lookup("beacon", "camera", 5)
    np.testing.assert_allclose(T, inverse(shift(7, 7, 1.0)) @ shift(5) @ shift(1, 2, 0.5), atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "beacon", 5), inverse(T), atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "camera", 5), np.eye(4))
    assert tree.connected("camera", "beacon") and not tree.connected("camera", "moon")
    assert tree.lookup("map", "moon", 5) is None and tree.lookup("map", "camera", 50) is None
    tree.static["map"] = ("camera", np.eye(4))  # a loop in a broken bag must not hang
    assert len(tree.ancestors("beacon")) == 4
