"""Recall@1 of single images: the descriptors alone, without filter or calibration."""

from __future__ import annotations

import numpy as np

TOLERANCE_M = 25.0
_TOGETHER = 64  # queries compared with all reference images at once


def within_frames(frames: float) -> float:
    """tolerance_m under which images of a ``NumberedDrive`` at most so many frames away are right: these are whole."""
    return int(frames) + 0.5


def right_at_1(
    queries: np.ndarray,
    truth: np.ndarray,
    descriptors: np.ndarray,
    positions: np.ndarray,
    tolerance_m: float = TOLERANCE_M,
) -> np.ndarray:
    """Whether each query's most similar reference image is nearer than tolerance_m: (F,) bool; the mean is Recall@1.

    Distances are in the plane, since heights of different drives may not agree.
    queries: (Q, D) unit length; truth: (Q, 3) their positions, metres. descriptors: (N, D), or (N, V, D) of V views,
    the best of which counts; positions: (N, 3), N at least 1. F: the queries with a reference image within
    tolerance_m; others are left out. NaN in a position means unknown, which is near nothing.
    """
    on_map, right = judged_at_1(queries, truth, descriptors, positions, tolerance_m)
    return right[on_map]


def judged_at_1(
    queries: np.ndarray,
    truth: np.ndarray,
    descriptors: np.ndarray,
    positions: np.ndarray,
    tolerance_m: float = TOLERANCE_M,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``right_at_1`` of all queries: whether each has a reference image within the tolerance, and is right, (Q,)."""
    views = descriptors.reshape(-1, descriptors.shape[-1])
    on_map, right = np.zeros(len(queries), bool), np.zeros(len(queries), bool)
    for start in range(0, len(queries), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        near = np.linalg.norm(truth[part, None, :2] - positions[None, :, :2], axis=2) < tolerance_m
        similarity = (queries[part] @ views.T).reshape(len(near), len(descriptors), -1).max(axis=2)
        on_map[part], right[part] = near.any(axis=1), near[np.arange(len(near)), similarity.argmax(axis=1)]
    return on_map, right
