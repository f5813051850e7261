"""Descriptors that stay in the file of a large map: a few of them are read for each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

_QUANTISED = 1.1  # squared length from which on a descriptor is decoded from signs; others have length 1


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

    Two descriptors of signs that agree in the share 1 - a / pi have the angle a between them (Goemans and Williamson,
    1995).
    """
    one, other = one.astype(np.float32), other.astype(np.float32)
    cosines = np.einsum("nd,nd->n", one, other)
    lengths = np.einsum("nd,nd->n", one, one) * np.einsum("nd,nd->n", other, other)
    signs = lengths > _QUANTISED**2
    cosines[signs] = np.sin(np.pi / 2 * np.clip(cosines[signs] / np.sqrt(lengths[signs]), -1, 1))
    return np.asarray(cosines, np.float32)
