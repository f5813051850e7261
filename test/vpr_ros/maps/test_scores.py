"""Standard scores: how far an image's similarity stands out of what it has with the rest of the map."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.maps.scores import standard_scores


def test_scores_are_the_same_when_all_similarities_are_lower():
    """At night. The spread of a town of many places is above the least one."""
    background = np.random.default_rng(0).normal(0.1, 0.08, 500)
    day, night = standard_scores(np.array([0.6]), background), standard_scores(np.array([0.3]), 0.5 * background)
    assert abs(day - night) < 0.01


def test_many_long_descriptors_keep_their_scores():
    """Unrelated descriptors of 4096 numbers, as some imported networks have, differ by 0.016: that is no chance."""
    background = np.random.default_rng(0).normal(0.0, 1 / 64, 500)
    assert standard_scores(np.array([0.16]), background) == pytest.approx(10, abs=1)
