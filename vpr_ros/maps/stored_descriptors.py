"""Descriptors that stay in the file of a large map: a few of them are read for each image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np

from vpr_ros.maps.storage import BITS, STEPS

# Product of the lengths of two descriptors, from which on both are decoded from codes of this type. Of others it is 1.
_LENGTHS = {"int4": 1.005, "int2": 1.07, "bit": 1.33}


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
    one, other = one.astype(np.float32), other.astype(np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", one, one) * np.einsum("nd,nd->n", other, other))
    return _exact(np.einsum("nd,nd->n", one, other), lengths)


def all_cosines(descriptors: np.ndarray) -> np.ndarray:
    """Cosines (N, N) float32 of stored descriptors (N, D) with each other; see ``paired_cosines``."""
    descriptors = descriptors.astype(np.float32)
    lengths = np.linalg.norm(descriptors, axis=1)
    products = descriptors @ descriptors.T
    return _exact(products.ravel(), np.outer(lengths, lengths).ravel()).reshape(products.shape)


def _exact(cosines: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Cosines (N,) of what was stored, from products (N,) of decoded descriptors and of their lengths."""
    of_type = np.searchsorted(list(_LENGTHS.values()), lengths)
    for number, kind in enumerate(_LENGTHS, 1):
        rows = np.flatnonzero(of_type == number)
        if not len(rows):
            continue
        exact, decoded = _cosine_law(kind)
        found = cosines[rows] / lengths[rows]
        cosines[rows] = np.sign(found) * np.interp(np.abs(found), decoded, exact)
    return np.asarray(cosines, np.float32)
