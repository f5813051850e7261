"""Recall@1 of single images: who counts, and what is right."""

from __future__ import annotations

import tracemalloc

import numpy as np

from vpr_ros.evaluation.recall import right_at_1


def at(*metres: float) -> np.ndarray:
    return np.array([[x, 0.0, 0.0] for x in metres])


def test_only_queries_with_a_reference_image_near_count() -> None:
    """A query off the reference drive has no right answer, and an image without a position neither can be one."""
    axes = np.eye(4, dtype=np.float32)
    positions = at(0.0, 100.0, np.nan)
    truth = at(24.9, 100.0, 500.0, np.nan, 99.0, 25.0)
    found = right_at_1(axes[[0, 0, 0, 0, 2, 0]], truth, axes[:3], positions)
    assert found.tolist() == [
        True,
        False,
        False,
    ]  # 1: most similar is elsewhere; 4: most similar lies nobody knows where
    assert right_at_1(axes[[0]], at(25.0), axes[:1], at(0.0), 30.0).tolist() == [True]
    assert right_at_1(axes[[0]], at(25.0), axes[:1], at(0.0)).tolist() == []  # strictly nearer


def test_the_best_view_of_a_place_counts() -> None:
    """A place seen from aside is found by one of its views, as ``Index.search`` finds it."""
    axes = np.eye(4, dtype=np.float32)
    views = np.stack([axes[[0, 1]], axes[[2, 3]]])
    for row, place in ((0, 0.0), (1, 0.0), (2, 100.0), (3, 100.0)):
        assert right_at_1(axes[[row]], at(place), views, at(0.0, 100.0)).tolist() == [True]


def test_memory_does_not_grow_with_images_times_places() -> None:
    """A release of a city is tested on thousands of images: the table of all pairs took gigabytes."""
    rng = np.random.default_rng(0)
    positions, truth = rng.uniform(0, 1000, (5000, 3)), rng.uniform(0, 1000, (1000, 3))
    stored, queries = rng.standard_normal((5000, 1, 8)), rng.standard_normal((1000, 8))
    near = np.linalg.norm((truth[:, None] - positions)[..., :2], axis=2) < 25.0
    right = near[np.arange(1000), (queries @ stored[:, 0].T).argmax(axis=1)]
    tracemalloc.start()
    found = right_at_1(queries, truth, stored, positions)
    assert tracemalloc.get_traced_memory()[1] < 8 * 1000 * 5000
    tracemalloc.stop()
    np.testing.assert_array_equal(found, right[near.any(axis=1)])


def test_heights_are_no_distance() -> None:
    """Satellites give heights that jump by tens of metres from drive to drive: every query was off the map."""
    high = at(3.0) + np.array([0, 0, 30.0])
    assert right_at_1(np.eye(4, dtype=np.float32)[[0]], high, np.eye(4, dtype=np.float32)[:1], at(0.0)).tolist() == [
        True
    ]
