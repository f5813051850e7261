"""The training loop, read top to bottom: set up, then epochs of batches, each validated and saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.adapt import AdaptedBatches, Batches
from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.classes import ClassBatches, Group, find_groups
from vpr_lab.training.datasets import ImageBatches, PlaceBatches, Shard, find_places
from vpr_lab.training.objective import Objective
from vpr_lab.training.recipe import Recipe
from vpr_lab.training.validate import autocast, validate
from vpr_ros.base.config import difference, to_dict
from vpr_ros.base.errors import ConfigError, DriveError

_DRAWS_TRIED = 10  # of batches, before it is said that none has two places

OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "asgd": torch.optim.ASGD,
}


def train(
    recipe: Recipe,
    shards: Sequence[Shard],
    held_out: Sequence[Shard],
    folder: Path,
    device: str = "cpu",
    prepare: Callable[[PlaceNetwork], None] | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train a network, or resume the run in ``folder``; returns the checkpoint to use.

    shards, held_out: cached drives to train and to validate on, of different worlds. The folder gets last.pt, best.pt
    and TensorBoard events (if tensorboard is installed). A resumed run ends as if it had never stopped. prepare:
    changes the network before it learns, such as loading parts trained before. stop_after: return after so many of the
    recipe's epochs; a later call resumes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_begun(folder / "last.pt", recipe, shards, held_out)
    drives = drives_of(shards, held_out)
    learnt = _teaching(shards, recipe)
    held_out = [shard for shard in held_out if _validates(shard, recipe)]
    network = start(recipe, learnt, device, prepare)
    if network.hallucinates and recipe.depth_weight > 0 and not any(shard.has_depth for shard in learnt):
        raise DriveError("no training drive has depth: cache drives with depth, or set depth_weight=0")
    groups = class_groups(recipe, learnt)
    batches = build_batches(recipe, learnt, shards, groups)
    objective = Objective(recipe, network, groups).to(device)
    optimiser = build_optimiser(network, objective, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, falling(recipe))
    scores = resume(folder / "last.pt", recipe, network, objective, optimiser, schedule)
    log = _tensorboard(folder)

    for epoch in range(len(scores), min(recipe.epochs, stop_after or recipe.epochs)):
        if scores and epoch - 1 - _best(scores) >= recipe.patience:
            break
        training_mode(network, recipe)
        batches.epoch = epoch
        sums: dict[str, float] = {}
        for batch in _progress(
            DataLoader(cast(Dataset, batches), None, num_workers=min(recipe.workers, len(os.sched_getaffinity(0)))),
            f"epoch {epoch + 1}/{recipe.epochs}",
        ):
            with autocast(recipe.bf16, device):
                terms = objective(network, {name: x.to(device) for name, x in batch.items()})
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            optimiser.step()
            schedule.step()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) / len(batches)

        recall = validate(network, held_out, recipe.reference_condition, recipe.bf16, device) if held_out else {}
        if recipe.objective == "none":
            recall.pop("mean", None)  # nothing about places was learnt: the least loss is best
        scores.append({"mean": -sums["total"], **recall, **{f"loss_{name}": value for name, value in sums.items()}})
        for name, value in scores[-1].items():
            log(name, value, epoch + 1)
        Console().print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores[-1].items()))
        state = {**training_state(objective, optimiser, schedule), "drives": drives}
        checkpoint = Checkpoint(recipe, network, epoch + 1, scores, state)
        if _best(scores) == epoch:
            checkpoint.save(folder / "best.pt")
        checkpoint.save(folder / "last.pt")
    return folder / "best.pt"


def check_begun(path: Path, recipe: Recipe, shards: Sequence[Shard], held_out: Sequence[Shard]) -> Checkpoint | None:
    """A run's last checkpoint, if any. Raises ConfigError if it is of another recipe, or of other drives."""
    if not path.is_file():
        return None
    last = _of_recipe(path, recipe)
    was, now = last.state.get("drives"), drives_of(shards, held_out)
    for kind, names in now.items():
        if was is not None and not any("(" in name for name in was[kind]):  # begun by an earlier version
            names = [name.partition(" (")[0] for name in names]
        if was is not None and was[kind] != names:
            then, given = (", ".join(drives) or "none" for drives in (was[kind], names))
            raise ConfigError(
                f"{path} was begun with other drives {kind}, {then}, not {given}: give the same cache and --held-out, "
                "or another folder"
            )
    return last


def _of_recipe(path: Path, recipe: Recipe) -> Checkpoint:
    """A checkpoint. Raises ConfigError if it is of another recipe."""
    last = Checkpoint.load(path)
    if last.recipe != recipe:
        what = difference(to_dict(last.recipe), to_dict(recipe))
        raise ConfigError(f"{path} belongs to another recipe ({what}): give that one, or another folder")
    return last


def drives_of(shards: Sequence[Shard], held_out: Sequence[Shard]) -> dict[str, list[str]]:
    """Names of what a run learns from and is validated on, with a sum of their images and poses."""
    kinds = {"to learn from": shards, "held out": held_out}
    return {kind: sorted(f"{one.world}/{one.name} ({one.checksum})" for one in given) for kind, given in kinds.items()}


def _teaching(shards: Sequence[Shard], recipe: Recipe) -> list[Shard]:
    """The drives that a recipe trains on. Raises DriveError if none has a condition that it names."""
    learnt = [shard for shard in shards if not recipe.conditions or shard.condition in recipe.conditions]
    if not learnt and recipe.conditions:
        found = ", ".join(sorted({shard.condition for shard in shards}))
        raise DriveError(f"no drive has a condition of the recipe, {', '.join(recipe.conditions)}: they have {found}")
    return learnt


def _validates(shard: Shard, recipe: Recipe) -> bool:
    """Whether the best epoch is chosen by this drive, or by others searched in it."""
    chosen = {*recipe.validation_conditions, recipe.reference_condition}
    wanted = not recipe.validation_conditions or shard.condition in chosen
    return wanted and shard.condition not in recipe.target_conditions


def _best(scores: Sequence[dict[str, float]]) -> int:
    """The epoch with the best mean; one whose weights went astray has none."""
    means = [score["mean"] for score in scores]
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))


def start(
    recipe: Recipe, shards: Sequence[Shard], device: str, prepare: Callable[[PlaceNetwork], None] | None = None
) -> PlaceNetwork:
    """The network as training begins. Raises ConfigError if the recipe names a part to train that it lacks."""
    torch.manual_seed(recipe.seed)
    network = recipe.build()
    if prepare is not None:
        prepare(network)  # what the heads start from is then what the trained parts say
    if recipe.initialise_head:
        network.initialise(*sample_images(shards, recipe.seed, network.starting_images))
    if prepare is not None:
        prepare(network)
    blocks = list(network.backbone.blocks())
    for block in blocks[: max(0, len(blocks) - recipe.trainable_blocks)]:
        block.requires_grad_(False)
    if recipe.train_only:
        known = [name for name, _ in network.named_children()]
        if not set(recipe.train_only) <= set(known):
            raise ConfigError(f"train_only names {', '.join(recipe.train_only)}; the network has {', '.join(known)}")
        for name, part in network.named_children():
            part.requires_grad_(name in recipe.train_only)
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def place_batches(recipe: Recipe, shards: Sequence[Shard]) -> PlaceBatches:
    """The recipe's batches over all places of the shards.

    Raises DriveError if two drives never see one place, or batches have no two places to tell apart.
    """
    places = find_places(shards, recipe.place_spacing_m, recipe.place_radius_m)
    if not places:
        of = f" of the recipe's conditions ({', '.join(recipe.conditions)})" if recipe.conditions else ""
        raise DriveError(f"no place is seen by two drives{of}: training needs drives of the same streets")
    batches = PlaceBatches(
        shards,
        places,
        recipe.augmentation,
        recipe.batches_per_epoch,
        recipe.places_per_batch,
        recipe.images_per_place,
        recipe.worlds_per_batch,
        recipe.negative_min_m,
        recipe.seed,
    )
    if all(len(set(batches.draw(number)[1])) < 2 for number in range(min(len(batches), _DRAWS_TRIED))):
        raise DriveError(
            f"no two of the {len(places)} place(s) are {recipe.negative_min_m:g} m apart in a batch, so there is "
            "nothing to tell apart: cache longer drives, or set negative_min_m or places_per_batch"
        )
    return batches


def class_groups(recipe: Recipe, shards: Sequence[Shard]) -> list[Group]:
    """CosPlace's groups of classes, for a recipe that learns them."""
    if recipe.objective != "classes":
        return []
    own = recipe.classes
    wanted = own.cell_m, own.heading_deg, own.apart_cells, own.apart_headings, own.min_images
    return find_groups(shards, *wanted)[: own.groups]


def build_batches(recipe: Recipe, learnt: Sequence[Shard], shards: Sequence[Shard], groups: Sequence[Group]) -> Batches:
    """An epoch's batches: places, classes or any images of the training drives, adapted if asked for."""
    size = recipe.batches_per_epoch, recipe.places_per_batch * recipe.images_per_place
    if recipe.objective == "classes":
        batches: Batches = ClassBatches(learnt, groups, recipe.augmentation, *size, recipe.seed)
    elif recipe.objective == "none":
        batches = ImageBatches(learnt, recipe.augmentation, *size, recipe.seed, recipe.most_images)
    else:
        batches = place_batches(recipe, learnt)
    if not recipe.target_conditions:
        return batches
    targets = [shard for shard in shards if shard.condition in recipe.target_conditions]
    return AdaptedBatches(batches, targets, recipe.adaptation, recipe.augmentation, recipe.seed)


def build_optimiser(network: PlaceNetwork, objective: Objective, recipe: Recipe) -> torch.optim.Optimizer:
    """Groups of parameters, each with its learning rate: descriptor's, backbone's, depth's, class centres'."""
    own = network.parameter_groups()
    groups: list[dict[str, Any]] = [
        {"params": own["descriptor"]},
        {"params": own["backbone"], "lr": recipe.lr * recipe.backbone_lr_scale},
        {"params": own["depth"], "lr": recipe.lr * recipe.depth_lr_scale},
        {"params": [] if objective.domain is None else list(objective.domain.parameters())},
        {"params": [] if objective.classes is None else list(objective.classes.parameters()), "lr": recipe.classes.lr},
    ]
    extra = {"momentum": 0.9} if recipe.optimiser == "sgd" else {}
    kind = OPTIMISERS[recipe.optimiser]
    return kind([g for g in groups if g["params"]], lr=recipe.lr, weight_decay=recipe.weight_decay, **extra)


def falling(recipe: Recipe) -> Callable[[int], float]:
    """The learning rate as a fraction of its start, by step."""
    steps = recipe.epochs * recipe.batches_per_epoch
    if recipe.decay == "cosine":
        return lambda step: float(0.5 + 0.5 * np.cos(np.pi * min(1.0, step / steps)))
    if recipe.decay == "constant":
        return lambda step: 1.0
    return lambda step: float(max(0.0, 1 - step / steps) ** recipe.poly_power)


def training_state(objective: torch.nn.Module, optimiser: torch.optim.Optimizer, schedule: Any) -> dict[str, Any]:
    """The state that ``resume`` restores, apart from the network."""
    return {
        "objective": objective.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "rng": torch.get_rng_state(),
    }


def resume(
    path: Path,
    recipe: Recipe,
    network: PlaceNetwork,
    objective: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: Any,
) -> list[dict[str, float]]:
    """Resume from the checkpoint, if there is one; returns the scores of the epochs done.

    Raises ConfigError for a checkpoint of another recipe.
    """
    if not path.is_file():
        return []
    last = _of_recipe(path, recipe)
    network.load_state_dict(last.network.state_dict())
    objective.load_state_dict(last.state["objective"])
    optimiser.load_state_dict(last.state["optimiser"])
    schedule.load_state_dict(last.state["schedule"])
    torch.set_rng_state(last.state["rng"])
    return last.scores


def training_mode(network: PlaceNetwork, recipe: Recipe) -> None:
    """Train mode; batch norm of a backbone with starting weights keeps their statistics, as that of frozen parts."""
    network.train()
    if recipe.weights:
        network.backbone.eval()
    for name, part in network.named_children():
        if recipe.train_only and name not in recipe.train_only:
            part.eval()


def sample_images(shards: Sequence[Shard], seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Random images of all drives, (count, H, W, 3) uint8, and their depths, (count, h, w) float32 metres."""
    rows = [(shard, row) for shard in shards for row in range(len(shard))]
    chosen = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]
    images = torch.from_numpy(np.stack([shard.images[row] for shard, row in chosen]))
    depths = torch.from_numpy(np.stack([shard.depth[row] for shard, row in chosen]).astype(np.float32))
    return images, depths


def _progress(loader: DataLoader[dict[str, Tensor]], description: str) -> Any:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        yield from progress.track(loader, total=len(loader), description=description)


def _tensorboard(folder: Path) -> Any:
    """A function (name, value, epoch) that logs, or does nothing if tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda name, value, epoch: None
    return SummaryWriter(str(folder)).add_scalar
