"""Validation: recall@1 of a network on cached drives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.datasets import Shard
from vpr_ros.base.errors import DriveError
from vpr_ros.evaluation.recall import TOLERANCE_M, right_at_1

BATCH = 32


def autocast(bf16: bool, device: str) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic if asked for."""
    return torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()


@torch.no_grad()
def describe_shard(network: PlaceNetwork, shard: Shard, bf16: bool = False, device: str = "cpu") -> np.ndarray:
    """(N, D) float32 descriptors of a cached drive. Leaves the network in eval mode."""
    network.eval()
    out = []
    for start in range(0, len(shard), BATCH):
        images, depth = (
            torch.from_numpy(np.array(part[start : start + BATCH])) for part in (shard.images, shard.depth)
        )
        with autocast(bf16, device):
            output = network.analyse(network.sized(images.to(device)), depth.float().to(device))
        out.append(output.descriptors.float().cpu().numpy())
    return np.concatenate(out)


def validate(
    network: PlaceNetwork,
    shards: Sequence[Shard],
    reference_condition: str,
    bf16: bool = False,
    device: str = "cpu",
    tolerance_m: float = TOLERANCE_M,
) -> dict[str, float]:
    """Recall@1 by condition, and its mean: is a query's most similar reference frame within the tolerance?

    Every drive is searched in the reference drive of its world; a query with no reference frame within the tolerance
    is left out. Raises DriveError for a world without a reference drive.
    """
    described = [describe_shard(network, shard, bf16, device) for shard in shards]
    recall = recall_by_condition(shards, described, reference_condition, tolerance_m)
    scores = {f"recall@1_{condition}": value for condition, value in recall.items()}
    return {**scores, "mean": float(np.mean(list(scores.values()))) if scores else math.nan}


def searches(shards: Sequence[Shard], reference_condition: str) -> list[tuple[int, int]]:
    """Numbers of each query drive and of the drive it is searched in: the first of its world of the condition.

    Raises DriveError for a world without one.
    """
    found = []
    for world in sorted({shard.world for shard in shards}):
        drives = [number for number, shard in enumerate(shards) if shard.world == world]
        reference = next((n for n in drives if shards[n].condition == reference_condition), None)
        if reference is None:
            others = ", ".join(sorted({shards[n].condition for n in drives}))
            raise DriveError(
                f"no drive of {world} has the condition '{reference_condition}' that the others are searched in, but "
                f"{others}: name one with --reference, or as reference_condition in the recipe"
            )
        found += [(number, reference) for number in drives if number != reference]
    return found


def recall_by_condition(
    shards: Sequence[Shard], described: Sequence[np.ndarray], reference_condition: str, tolerance_m: float = TOLERANCE_M
) -> dict[str, float]:
    """Recall@1 of each condition, as ``validate`` explains it, from the shards' descriptors, (N, D) each."""
    right: dict[str, list[bool]] = {}
    for number, reference in searches(shards, reference_condition):
        query = shards[number]
        searched = described[reference], shards[reference].position
        found = right_at_1(described[number], query.position, *searched, tolerance_m)
        right.setdefault(query.condition, []).extend(found.tolist())
    return {condition: float(np.mean(answers)) for condition, answers in sorted(right.items()) if answers}
