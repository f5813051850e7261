"""Dense depth from sparse scans: what a decoder is taught between the points must be a surface that is there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed")

from vpr_lab.training.dense_depth import dense_depth


def test_holes_are_filled_and_the_sky_is_not() -> None:
    """A ground plane seen by every fourth row: between them its depth is known, above them nothing is."""
    rows = np.arange(64)
    plane = np.where(rows >= 24, 1.5 * 50 / np.maximum(rows - 20, 1), 0.0).astype(np.float32)
    true = np.repeat(plane[:, None], 48, axis=1)
    sparse = np.where((rows % 4 == 0)[:, None], true, 0).astype(np.float32)
    filled = dense_depth(sparse)
    assert (filled[:24] == 0).all() and filled.dtype == np.float32
    np.testing.assert_array_equal(filled[sparse > 0], sparse[sparse > 0])
    between = filled[28:61]
    assert (between > 0).all()
    assert np.abs(between / true[28:61] - 1).max() < 0.01
    np.testing.assert_array_equal(dense_depth(true), true)
