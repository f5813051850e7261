"""Nearest descriptors through FAISS: a cache beside the map, rebuilt whenever it is missing or stale."""

from __future__ import annotations

import json
import os
from pathlib import Path

import faiss
import numpy as np

from vpr_ros.errors import ConfigError
from vpr_ros.retrieval.place_map import PlaceMap

_METRIC = faiss.METRIC_INNER_PRODUCT


class Index:
    """The descriptors of a map, ready to be searched by cosine."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def build(cls, descriptors: np.ndarray, factory: str = "Flat") -> Index:
        """descriptors: (N, D) float32, unit length. factory: FAISS index factory string.

        Raises ConfigError for a bad one.
        """
        try:
            index = faiss.index_factory(descriptors.shape[1], factory, _METRIC)
            if len(descriptors):
                index.train(descriptors)
                index.add(descriptors)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(
                f"FAISS cannot build an index '{factory}' of {len(descriptors)} places ({reason}); try Flat"
            ) from error
        return cls(index)

    @classmethod
    def of_map(cls, place_map: PlaceMap, factory: str = "Flat") -> Index:
        """The map's index from the cache beside it, or built and cached.

        A cache that cannot be written is done without.
        """
        path = cache_path(place_map.path)
        key = {
            "revision": place_map.revision,
            "places": len(place_map),
            "factory": factory,
            "model": place_map.model.fingerprint,
        }
        cached = _read(path, key)
        if cached is not None:
            return cls(cached)
        index = cls.build(place_map.places.descriptors, factory)
        _write(path, key, index._index)
        return index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, descriptor: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(D,) float32 -> cosines (K,) float32, most similar first, and their rows (K,) int64; K <= count."""
        similarities, rows = self._index.search(descriptor[None], min(count, len(self)))
        found = rows[0] >= 0  # approximate indexes pad with -1
        return similarities[0][found], rows[0][found]


def cache_path(map_path: Path) -> Path:
    """Where the index of a map is cached."""
    return map_path.with_name(map_path.name + ".faiss")


def _read(path: Path, key: dict[str, object]) -> faiss.Index | None:
    """The cached index, or None where it is missing, stale or damaged."""
    try:
        header, _, body = path.read_bytes().partition(b"\n")
        if json.loads(header) == key:
            return faiss.deserialize_index(np.frombuffer(body, np.uint8))
    except (OSError, ValueError, RuntimeError):
        pass
    return None


def _write(path: Path, key: dict[str, object], index: faiss.Index) -> None:
    """Write whole or not at all: a reader never sees half a cache."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(json.dumps(key).encode() + b"\n" + faiss.serialize_index(index).tobytes())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
