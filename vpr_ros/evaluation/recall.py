"""Recall@1 of single images: the descriptors alone, without filter or calibration."""

from __future__ import annotations

import numpy as np

TOLERANCE_M = 25.0


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
    near = np.linalg.norm(truth[:, None, :2] - positions[None, :, :2], axis=2) < tolerance_m
    views = descriptors.reshape(-1, descriptors.shape[-1])
    similarity = (queries @ views.T).reshape(len(queries), len(descriptors), -1).max(axis=2)
    return near.any(axis=1), near[np.arange(len(queries)), similarity.argmax(axis=1)]
