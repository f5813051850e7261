"""A trained network whose queries are described at several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vpr_lab.network.place_network import resized
from vpr_lab.plugins.multiscale import SCALES, describe_at_scales, rescale
from vpr_lab.systems.rankers import DescriptorRanker, batches
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.train import describer
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench
from vpr_lab.training.datasets import Shard
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError


@dataclass(frozen=True)
class MultiScaleSettings:
    """See plugins.multiscale."""

    scales: tuple[float, ...] = option(SCALES, "of the query")
    pool: str = option("avg", "pooling of the descriptors", choices=("avg", "sum", "max", "min"))
    fixed_size: bool = option(False, "for heads of one size, MixVPR's: zoom and blur instead of resizing")


def multiscale(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """The one ingredient, its queries at several scales."""
    settings = from_dict(MultiScaleSettings, recipe.settings, "settings")
    if len(recipe.ingredients) != 1:
        raise ConfigError(f"several scales need one recipe, not {len(recipe.ingredients)}: name one ingredient")
    base = bench.make(recipe.ingredients[0])
    network = None if base.network is None else base.network.to(bench.device)
    if network is None:
        raise ConfigError(f"{recipe.ingredients[0]} is not a single network: it cannot run at several scales")

    @torch.inference_mode()
    def describe(images: np.ndarray) -> np.ndarray:
        return network.eval()(torch.from_numpy(images).to(bench.device))[0].float().cpu().numpy()

    def resize(images: np.ndarray, scale: float) -> np.ndarray:
        """Times the network's size, out of all that the cache holds of them."""
        own = network.config
        if settings.fixed_size:
            return rescale(network.sized(torch.from_numpy(images)).numpy(), scale, fixed_size=True)
        return resized(torch.from_numpy(images), _px(own.height, scale), _px(own.width, scale)).numpy()

    def at_scales(shard: Shard) -> np.ndarray:
        wanted = settings.scales, settings.pool, resize
        return np.concatenate([describe_at_scales(describe, part, *wanted) for part in batches(shard.images)])

    return TrainedSystem(DescriptorRanker(at_scales, describer(network, bench.device)), network, base.facts)


def _px(side: int, scale: float) -> int:
    return max(16, round(scale * side))
