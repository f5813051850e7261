"""Merging of two networks' results for one image (Carachino, Di Gangi: ensembles of localisers).

Each answer is a list of ids, best first. Two networks that fail differently find more together than the better one.
"""

from __future__ import annotations

import numpy as np


def nearest_indices_first(
    first_ids: np.ndarray, first_distances: np.ndarray, second_ids: np.ndarray, second_distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """NIF: both lists in one, by distance; an id in both keeps its smaller distance. Best for night, by the report.

    first_ids (N,), second_ids (M,): integers; distances: floats of the same shapes, on one scale, as those between
    descriptors of unit length are. Returns ids (K,), each once, and their distances (K,). Of equal distances the first
    list's come first.
    """
    ids = np.concatenate((first_ids, second_ids))
    distances = np.concatenate((first_distances, second_distances))
    if ids.shape != distances.shape:
        raise ValueError(f"{len(ids)} ids cannot have {len(distances)} distances")
    order = np.argsort(distances, kind="stable")
    kept = order[_first_occurrences(ids[order])]
    return ids[kept], distances[kept]


def shared_indices_first(first_ids: np.ndarray, second_ids: np.ndarray) -> np.ndarray:
    """SIF: what both lists hold in the first one's order, then the rest of the first, then of the second.

    first_ids (N,), of the better network, and second_ids (M,): integers. Returns ids (K,), each once. Best by day.
    """
    shared = np.isin(first_ids, second_ids)
    ids = np.concatenate((first_ids[shared], first_ids[~shared], second_ids))
    return ids[_first_occurrences(ids)]


def _first_occurrences(ids: np.ndarray) -> np.ndarray:
    """Rows at which an id is met for the first time, ascending."""
    return np.sort(np.unique(ids, return_index=True)[1])
