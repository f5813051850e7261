"""Levels: places above each other, as on the floors of a building or in a car park.

Distances are in the plane. Places on another level are infinitely far.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.maps.constants import LEVELS

_PAIRS = 1_000_000  # of positions, compared at a time


def same_level(heights: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Whether differences of height (...) at distances (...) in the plane, metres, are a slope and no other level."""
    return np.abs(heights) < np.maximum(LEVELS.height_m, LEVELS.slope * distances)


def distances(positions: np.ndarray, position: np.ndarray, levels: bool) -> np.ndarray:
    """Metres (...) in the plane between positions (..., 3) and (..., 3); levels: infinite on another level."""
    offsets = positions - position
    plane = np.linalg.norm(offsets[..., :2], axis=-1)
    return np.where(same_level(offsets[..., 2], plane), plane, np.inf) if levels else plane


def nearest(positions: np.ndarray, others: np.ndarray, levels: bool) -> np.ndarray:
    """Distance (K,) of each of positions (K, 3) to the nearest of others (N, 3), metres; see ``distances``.

    The memory that it takes does not grow with K times N.
    """
    step = max(_PAIRS // max(len(others), 1), 1)
    pieces = (positions[start : start + step, None] for start in range(0, len(positions), step))
    return np.concatenate([np.zeros(0), *(distances(piece, others, levels).min(axis=1) for piece in pieces)])
