"""The training loop, read top to bottom: set up, then epochs of batches, each validated and saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from vpr_ros.network.demixvpr import DeMixVPR
from vpr_ros.training.checkpoint import Checkpoint
from vpr_ros.training.datasets import PlaceBatches, Shard, find_places
from vpr_ros.training.initialise import initialise_head
from vpr_ros.training.losses import PlaceLoss, depth_l1, relational_loss
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.validate import autocast, validate

OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "asgd": torch.optim.ASGD,
}


def train(
    recipe: Recipe, shards: Sequence[Shard], held_out: Sequence[Shard], folder: Path, device: str = "cpu"
) -> Path:
    """Train a network, or go on with the run in ``folder``; returns the checkpoint to use.

    shards, held_out: cached drives to train and to validate on, of different worlds. The folder gets last.pt, best.pt
    and TensorBoard events (where tensorboard is installed). A resumed run ends as if it had never stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network, teacher = start(recipe, shards, device)
    batches = place_batches(recipe, shards)
    place_loss = PlaceLoss(recipe.loss, recipe.miner)
    optimiser = build_optimiser(network, recipe)
    steps = recipe.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0, 1 - step / steps) ** recipe.poly_power)
    scores = resume(folder / "last.pt", network, optimiser, schedule)
    log = _tensorboard(folder)

    for epoch in range(len(scores), recipe.epochs):
        training_mode(network, recipe)
        batches.epoch = epoch
        sums: dict[str, float] = {}
        for batch in _progress(
            DataLoader(batches, None, num_workers=recipe.workers), f"epoch {epoch + 1}/{recipe.epochs}"
        ):
            with autocast(recipe.bf16, device):
                terms = losses(network, teacher, place_loss, recipe, {name: x.to(device) for name, x in batch.items()})
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            optimiser.step()
            schedule.step()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) / len(batches)

        recall = validate(network, held_out, recipe.reference_condition, recipe.bf16, device) if held_out else {}
        scores.append({"mean": -sums["total"], **recall, **{f"loss_{name}": value for name, value in sums.items()}})
        for name, value in scores[-1].items():
            log(name, value, epoch + 1)
        Console().print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores[-1].items()))
        state = {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "rng": torch.get_rng_state()}
        checkpoint = Checkpoint(recipe, network, epoch + 1, scores, state)
        best_epoch = int(np.argmax([score["mean"] for score in scores]))
        if best_epoch == epoch:
            checkpoint.save(folder / "best.pt")
        checkpoint.save(folder / "last.pt")
        if epoch - best_epoch >= recipe.patience:
            break
    return folder / "best.pt"


def start(recipe: Recipe, shards: Sequence[Shard], device: str) -> tuple[DeMixVPR, DeMixVPR]:
    """The network as training begins, and a copy that stays so: the relational loss's teacher."""
    torch.manual_seed(recipe.seed)
    network = DeMixVPR(recipe.network, Path(recipe.weights) if recipe.weights else None)
    if recipe.pca:
        initialise_head(network, sample_images(shards, recipe.seed))
    blocks = list(network.backbone.blocks())
    for block in blocks[: len(blocks) - recipe.trainable_blocks]:
        block.requires_grad_(False)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, copy.deepcopy(network).requires_grad_(False).eval()


def place_batches(recipe: Recipe, shards: Sequence[Shard]) -> PlaceBatches:
    """The recipe's batches over all places of the shards."""
    return PlaceBatches(
        shards,
        find_places(shards, recipe.place_spacing_m, recipe.place_radius_m),
        recipe.augmentation,
        recipe.batches_per_epoch,
        recipe.places_per_batch,
        recipe.images_per_place,
        recipe.worlds_per_batch,
        recipe.negative_min_m,
        recipe.seed,
    )


def losses(
    network: DeMixVPR, teacher: DeMixVPR, place_loss: PlaceLoss, recipe: Recipe, batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The terms of the loss for one batch, and their weighted total."""
    images = batch["images"]
    pyramid = network.backbone(images)
    log_depth = network.hallucinate(pyramid)
    descriptors = network.describe(pyramid.place, log_depth)
    terms = {"place": place_loss(descriptors, batch["labels"]), "depth": depth_l1(log_depth, batch["depth"])}
    total = terms["place"] + recipe.depth_weight * terms["depth"]
    if recipe.relational_weight > 0:
        with torch.no_grad():
            target = teacher(images)[0] if recipe.trainable_blocks else teacher.describe(pyramid.place, log_depth)
        terms["relational"] = relational_loss(descriptors, target, batch["drives"])
        total = total + recipe.relational_weight * terms["relational"]
    return {**terms, "total": total}


def build_optimiser(network: DeMixVPR, recipe: Recipe) -> torch.optim.Optimizer:
    """Three groups of parameters, each with its learning rate: the descriptor's, the backbone's, depth's."""
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [*network.rgb_projection.parameters(), *network.aggregator.parameters()]},
        {"params": backbone, "lr": recipe.lr * recipe.backbone_lr_scale},
        {
            "params": [
                p for module in (network.depth_decoder, network.depth_encoder) if module for p in module.parameters()
            ],
            "lr": recipe.lr * recipe.depth_lr_scale,
        },
    ]
    extra = {"momentum": 0.9} if recipe.optimiser == "sgd" else {}
    kind = OPTIMISERS[recipe.optimiser]
    return kind([g for g in groups if g["params"]], lr=recipe.lr, weight_decay=recipe.weight_decay, **extra)


def resume(path: Path, network: DeMixVPR, optimiser: torch.optim.Optimizer, schedule: Any) -> list[dict[str, float]]:
    """Take everything up where the checkpoint left it, if there is one; returns the scores of the epochs done."""
    if not path.is_file():
        return []
    last = Checkpoint.load(path)
    network.load_state_dict(last.network.state_dict())
    optimiser.load_state_dict(last.state["optimiser"])
    schedule.load_state_dict(last.state["schedule"])
    torch.set_rng_state(last.state["rng"])
    return last.scores


def training_mode(network: DeMixVPR, recipe: Recipe) -> None:
    """Train mode; batch norm of a backbone with starting weights keeps their statistics."""
    network.train()
    if recipe.weights:
        network.backbone.eval()


def sample_images(shards: Sequence[Shard], seed: int, count: int = 256) -> list[Tensor]:
    """Batches of 32 random images of all drives, (32, H, W, 3) uint8."""
    rows = [(shard, row) for shard in shards for row in range(len(shard))]
    chosen = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]
    images = [torch.from_numpy(shard.images[row].copy()) for shard, row in chosen]
    return [torch.stack(images[first : first + 32]) for first in range(0, len(images), 32)]


def _progress(loader: DataLoader[dict[str, Tensor]], description: str) -> Any:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        yield from progress.track(loader, total=len(loader), description=description)


def _tensorboard(folder: Path) -> Any:
    """A function (name, value, epoch) that logs, or does nothing where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda name, value, epoch: None
    return SummaryWriter(str(folder)).add_scalar
