"""Places as classes, as in CosPlace (Berton et al. 2022): cells of the map, headings, and a margin loss for each group.

A class is what is seen from one cell in one direction. Neighbouring classes look alike and must not be separated, so
training takes turns over groups whose classes are all far from each other, and every group has a classifier of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor, nn
from torch.utils.data import Dataset

from vpr_lab.training.augment import Augmentation
from vpr_lab.training.datasets import Shard, read_batch
from vpr_ros.base.errors import ConfigError, DriveError


@dataclass(frozen=True, eq=False)
class PlaceClass:
    """Frames of one world taken in one cell looking one way.

    cell: column, row and heading bin, from the map's east and north and from counter-clockwise heading. members:
    (shard, row) pairs.
    """

    world: str
    cell: tuple[int, int, int]
    members: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Group:
    """Classes no two of which are neighbours. remainders: of their cells, what makes them a group."""

    remainders: tuple[int, int, int]
    classes: tuple[PlaceClass, ...]


def find_groups(
    shards: Sequence[Shard],
    cell_m: float = 10.0,
    heading_deg: float = 30.0,
    apart_cells: int = 5,
    apart_headings: int = 2,
    min_images: int = 10,
) -> list[Group]:
    """Classes of at least min_images frames, in groups; the group with the most frames first.

    Two classes share a group if their columns and rows differ by multiples of apart_cells and their heading bins by
    one of apart_headings, as in CosPlace, which trains the first 8 of its 50. Every world is cut into cells by its own
    map's metres, in place of UTM's. A group of one class, which leaves nothing to learn, is left out. Raises DriveError
    if no group is left, ConfigError if the turn cannot be cut into such bins.
    """
    bins = round(360 / heading_deg)
    if not math.isclose(bins * heading_deg, 360) or bins % apart_headings:
        raise ConfigError(
            f"heading_deg {heading_deg:g} and apart_headings {apart_headings} do not fit: "
            "heading_deg times apart_headings must divide 360 degrees"
        )
    found: dict[tuple[str, tuple[int, int, int]], list[tuple[int, int]]] = {}
    for number, shard in enumerate(shards):
        cells = np.floor(shard.position[:, :2] / cell_m).astype(int)
        headings = np.floor(np.degrees(shard.heading) / heading_deg).astype(int) % bins
        for row, (column, line, heading) in enumerate(np.column_stack((cells, headings)).tolist()):
            found.setdefault((shard.world, (column, line, heading)), []).append((number, row))
    apart = (apart_cells, apart_cells, apart_headings)
    groups: dict[tuple[int, int, int], list[PlaceClass]] = {}
    for (world, cell), members in sorted(found.items()):
        if len(members) >= min_images:
            u, v, w = (index % step for index, step in zip(cell, apart, strict=True))
            groups.setdefault((u, v, w), []).append(PlaceClass(world, cell, tuple(members)))
    kept = [Group(remainders, tuple(classes)) for remainders, classes in groups.items() if len(classes) > 1]
    if not kept:
        most = max((len(members) for members in found.values()), default=0)
        raise DriveError(
            f"no two classes with {min_images} images each share a group, the fullest cell of {cell_m:g} m and "
            f"{heading_deg:g} degrees has {most}: give more drives, or a smaller min_images or larger cell_m"
        )
    return sorted(kept, key=lambda group: (-sum(len(c.members) for c in group.classes), group.remainders))


class ClassBatches(Dataset[dict[str, Tensor]]):
    """Batch number i of an epoch: one image each of random classes of the epoch's group.

    Drawn from (seed, epoch, i) alone, so that a run resumes exactly. The groups take turns, one an epoch.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        groups: Sequence[Group],
        augmentation: Augmentation,
        batches: int,
        images_per_batch: int = 32,
        seed: int = 0,
    ) -> None:
        self.shards, self.groups, self.augmentation = shards, groups, augmentation
        self.batches, self.images_per_batch, self.seed = batches, images_per_batch, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    @property
    def group(self) -> int:
        """The number of the group whose turn it is."""
        return self.epoch % len(self.groups)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """See read_batch; besides it labels (B,), classes of the group, and group (), its number."""
        members, labels = self.draw(number)
        rng = np.random.default_rng((self.seed, self.epoch, number, 1))
        batch = read_batch(self.shards, members, self.augmentation, rng)
        return {**batch, "labels": torch.tensor(labels), "group": torch.tensor(self.group)}

    def draw(self, number: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Which frames, (shard, row), batch number holds, and the class of each; no class twice before all are in."""
        rng = np.random.default_rng((self.seed, self.epoch, number))
        classes = self.groups[self.group].classes
        rounds = -(-self.images_per_batch // len(classes))
        labels = np.concatenate([rng.permutation(len(classes)) for _ in range(rounds)])[: self.images_per_batch]
        members = [classes[label].members[rng.integers(len(classes[label].members))] for label in labels]
        return members, labels.tolist()


class SphereFaceLoss(losses.SphereFaceLoss):
    """SphereFace for any margin: the angle to the true class counts m times over (Liu et al. 2017, equation 7).

    The library's own truncates the margin to a whole number, which makes 1.5 the plain softmax.
    """

    def init_margin(self) -> None:
        """Keep the margin as a number."""

    def cast_types(self, dtype: torch.dtype, device: torch.device) -> None:
        self.W.data = self.W.data.to(device=device, dtype=dtype)

    def modify_cosine_of_target_classes(self, cosine: Tensor) -> Tensor:
        """(B,) cos(theta) -> (-1)^k cos(m theta) - 2k with k = floor(m theta / pi), which falls all the way to pi."""
        angle = self.margin * torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        k = (angle / math.pi).detach().floor()
        return (1 - 2 * (k % 2)) * torch.cos(angle) - 2 * k


# The constants of CosPlace-Extended. The library wants ArcFace's margin in degrees.
MARGIN_LOSSES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "cosface": (losses.CosFaceLoss, {"scale": 30, "margin": 0.40}),
    "arcface": (losses.ArcFaceLoss, {"scale": 64, "margin": math.degrees(0.5)}),
    "sphereface": (SphereFaceLoss, {"scale": 30, "margin": 1.5}),
}


class ClassLoss(nn.Module):
    """A margin loss on the cosines between descriptors and learned class centres; one classifier for every group.

    classes: how many every group has. ``classifiers[group]`` holds that group's parameters, for an optimiser of its
    own. They start as CosPlace's do (Xavier), which its learning rate of 0.01 fits.
    """

    def __init__(self, loss: str, dimension: int, classes: Sequence[int]) -> None:
        super().__init__()
        if loss not in MARGIN_LOSSES:
            raise ConfigError(f"unknown loss {loss!r}: choose one of {', '.join(MARGIN_LOSSES)}")
        kind, constants = MARGIN_LOSSES[loss]
        start = TorchInitWrapper(nn.init.xavier_uniform_)
        self.classifiers = nn.ModuleList(
            kind(count, dimension, weight_init_func=start, **constants) for count in classes
        )

    def forward(self, descriptors: Tensor, labels: Tensor, group: int | Tensor) -> Tensor:
        """(B, D) descriptors, (B,) classes in the group, the group's number -> scalar."""
        with torch.autocast(descriptors.device.type, enabled=False):
            return self.classifiers[int(group)](descriptors.float(), labels)
