"""Training CrossLocate: a photograph, the view that fits it best and the views most like it from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from pytorch_metric_learning import distances, losses, reducers
from torch import Tensor

from vpr_lab.simulation.views import ViewDatabase
from vpr_lab.systems.crosslocate.data import Queries
from vpr_lab.systems.crosslocate.model import CrossLocate, CrossLocateConfig, build_crosslocate, check_fit, describe_all
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.geometry import wrap_angle


@dataclass(frozen=True)
class CrossLocateSettings:
    """How CrossLocate is trained; the defaults are the paper's but for the size of its country."""

    network: CrossLocateConfig = field(default_factory=CrossLocateConfig)
    steps: int = option(2000, "steps of the optimiser", low=1)
    batch: int = option(4, "photographs in a step", low=1, high=1000)
    lr: float = option(1e-5, "learning rate of Adam", low=0.0, high=1.0)
    margin: float = option(0.1, "margin between the squared distances of wrong and correct views", low=0.0, high=4.0)
    positive_max_m: float = option(20.0, "maximum distance of a correct view from the photograph", "m", low=0.0)
    positive_max_deg: float = option(
        15.0, "maximum angle between a correct view and the photograph", "deg", low=0.0, high=180.0
    )
    negative_min_m: float = option(100.0, "wrong views are farther away than this (paper: 2000)", "m", low=0.0)
    negatives: int = option(10, "hardest wrong views for each photograph", low=1, high=1000)
    pool: int = option(1000, "views, drawn anew at each refresh, among which to look for wrong ones", low=1)
    refresh: int = option(250, "photographs after which the views are described again", low=1)
    frozen_blocks: int = option(0, "number of frozen blocks of the backbone, from the image upwards", low=0)
    seed: int = option(0, "seed of the weights and of all random draws", low=0)


class Triplets(NamedTuple):
    """One photograph's row, the row of its right view, and (K,) rows of wrong ones."""

    query: int
    positive: int
    negatives: np.ndarray


def train_crosslocate(
    settings: CrossLocateSettings,
    databases: ViewDatabase | Sequence[ViewDatabase],
    queries: Queries | Sequence[Queries],
    network: CrossLocate | None = None,
    device: str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> CrossLocate:
    """Train a network on one world or several in turn, and return it, ready to evaluate.

    databases, queries: of the same worlds in the same order. network: to continue with; None starts a new one.
    on_step: (steps done, loss). Raises ConfigError if worlds or sizes do not fit each other, DriveError if no
    photograph has a right view and enough wrong ones.
    """
    torch.manual_seed(settings.seed)
    network = (network or build_crosslocate(settings.network)).to(device)
    network.eval()  # batch norm keeps the statistics it came with: photographs and views have not the same
    for block in list(network.backbone.blocks())[: settings.frozen_blocks]:
        block.requires_grad_(False)
    worlds = _worlds(databases, queries, network)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=settings.lr)
    batches = _batches(network, worlds, settings)
    for step in range(settings.steps):
        database, photographs, triplets = next(batches)
        loss = triplet_loss(*_describe(network, database, photographs, triplets), settings.margin)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if on_step:
            on_step(step + 1, float(loss.detach()))
    return network


def triplet_loss(query: Tensor, positive: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Mean over photographs of the sum over wrong views of max(d2(q, p) + margin - d2(q, n), 0).

    query, positive: (B, D); negatives: (B, K, D); unit length. d2: squared Euclidean distance.
    """
    count, wrong = negatives.shape[:2]
    embeddings = torch.cat([query, positive, negatives.flatten(0, 1)])
    anchor = torch.arange(count, device=query.device).repeat_interleave(wrong)
    triplets = anchor, anchor + count, torch.arange(count * wrong, device=query.device) + 2 * count
    loss = losses.TripletMarginLoss(margin, distance=distances.LpDistance(power=2), reducer=reducers.SumReducer())
    return loss(embeddings, indices_tuple=triplets) / count


def mine(
    network: CrossLocate,
    database: ViewDatabase,
    queries: Queries,
    rows: np.ndarray,
    settings: CrossLocateSettings,
    rng: np.random.Generator,
) -> list[Triplets]:
    """Triplets for some photographs: of the right views the most similar one, as not all see the same for walls.

    rows: (N,) of the photographs; those without a right view or with too few wrong ones in the pool are left out.
    """
    pool = np.sort(rng.permutation(len(database))[: settings.pool])
    right = {int(row): right_views(database, queries, int(row), settings) for row in rows}
    rows = np.array([row for row, views in right.items() if len(views)], int)
    if len(rows) == 0:
        return []
    needed = np.unique(np.concatenate([pool, *right.values()]))
    views = describe_all(partial(network.describe_views, database), needed).numpy()
    photographs = describe_all(partial(network.describe_queries, queries), rows).numpy()
    similarity = photographs @ views.T
    triplets = []
    for row, alike in zip(rows.tolist(), similarity, strict=True):
        far = np.linalg.norm(database.position[pool, :2] - queries.position[row, :2], axis=1) > settings.negative_min_m
        wrong, candidates = pool[far], right[row]
        if len(wrong) < settings.negatives:
            continue
        hardest = np.argsort(-alike[np.searchsorted(needed, wrong)], kind="stable")[: settings.negatives]
        best = candidates[np.argmax(alike[np.searchsorted(needed, candidates)])]
        triplets.append(Triplets(row, int(best), wrong[hardest]))
    return triplets


def right_views(database: ViewDatabase, queries: Queries, row: int, settings: CrossLocateSettings) -> np.ndarray:
    """(N,) ascending rows of the views near a photograph that look its way."""
    distance = np.linalg.norm(database.position[:, :2] - queries.position[row, :2], axis=1)
    turn = np.abs(wrap_angle(database.heading - queries.heading[row]))
    alike = turn <= np.radians(settings.positive_max_deg) + 1e-6
    return np.flatnonzero((distance <= settings.positive_max_m) & alike)


def _batches(
    network: CrossLocate, worlds: Sequence[tuple[ViewDatabase, Queries]], settings: CrossLocateSettings
) -> Iterator[tuple[ViewDatabase, Queries, list[Triplets]]]:
    """Batches without end. Worlds take turns; views are described anew for every turn's photographs."""
    rng = np.random.default_rng(settings.seed)
    waiting = [np.zeros(0, int) for _ in worlds]
    fruitless = 0
    while True:
        for number, (database, queries) in enumerate(worlds):
            if len(waiting[number]) == 0:
                waiting[number] = rng.permutation(len(queries))
            rows, waiting[number] = np.split(waiting[number], [settings.refresh])
            triplets = mine(network, database, queries, rows, settings, rng)
            for first in range(0, len(triplets), settings.batch):
                yield database, queries, triplets[first : first + settings.batch]
            fruitless = 0 if triplets else fruitless + len(rows)
            if fruitless > sum(len(queries) for _, queries in worlds):
                raise DriveError(
                    f"no photograph of {queries.world} has a view within {settings.positive_max_m:g} m and "
                    f"{settings.negatives} views beyond {settings.negative_min_m:g} m: render more views, or lower "
                    "negative_min_m"
                )


def _describe(
    network: CrossLocate, database: ViewDatabase, queries: Queries, triplets: Sequence[Triplets]
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, D), (B, D) and (B, K, D) descriptors with gradients."""
    photographs = network.describe_queries(queries, np.array([t.query for t in triplets]))
    rows = np.stack([np.concatenate([[t.positive], t.negatives]) for t in triplets])
    views = network.describe_views(database, rows.reshape(-1)).reshape(*rows.shape, -1)
    return photographs, views[:, 0], views[:, 1:]


def _worlds(
    databases: ViewDatabase | Sequence[ViewDatabase], queries: Queries | Sequence[Queries], network: CrossLocate
) -> list[tuple[ViewDatabase, Queries]]:
    databases = [databases] if isinstance(databases, ViewDatabase) else databases
    queries = [queries] if isinstance(queries, Queries) else queries
    if len(databases) != len(queries):
        raise ConfigError(f"{len(databases)} databases of views do not fit {len(queries)} sets of photographs")
    for database, part in zip(databases, queries, strict=True):
        check_fit(network, database, part)
    return list(zip(databases, queries, strict=True))
