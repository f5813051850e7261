"""A city must cost an image no more than a street: few numbers are kept one by one, and nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vpr_ros.localize import prior, sparse, temporal
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

SECOND = 1_000_000_000
SURE = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)


def dense(values: SparseValues) -> np.ndarray:
    """All N numbers."""
    return values.at(np.arange(values.count))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Keep 80 numbers one by one, so that a toy map is a large one."""
    for module in (sparse, temporal, prior):
        monkeypatch.setattr(module, "FILTER", replace(module.FILTER, individual=80))
    return 80


def random_values(seed: int, count: int = 200) -> SparseValues:
    rng = np.random.default_rng(seed)
    rows = rng.choice(count, 60, replace=False)
    return SparseValues.with_rows(rows, rng.normal(0, 1, 60), float(rng.normal()), count)


def test_arithmetic_is_that_of_all_numbers(few: int) -> None:
    """Each operation, against plain arrays."""
    one, other = random_values(1), random_values(2)
    assert dense(one.plus(other)) == pytest.approx(dense(one) + dense(other))
    assert dense(one.scaled(0.3)) == pytest.approx(0.3 * dense(one))
    assert dense(one.map(np.exp)) == pytest.approx(np.exp(dense(one)))
    assert one.sum() == pytest.approx(dense(one).sum())
    rows = np.array([5, 7, 5, 199])
    expected = dense(one)
    np.add.at(expected, rows, [1.0, 2.0, 3.0, 4.0])
    assert dense(one.added(rows, np.array([1.0, 2.0, 3.0, 4.0]))) == pytest.approx(expected)
    assert dense(SparseValues.constant(2.0, 200)) == pytest.approx(np.full(200, 2.0))


def test_what_is_not_kept_is_shared_not_lost(few: int) -> None:
    """Probability must not leak: the sum stays, and the largest keep their own."""
    many = random_values(1).plus(random_values(2)).plus(random_values(3))
    assert len(many.rows) > few
    reduced = many.reduced()
    assert len(reduced.rows) == few and reduced.sum() == pytest.approx(many.sum())
    assert dense(reduced).max() == dense(many).max()
    assert reduced.extended(100, 0.5).sum() == pytest.approx(many.sum() + 50.0)


def test_few_numbers_are_all_kept(few: int) -> None:
    """A street of 80 places is exact."""
    values = SparseValues.constant(1.0, few)
    assert len(values.rows) == few and len(values.reduced(above=5.0).rows) == few


def answers(places: Places, world: Any, odometry: bool) -> np.ndarray:
    """Probabilities of a drive: the best pose and off the map, image by image. It leaves the map in the middle."""
    localizer = Localizer(places, None, None, SURE)  # type: ignore[arg-type]
    found = []
    for k in range(80):
        off = 30 <= k < 50
        descriptor = world.noise_image(k) if off else world.descriptor(3.0 * k, 0.4, k)
        estimate = localizer.recognise(k * SECOND // 2, descriptor, world.pose(3.0 * k) if odometry else None)
        assert len(localizer.filter.belief.rows) <= temporal.FILTER.individual
        found.append([estimate.off_map_probability, estimate.hypotheses[0].probability])
    return np.array(found)


@pytest.mark.parametrize("odometry", [True, False])
def test_answers_are_those_of_a_full_belief(toy_world: Any, odometry: bool, request: pytest.FixtureRequest) -> None:
    """400 places, all kept or 80 of them: the same drive gets the same probabilities, but for a few images of doubt."""
    places = toy_world.places(every=1.0)
    full = answers(places, toy_world, odometry)
    request.getfixturevalue("few")
    apart = np.abs(answers(places, toy_world, odometry) - full).max(axis=1)
    assert np.median(apart) < 0.01 and np.mean(apart > 0.1) < 0.1


def test_what_is_left_over_is_never_below_zero(few: int) -> None:
    """A difference of two sums was: evidence made of it a belief of 1.2, and of -0.2 for off the map."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.uniform(0, 1, 80), np.full(40, 1e-24)])
        reduced = SparseValues(np.arange(120), values, 1e-24, 1000).reduced(above=1e-6)
        assert reduced.rest == pytest.approx(1e-24)
