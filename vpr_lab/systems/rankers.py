"""Rankers: the reference places of each query, best first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from vpr_lab.plugins.ensemble import nearest_indices_first, shared_indices_first
from vpr_lab.training.datasets import Shard
from vpr_ros.base.errors import ConfigError

Describe = Callable[[Shard], np.ndarray]


class Ranker(Protocol):
    """Ranks places. A drive is known by its world and name."""

    def rank(self, query: Shard, reference: Shard, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of every frame of a drive, best first: rows of the reference (Q, count), distances (Q, count)."""
        ...


class DescriptorRanker:
    """By the cosine of descriptors. A drive is described once."""

    def __init__(
        self,
        of_queries: Describe,
        of_references: Describe | None = None,
        by_condition: Mapping[str, Describe] = MappingProxyType({}),
    ) -> None:
        """Each: a drive -> (N, D) float32 of unit length.

        of_references: if these are described differently from queries; by_condition: for queries of a condition.
        """
        self._of_queries = remembered(of_queries)
        self._of_references = self._of_queries if of_references is None else remembered(of_references)
        self._by_condition = {condition: remembered(own) for condition, own in by_condition.items()}

    def rank(self, query: Shard, reference: Shard, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances are Euclidean, of descriptors of unit length."""
        references = self._by_condition.get(query.condition, self._of_references)(reference)
        cosine = self._of_queries(query) @ references.T
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        return order, np.sqrt(np.maximum(2 - 2 * np.take_along_axis(cosine, order, axis=1), 0))


class EnsembleRanker:
    """Two systems' lists merged, the better system's first; see plugins.ensemble."""

    def __init__(self, first: Ranker, second: Ranker, how: str) -> None:
        """how: "nif" by distance, "sif" what both found. Raises ConfigError for another."""
        if how not in ENSEMBLES:
            raise ConfigError(f"unknown ensemble '{how}': choose one of {', '.join(ENSEMBLES)}")
        self._systems, self._merge = (first, second), ENSEMBLES[how]

    def rank(self, query: Shard, reference: Shard, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances are those of the list that a place was taken from; of "sif", the place's rank."""
        (ids, distances), (other_ids, other_distances) = (s.rank(query, reference, count) for s in self._systems)
        merged = [self._merge(*lists) for lists in zip(ids, distances, other_ids, other_distances, strict=True)]
        return np.stack([own[:count] for own, _ in merged]), np.stack([own[:count] for _, own in merged])


def _shared_first(
    ids: np.ndarray, distances: np.ndarray, other_ids: np.ndarray, other_distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    merged = shared_indices_first(ids, other_ids)
    return merged, np.arange(len(merged), dtype=float)


ENSEMBLES = {"nif": nearest_indices_first, "sif": _shared_first}


def remembered(describe: Describe) -> Describe:
    """The same, of each drive only once."""
    known: dict[tuple[str, str], np.ndarray] = {}

    def once(shard: Shard) -> np.ndarray:
        key = shard.world, shard.name
        if key not in known:
            known[key] = describe(shard)
        return known[key]

    return once


def batches(images: np.ndarray, size: int = 32) -> Iterator[np.ndarray]:
    """(N, H, W, 3) -> parts of it, in memory."""
    for start in range(0, len(images), size):
        yield np.array(images[start : start + size])
