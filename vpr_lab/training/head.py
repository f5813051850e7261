"""Train what comes after a frozen backbone on features computed once: several times the steps in the same time.

The backbone's features and the depth maps of every image (augmented once) are kept in memory; projection, depth
encoder, MixVPR and NetVLAD learn from them. The depth decoder stays frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vpr_lab.network.backbones import feature_shape
from vpr_lab.network.depth import known_log_depth
from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.augment import Augmentation, augment
from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.datasets import Shard
from vpr_lab.training.loop import check_begun, drives_of, place_batches, resume, training_state
from vpr_lab.training.losses import PlaceLoss, relational_loss
from vpr_lab.training.recipe import Recipe
from vpr_lab.training.validate import autocast, recall_by_condition
from vpr_ros.base.errors import ConfigError

_BATCH = 64
_FROZEN = ("backbone", "decoder_backbone", "depth_decoder")  # parts of a network; not every one has all
_SAMPLES = 400  # images the head is started from


@dataclass(frozen=True, eq=False)
class Features:
    """Of all images of some shards, one after another.

    place: (N, C, h, w) float16 at stride 16. log_depth, true_log_depth: (N, 1, H/4, W/4) float16, as the decoder
    hallucinates it and as it is (1, far away, if unknown). starts: row of each shard's first image.
    """

    shards: Sequence[Shard]
    place: Tensor
    log_depth: Tensor
    true_log_depth: Tensor
    starts: np.ndarray

    def at(self, rows: Tensor, true_depth: bool = False) -> tuple[Tensor, Tensor]:
        """What ``describe`` takes, for some rows."""
        return self.place[rows].float(), (self.true_log_depth if true_depth else self.log_depth)[rows].float()


@torch.no_grad()
def compute_features(
    network: PlaceNetwork, shards: Sequence[Shard], augmentation: Augmentation | None, bf16: bool, seed: int = 0
) -> Features:
    """Run backbone and depth decoder over every image, each augmented once if asked.

    Needs memory: 0.2 MB an image for MobileNetV1.
    """
    network.eval()
    config, counts, rng = network.config, [len(shard) for shard in shards], np.random.default_rng(seed)
    depth_shape = (sum(counts), 1, config.height // 4, config.width // 4)
    place = torch.empty((sum(counts), *feature_shape(network.backbone, config.height, config.width))).half()
    log_depth, true_log_depth = torch.empty(depth_shape).half(), torch.empty(depth_shape).half()
    row = 0
    jobs = [(shard, start) for shard in shards for start in range(0, len(shard), _BATCH)]
    for shard, start in track(jobs, "features", console=Console(stderr=True)):
        images, depth_m = _prepared(shard, start, augmentation, rng)
        with autocast(bf16, "cpu"):
            features, hallucinated = network.observe(network.sized(images))
        rows = slice(row, row + len(images))
        place[rows], log_depth[rows] = features.half(), hallucinated.half()
        true_log_depth[rows] = known_log_depth(depth_m).half()
        row += len(images)
    return Features(shards, place, log_depth, true_log_depth, np.cumsum([0, *counts[:-1]]))


def _prepared(
    shard: Shard, start: int, augmentation: Augmentation | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch of images (B, H, W, 3) uint8 and depths (B, H/4, W/4) float32 metres."""
    pairs = [(shard.images[row], shard.depth[row]) for row in range(start, min(start + _BATCH, len(shard)))]
    if augmentation is not None:
        pairs = [augment(image, depth, augmentation, rng) for image, depth in pairs]
    images, depths = zip(*pairs, strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(depths).astype(np.float32))


def train_head(
    recipe: Recipe, checkpoint: Checkpoint, shards: Sequence[Shard], held_out: Sequence[Shard], path: Path
) -> Checkpoint:
    """Train a new head on a checkpoint's backbone and depth decoder, as the recipe says; ``path`` gets the result.

    The recipe's network may differ from the checkpoint's in its head. An interrupted run is resumed from its partial
    file, and one that is done is returned. Raises ConfigError for a checkpoint without hallucinated depth, and if what
    is there was begun with another recipe, checkpoint or drives.
    """
    source = checkpoint.network
    if not source.hallucinates:
        raise ConfigError(
            "a head is trained on frozen features and hallucinated depth: the checkpoint's network, of kind "
            f"'{source.config.kind}', gives no depth"
        )
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    done = check_begun(path, recipe, shards, held_out)
    for file, begun in ((path, done), (partial, check_begun(partial, recipe, shards, held_out))):
        if begun is not None:
            _check_source(file, begun.network, source)
    if done is not None:
        if "drives" not in done.state:  # of an earlier version
            raise ConfigError(f"{path} does not say which drives it learnt from: give another output")
        Console(stderr=True).print(f"{path} is trained already")
        partial.unlink(missing_ok=True)
        return done
    features = compute_features(source, shards, recipe.augmentation, recipe.bf16, recipe.seed)
    kept_aside = compute_features(source, held_out, None, recipe.bf16) if held_out else None
    network, scores = fit_head(recipe, source, features, kept_aside, partial=partial)
    state = {"drives": drives_of(shards, held_out)}
    done = Checkpoint(recipe, network, checkpoint.epoch + recipe.epochs, [*checkpoint.scores, *scores], state)
    done.save(path)
    partial.unlink(missing_ok=True)
    return done


def _check_source(path: Path, begun: PlaceNetwork, source: PlaceNetwork) -> None:
    """Raises ConfigError if the frozen parts of a file's network are not the source's, which compute the features."""
    for name in _FROZEN:
        own, theirs = (_weights(network, name) for network in (begun, source))
        if own.keys() != theirs.keys() or any(not torch.equal(own[key], theirs[key]) for key in own):
            raise ConfigError(
                f"{path} was begun with another checkpoint ({name.replace('_', ' ')}): give that one, or another output"
            )


def _weights(network: PlaceNetwork, part: str) -> dict[str, Tensor]:
    found = getattr(network, part, None)
    return {} if found is None else found.state_dict()


def fit_head(
    recipe: Recipe,
    source: PlaceNetwork,
    features: Features,
    kept_aside: Features | None,
    true_depth: bool = False,
    partial: Path | None = None,
) -> tuple[PlaceNetwork, list[dict[str, float]]]:
    """The network with a trained head, in eval mode, and each epoch's loss and validation.

    source: where backbone and depth decoder come from; features were computed with it. true_depth: show the head true
    depth, which no robot has: the upper bound for hallucinated depth. partial: checkpoint that is written after
    every epoch and resumed from if it exists: the run then ends as if it had never stopped. Raises ConfigError
    for one of another recipe.
    """
    network, some = _start(recipe, source, features, true_depth)
    teacher = copy.deepcopy(network)
    drawn, place_loss = place_batches(recipe, features.shards), PlaceLoss(recipe.loss, recipe.miner)
    learning = [parameter for module in network.head_parts() for parameter in module.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * recipe.batches_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 - step / steps) ** recipe.poly_power)
    console = Console(stderr=True)
    scores = [] if partial is None else resume(partial, recipe, network, place_loss, optimiser, schedule)
    learnt_from = drives_of(features.shards, [] if kept_aside is None else kept_aside.shards)
    for epoch in range(len(scores), recipe.epochs):
        for module in network.head_parts():
            module.train()
        drawn.epoch = epoch
        total = 0.0
        for number in track(range(recipe.batches_per_epoch), f"epoch {epoch + 1}/{recipe.epochs}", console=console):
            members, labels = drawn.draw(number)
            rows = torch.tensor([int(features.starts[shard]) + row for shard, row in members])
            inputs = features.at(rows, true_depth)
            with autocast(recipe.bf16, "cpu"):
                descriptors = network.compared(*inputs).float()
            loss = place_loss(descriptors, torch.tensor(labels))
            if recipe.relational_weight > 0:
                with torch.no_grad(), autocast(recipe.bf16, "cpu"):
                    target = teacher.compared(*inputs).float()
                drives = torch.tensor([shard for shard, _ in members])
                loss = loss + recipe.relational_weight * relational_loss(descriptors, target, drives)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) / recipe.batches_per_epoch
        recall = (
            {} if kept_aside is None else validate_head(network, kept_aside, recipe.reference_condition, true_depth)
        )
        network.refresh(*features.at(some, true_depth))
        scores.append({"loss": total, **recall})
        console.print(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in scores[-1].items()))
        if partial is not None:
            state = {**training_state(place_loss, optimiser, schedule), "drives": learnt_from}
            Checkpoint(recipe, network, epoch + 1, scores, state).save(partial)
    return network.eval(), scores


def _start(recipe: Recipe, source: PlaceNetwork, features: Features, true_depth: bool) -> tuple[PlaceNetwork, Tensor]:
    """A network with the source's backbone and decoder and a head started from some features; the rows of those."""
    torch.manual_seed(recipe.seed)
    network = recipe.build(with_weights=False).eval()
    for name in _FROZEN:
        part = getattr(source, name, None)
        if part is not None:
            getattr(network, name).load_state_dict(part.state_dict())
    some = torch.randperm(len(features.place))[:_SAMPLES].sort().values
    network.initialise_head(*features.at(some, true_depth))
    return network, some


@torch.no_grad()
def validate_head(
    network: PlaceNetwork, features: Features, reference_condition: str, true_depth: bool = False
) -> dict[str, float]:
    """Recall@1 by condition against the reference condition's drive of each world."""
    network.eval()
    described = []
    for shard, start in zip(features.shards, features.starts.tolist(), strict=True):
        rows = torch.arange(start, start + len(shard)).split(_BATCH)
        described.append(torch.cat([network.describe(*features.at(part, true_depth)) for part in rows]).float().numpy())
    return recall_by_condition(features.shards, described, reference_condition)
