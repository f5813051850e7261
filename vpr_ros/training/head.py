"""Train what comes after a frozen backbone on features computed once: several times the steps in the same time.

The backbone's features and the depth maps of every image (augmented once) are kept in memory; the depth encoder and
MixVPR learn from them. The depth decoder stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vpr_ros.network.demixvpr import DeMixVPR, normalise_positions
from vpr_ros.training.augment import augment
from vpr_ros.training.checkpoint import Checkpoint
from vpr_ros.training.datasets import Shard
from vpr_ros.training.loop import place_batches
from vpr_ros.training.losses import PlaceLoss, grid_descriptor, relational_loss
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.validate import autocast, recall_by_condition

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Features:
    """Of all images of some shards, one after another.

    rgb: (N, C, h, w) float16 at stride 16. log_depth: (N, 1, H/4, W/4) float16. starts: row of each shard's first
    image.
    """

    rgb: Tensor
    log_depth: Tensor
    starts: np.ndarray

    def descriptors(self, network: DeMixVPR, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (B, D) of some rows, and the backbone's features (B, C, h, w) they were made from."""
        rgb = self.rgb[rows].float()
        depth = network.depth_encoder(self.log_depth[rows].float())
        joined = torch.cat((normalise_positions(rgb), normalise_positions(depth)), dim=1)
        return network.aggregator(joined), rgb


@torch.no_grad()
def compute_features(network: DeMixVPR, shards: Sequence[Shard], recipe: Recipe | None, bf16: bool) -> Features:
    """Run backbone and depth decoder over every image; with a recipe, each is augmented first."""
    network.eval()
    counts = [len(shard) for shard in shards]
    rng = np.random.default_rng(recipe.seed if recipe else 0)
    rgb: Tensor | None = None
    log_depth: Tensor | None = None
    row = 0
    jobs = [(shard, start) for shard in shards for start in range(0, len(shard), _BATCH)]
    for shard, start in track(jobs, "features", console=Console(stderr=True)):
        images = _prepared(shard, start, recipe, rng)
        with autocast(bf16, "cpu"):
            stride4, stride8, stride16 = network.backbone(images)
            depth = network.depth_decoder(stride4, stride8, stride16)
        if rgb is None or log_depth is None:
            rgb = torch.empty((sum(counts), *stride16.shape[1:]), dtype=torch.float16)
            log_depth = torch.empty((sum(counts), *depth.shape[1:]), dtype=torch.float16)
        rgb[row : row + len(images)], log_depth[row : row + len(images)] = stride16.half(), depth.half()
        row += len(images)
    assert rgb is not None and log_depth is not None
    return Features(rgb, log_depth, np.cumsum([0, *counts[:-1]]))


def _prepared(shard: Shard, start: int, recipe: Recipe | None, rng: np.random.Generator) -> Tensor:
    """A batch of images, (B, H, W, 3) uint8, augmented where there is a recipe."""
    images = []
    for row in range(start, min(start + _BATCH, len(shard))):
        image = shard.images[row]
        if recipe is not None:
            image, _ = augment(image, shard.depth[row], recipe.augmentation, rng)
        images.append(image)
    return torch.from_numpy(np.stack(images))


def train_head(
    recipe: Recipe, checkpoint: Checkpoint, shards: Sequence[Shard], held_out: Sequence[Shard], path: Path
) -> Checkpoint:
    """Go on from a checkpoint with the recipe's losses and schedule; ``path`` gets the result.

    Needs memory for the features: 0.2 MB an image for MobileNetV1.
    """
    torch.manual_seed(recipe.seed)
    network = checkpoint.network
    features = compute_features(network, shards, recipe, recipe.bf16)
    kept_aside = compute_features(network, held_out, None, recipe.bf16) if held_out else None
    drawn = place_batches(recipe, shards)
    place_loss = PlaceLoss(recipe.loss, recipe.miner)
    learning = [*network.depth_encoder.parameters(), *network.aggregator.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * recipe.batches_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 - step / steps) ** recipe.poly_power)
    console = Console(stderr=True)
    scores: list[dict[str, float]] = []
    for epoch in range(recipe.epochs):
        network.eval()  # the depth encoder's batch statistics stay those of real decoding
        drawn.epoch = epoch
        total = 0.0
        for number in track(range(recipe.batches_per_epoch), f"epoch {epoch + 1}/{recipe.epochs}", console=console):
            members, labels = drawn.draw(number)
            drives = torch.tensor([shard for shard, _ in members])
            rows = torch.tensor([int(features.starts[shard]) + row for shard, row in members])
            with autocast(recipe.bf16, "cpu"):
                descriptors, rgb = features.descriptors(network, rows)
            loss = place_loss(descriptors, torch.tensor(labels))
            if recipe.relational_weight > 0:
                loss = loss + recipe.relational_weight * relational_loss(descriptors, grid_descriptor(rgb), drives)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) / recipe.batches_per_epoch
        recall = {} if kept_aside is None else _validate(network, kept_aside, held_out, recipe)
        scores.append({"loss": total, **recall})
        console.print(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in scores[-1].items()))
    done = Checkpoint(recipe, network, checkpoint.epoch + recipe.epochs, [*checkpoint.scores, *scores], {})
    done.save(path)
    return done


@torch.no_grad()
def _validate(network: DeMixVPR, features: Features, shards: Sequence[Shard], recipe: Recipe) -> dict[str, float]:
    """Recall@1 by condition against the reference condition's drive of each world."""
    described = []
    for shard, start in zip(shards, features.starts.tolist(), strict=True):
        rows = torch.arange(start, start + len(shard)).split(_BATCH)
        described.append(torch.cat([features.descriptors(network, part)[0] for part in rows]).float().numpy())
    return recall_by_condition(shards, described, recipe.reference_condition)
