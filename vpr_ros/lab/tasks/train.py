"""A network trained by a recipe; what nearly every system is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from vpr_ros.errors import ConfigError
from vpr_ros.files import write_json
from vpr_ros.lab.rankers import Describe, DescriptorRanker
from vpr_ros.lab.recipe import LabRecipe
from vpr_ros.lab.tasks.made import Made, Workbench
from vpr_ros.network.demixvpr import Network
from vpr_ros.training import loop
from vpr_ros.training.adapt import brighten
from vpr_ros.training.checkpoint import Checkpoint
from vpr_ros.training.datasets import Shard
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.validate import describe_shard


def train(recipe: LabRecipe, bench: Workbench, folder: Path) -> Made:
    """Train, or take what the folder holds."""
    network, facts = trained(bench.training(recipe), recipe, bench, folder)
    describe = describer(network, bench.device)
    darkened: Describe | None = None
    if recipe.reference_brightness != 1.0:

        def darkened(shard: Shard) -> Any:
            return describe(replace(shard, images=brighten(shard.images, recipe.reference_brightness)))

    return Made(DescriptorRanker(describe, darkened), network, facts)


def trained(own: Recipe, recipe: LabRecipe, bench: Workbench, folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network of a training recipe and what its training was. Raises ConfigError for another recipe's folder."""
    finished = folder / "training.json"
    if not finished.is_file():
        data, prepare = bench.data, starting(recipe, bench)
        start = perf_counter()
        loop.train(own, data.training, data.validation, folder, bench.device, prepare)
        last = Checkpoint.load(folder / "last.pt")
        facts = {
            "seconds": round(perf_counter() - start, 1),
            "steps": last.epoch * own.batches_per_epoch,
            "images_per_step": own.places_per_batch * own.images_per_place,
            "dimension": last.network.dimension,
            "parameters": sum(parameter.numel() for parameter in last.network.parameters()),
            "starts_from": _origin(own, recipe),
        }
        write_json(finished, facts)
    checkpoint = Checkpoint.load(folder / "best.pt")
    if checkpoint.recipe != own:
        raise ConfigError(f"{folder} holds a network that was trained otherwise: remove it, or give another folder")
    return checkpoint.network.eval(), json.loads(finished.read_text())


def _origin(own: Recipe, recipe: LabRecipe) -> str:
    """Where the weights came from, for the row; recipes it starts from were trained before, in steps of their own."""
    return ", ".join([Path(own.weights).stem if own.weights else "random", *_begun_by(recipe)])


def _begun_by(recipe: LabRecipe) -> list[str]:
    """Recipes that parts of the network are taken from."""
    return sorted({source.partition(":")[0] for source in recipe.starts.values()})


def starting(recipe: LabRecipe, bench: Workbench) -> Callable[[Network], None] | None:
    """Load the parts that a recipe takes from others: {"backbone": "rgb_mac:backbone"}; "all" is the whole network."""
    if not recipe.starts:
        return None
    others = {name: bench.make(name).network for name in _begun_by(recipe)}

    def load(network: Network) -> None:
        for part, source in recipe.starts.items():
            name, _, other_part = source.partition(":")
            try:
                theirs: Any = getattr(others[name], other_part) if other_part else others[name]
                (network if part == "all" else getattr(network, part)).load_state_dict(theirs.state_dict())
            except (AttributeError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"starts: {part} cannot be taken from {source}: {reason}") from error

    return load


def describer(network: Network, device: str) -> Describe:
    """Descriptors of a drive, (N, D)."""
    return lambda shard: describe_shard(network.to(device), shard, device=device)
