"""A network trained by a recipe; as nearly every system is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.systems.data import summary
from vpr_lab.systems.rankers import Describe, DescriptorRanker
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench, finished_facts
from vpr_lab.training import loop
from vpr_lab.training.adapt import brighten
from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.recipe import Recipe
from vpr_lab.training.validate import describe_shard
from vpr_ros.base.config import to_dict
from vpr_ros.base.errors import ConfigError, ModelError
from vpr_ros.base.files import write_json
from vpr_ros.inference.describer import fingerprint_file


def train(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Train, or take what the folder holds."""
    network, facts = trained(bench.training(recipe), recipe, bench, folder)
    describe = describer(network, bench.device)

    def darkened(brightness: float) -> Describe:
        return lambda shard: describe(replace(shard, images=brighten(shard.images, brightness)))

    dark = {condition: darkened(brightness) for condition, brightness in recipe.reference_brightness.items()}
    return TrainedSystem(DescriptorRanker(describe, by_condition=dark), network, facts)


def trained(own: Recipe, recipe: LabRecipe, bench: Workbench, folder: Path) -> tuple[PlaceNetwork, dict[str, Any]]:
    """The network of a training recipe and what its training was. Raises ConfigError for another recipe's folder.

    training.json says from the first step on what a folder was begun with, and what came out when it is done.
    """
    data, finished = bench.data, folder / "training.json"
    own = replace(own, reference_condition=data.reference_condition)
    trained_by = {
        **_learning(own, recipe, bench),
        "training": summary(data.training),
        "validation": summary(data.validation),
    }
    facts = finished_facts(finished, trained_by) if finished.is_file() else {}
    if "steps" not in facts:
        write_json(finished, {"trained_by": trained_by})
        prepare = starting(recipe, bench)
        start = perf_counter()
        try:
            loop.train(own, data.training, data.validation, folder, bench.device, prepare)
        except BaseException:
            if not (folder / "last.pt").is_file():  # nothing was begun: weights may be missing
                finished.unlink(missing_ok=True)
            raise
        last = Checkpoint.load(folder / "last.pt")
        facts = {
            "trained_by": trained_by,
            "seconds": round(perf_counter() - start, 1),
            "steps": last.epoch * own.batches_per_epoch,
            "images_per_step": own.places_per_batch * own.images_per_place,
            "dimension": last.network.dimension,
            "parameters": sum(parameter.numel() for parameter in last.network.parameters()),
            "starts_from": _origin(own, recipe),
        }
        write_json(finished, facts)
    return Checkpoint.load(folder / "best.pt").network.eval(), facts


def _learning(own: Recipe, recipe: LabRecipe, bench: Workbench, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """All that decides the weights, apart from the drives: its training, and that of the recipes it starts from."""
    begun: dict[str, Any] = {}
    for name in _begun_by(recipe):
        if _is_file(name):
            continue  # known by its content in what starts from it
        if name in above:
            raise ConfigError(f"starts: recipes start from each other in a circle: {' -> '.join((*above, name))}")
        other = bench.recipe(name)
        learning = _learning(bench.training(other), other, bench, (*above, name))
        begun[name] = {**learning, "settings": other.settings}
    starts = {part: _known_as(source) for part, source in recipe.starts.items()}
    files = {name: Path(getattr(own, name)).name for name in ("weights", "depth_weights")}  # wherever they lie
    return {"train": {**to_dict(own), **files}, "starts": starts, "begun_by": begun}


def _origin(own: Recipe, recipe: LabRecipe) -> str:
    """Where the weights came from, for the row; recipes it starts from were trained before, in steps of their own."""
    begun = (Path(name).name for name in _begun_by(recipe))
    return ", ".join([Path(own.weights).stem if own.weights else "random", *begun])


def _begun_by(recipe: LabRecipe) -> list[str]:
    """Recipes, and checkpoint files, that parts of the network are taken from."""
    return sorted({source.partition(":")[0] for source in recipe.starts.values()})


def _is_file(name: str) -> bool:
    return name.endswith(".pt")


def _known_as(source: str) -> str:
    """RECIPE:PART as it is, CHECKPOINT.pt:PART with the file's fingerprint, wherever it lies."""
    name, colon, part = source.partition(":")
    return f"{fingerprint_file(_checkpoint(name))}{colon}{part}" if _is_file(name) else source


def _checkpoint(name: str) -> Path:
    """A checkpoint file that a recipe starts from. Raises ModelError if it is missing."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise ModelError(f"starts: no checkpoint at {path}")
    return path


def starting(recipe: LabRecipe, bench: Workbench) -> Callable[[PlaceNetwork], None] | None:
    """Load the parts that a recipe takes from others: {"backbone": "rgb_mac:backbone"}; "all" is the whole network."""
    if not recipe.starts:
        return None
    others = {
        name: Checkpoint.load(_checkpoint(name)).network if _is_file(name) else bench.make(name).network
        for name in _begun_by(recipe)
    }

    def load(network: PlaceNetwork) -> None:
        for part, source in recipe.starts.items():
            name, _, other_part = source.partition(":")
            try:
                theirs: Any = getattr(others[name], other_part) if other_part else others[name]
                (network if part == "all" else getattr(network, part)).load_state_dict(theirs.state_dict())
            except (AttributeError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"starts: {part} cannot be taken from {source}: {reason}") from error

    return load


def describer(network: PlaceNetwork, device: str) -> Describe:
    """Descriptors of a drive, (N, D)."""
    return lambda shard: describe_shard(network.to(device), shard, device=device)
