"""Recall of a system by condition, as the papers give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from vpr_lab.systems.rankers import Ranker
from vpr_lab.training.datasets import Shard
from vpr_lab.training.validate import searches
from vpr_ros.base.errors import DriveError
from vpr_ros.evaluation.recall import TOLERANCE_M

RANKS = (1, 5, 10, 20)
DISTANCES_M = (15.0, 25.0, 50.0)


@dataclass(frozen=True)
class Scores:
    """Of one condition, over all worlds.

    queries: images with a reference image within 25 m. recall: fraction of them with a correct place among the first N.
    within: fraction whose first place lies within a distance in metres.
    """

    queries: int
    recall: dict[int, float]
    within: dict[float, float]


@dataclass(frozen=True, eq=False)
class Ranked:
    """A query drive's answers. order: (Q, N) rows of the reference; error_m: (Q, N) how far each is from the truth."""

    query: Shard
    reference: Shard
    order: np.ndarray
    error_m: np.ndarray
    findable: np.ndarray


def rank_drives(ranker: Ranker, shards: Sequence[Shard], reference_condition: str) -> tuple[list[Ranked], float]:
    """Every drive searched in the reference drive of its world; and milliseconds an image, references included.

    Raises DriveError if no world has a reference and a query.
    """
    ranked, spent = [], 0.0
    pairs = searches(shards, reference_condition)
    for query, reference in ((shards[q], shards[r]) for q, r in pairs):
        start = perf_counter()
        order, _ = ranker.rank(query, reference, max(RANKS))
        spent += perf_counter() - start
        distance = np.linalg.norm(query.position[:, None, :2] - reference.position[None, :, :2], axis=2)
        error = np.take_along_axis(distance, order, axis=1)
        ranked.append(Ranked(query, reference, order, error, distance.min(axis=1) < TOLERANCE_M))
    if not ranked:
        raise DriveError("the test drives hold no world seen twice: give a reference drive and a query drive of one")
    images = sum(len(shards[number]) for number in {number for pair in pairs for number in pair})
    return ranked, 1e3 * spent / images


def scores(ranked: Sequence[Ranked]) -> dict[str, Scores]:
    """By condition of the query."""
    found = {}
    for condition in sorted({one.query.condition for one in ranked}):
        errors = np.concatenate([one.error_m[one.findable] for one in ranked if one.query.condition == condition])
        if len(errors):
            right = errors < TOLERANCE_M
            recall = {n: float(right[:, :n].any(axis=1).mean()) for n in RANKS}
            found[condition] = Scores(len(errors), recall, {d: float((errors[:, 0] < d).mean()) for d in DISTANCES_M})
    return found
