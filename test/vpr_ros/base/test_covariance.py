"""Covariances on their way to back ends that abort, diverge or over-trust when one is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base import covariance, geometry

T_OUTER = geometry.transform(geometry.matrix_from_rpy(0.3, -0.4, 1.1), np.array([1.0, -2.0, 0.5]))
T_MIDDLE = geometry.transform(geometry.matrix_from_rpy(-0.2, 0.1, 2.0), np.array([3.0, 1.0, -0.3]))
T_INNER = geometry.transform(geometry.matrix_from_rpy(0.5, 0.6, -0.7), np.array([-0.5, 0.8, 1.5]))


def any_covariance(seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).normal(0, 0.1, (6, 6))
    return root @ root.T + 1e-4 * np.eye(6)


def disturbed(T: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A pose moved and turned about the axes it is given in, as ROS means its covariance."""
    return geometry.transform(geometry.rotation_from_vector(by[3:]) @ T[:3, :3], T[:3, 3] + by[:3])


def disturbance(T: np.ndarray, T_true: np.ndarray) -> np.ndarray:
    """(6,) by which T is off, about the axes it is given in."""
    turn = geometry.vector_from_rotation(T[:3, :3] @ T_true[:3, :3].T)
    return np.concatenate([T[:3, 3] - T_true[:3, 3], turn])


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((6, 6)),
        np.diag([1e12, 0, 1, 1, 1e-12, 1]),
        np.ones((6, 6)),
        any_covariance(),
        np.eye(6)[::-1],
    ],
    ids=["all zero", "absurd", "singular", "good", "indefinite"],
)
def test_sane_is_positive_definite_or_nothing(given: np.ndarray) -> None:
    """An all-zero or singular covariance makes back ends abort; one that is no covariance must not be passed on."""
    valid = covariance.sane(given)
    if np.linalg.eigvalsh((given + given.T) / 2)[0] < -1e-3:
        assert valid is None
        return
    np.testing.assert_array_equal(valid, valid.T)
    variances = np.linalg.eigvalsh(valid)
    assert variances[0] > 0.9e-6 and variances[-1] < 1.1e6
    inverse = covariance.information(valid)
    np.testing.assert_array_equal(inverse, inverse.T)
    assert np.linalg.eigvalsh(inverse)[0] > 0
    np.testing.assert_allclose(inverse @ valid, np.eye(6), atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sane_refuses_what_is_not_finite(bad: float) -> None:
    """One NaN in a pose graph spoils every pose of it."""
    given = np.eye(6)
    given[2, 3] = bad
    assert covariance.sane(given) is None


def test_sane_leaves_a_good_one_as_it_is() -> None:
    """The covariance was measured and checked against truth: mending must not touch it."""
    np.testing.assert_allclose(covariance.sane(any_covariance()), any_covariance(), rtol=1e-9)


def test_chained_agrees_with_disturbing_the_pose() -> None:
    """Moving a covariance from camera to base by a wrong lever arm makes it too small where it matters."""
    steps = 1e-6 * np.eye(6)
    T_true = T_OUTER @ T_MIDDLE @ T_INNER
    jacobian = np.stack(
        [disturbance(T_OUTER @ disturbed(T_MIDDLE, step) @ T_INNER, T_true) / 1e-6 for step in steps], axis=1
    )
    T, moved = covariance.chained(T_OUTER, T_MIDDLE, any_covariance(), T_INNER)
    np.testing.assert_allclose(T, T_true)
    np.testing.assert_allclose(moved, jacobian @ any_covariance() @ jacobian.T, atol=1e-6)


def test_about_end_is_what_a_factor_graph_takes() -> None:
    """GTSAM disturbs T by T * Exp(xi); the axes of the wrong end swap along and across at every right angle."""
    jacobian = []
    for step in 1e-6 * np.eye(6):
        inner = geometry.transform(geometry.rotation_from_vector(step[3:]), step[:3])
        jacobian.append(disturbance(T_MIDDLE @ inner, T_MIDDLE) / 1e-6)
    J = np.stack(jacobian, axis=1)
    about_end = covariance.about_end(T_MIDDLE, any_covariance())
    np.testing.assert_allclose(J @ about_end @ J.T, any_covariance(), atol=1e-6)
