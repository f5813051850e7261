"""Descriptors that stay in the file of a large map: a few of them are read for each image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np

from vpr_ros.maps.storage import BITS, STEPS

# Length of a descriptor from which on it is decoded from codes of this type. That of others is 1.
_LENGTHS = {"int4": 1.0025, "int2": 1.034, "bit": 1.153}


@cache
def _cosine_law(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (K,) of two descriptors from 0 to 1, and those of what is decoded from their codes, in the mean.

    By the theorem of Price (1958) the mean product of two codes grows with the correlation as the density of the normal
    law, summed over all pairs of the codes' thresholds. For signs this is the arcsine law.
    """
    angles = np.linspace(0, np.pi / 2, 2000)[:-1]
    thresholds = STEPS[kind] * (np.arange(1, 2 ** BITS[kind]) - 2 ** (BITS[kind] - 1))
    one, other = thresholds[:, None, None], thresholds[:, None]
    exponents = (one**2 + other**2 - 2 * one * other * np.sin(angles)) / (2 * np.cos(angles) ** 2)
    grown = np.cumsum(np.exp(-exponents).sum(axis=(0, 1)))
    return np.sin(angles), (grown - grown[0]) / (grown[-1] - grown[0])


class StoredDescriptors:
    """Takes the place of an array (N, V, D) that is indexed by rows first: each access reads these rows."""

    def __init__(self, read: Callable[[np.ndarray], np.ndarray], ids: np.ndarray, size: tuple[int, ...]) -> None:
        """read: ids (K,) of places -> their descriptors (K, V, D). ids: (N,) of all. size: (V, D)."""
        self._read, self._ids = read, ids
        self.shape = (len(ids), *size)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: Any) -> np.ndarray:
        """As of an array. Raises MapError if the file can no longer be read."""
        rows, *rest = key if isinstance(key, tuple) else (key,)
        ids = self._ids[rows]
        found = self._read(np.atleast_1d(ids)).reshape(*np.shape(ids), *self.shape[1:])
        return np.asarray(found[(slice(None),) * np.ndim(ids) + tuple(rest)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in memory."""
        return np.asarray(self[:], dtype)


def at_rows(descriptors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The descriptors (N, V, D) at these rows (indices or a mask); of ``StoredDescriptors`` nothing is read."""
    if isinstance(descriptors, StoredDescriptors):
        return cast(np.ndarray, StoredDescriptors(descriptors._read, descriptors._ids[rows], descriptors.shape[1:]))
    return descriptors[rows]


def paired_cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines (N,) float32 of pairs of stored descriptors (N, D) and (N, D).

    Codes of like descriptors have like errors, by which those of few bits would seem more alike than they are.
    """
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    products = np.einsum("nd,nd->n", one, other)
    return _exact(products, np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))


def all_cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines (N, M) float32 of all pairs of stored descriptors (N, D) and (M, D); see ``paired_cosines``."""
    one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
    return _exact(one @ other.T, np.linalg.norm(one, axis=1)[:, None], np.linalg.norm(other, axis=1))


def _exact(cosines: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines (...) of what was stored, from products (...) of descriptors with lengths that broadcast to (...).

    They differ between codes of one type. Between others the product is right in the mean.
    """
    limits = list(_LENGTHS.values())
    of_type, of_other = np.searchsorted(limits, one), np.searchsorted(limits, other)
    for number, kind in enumerate(_LENGTHS, 1):
        pairs = (of_type == number) & (of_other == number)
        if not pairs.any():
            continue
        exact, decoded = _cosine_law(kind)
        found = (cosines / (one * other))[pairs]
        cosines[pairs] = np.sign(found) * np.interp(np.abs(found), decoded, exact)
    return np.asarray(cosines, np.float32)
