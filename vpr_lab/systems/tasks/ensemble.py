"""Two systems whose lists are merged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpr_lab.systems.rankers import EnsembleRanker
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError


@dataclass(frozen=True)
class EnsembleSettings:
    """The recipe's two ingredients, the better one first."""

    how: str = option("nif", "nif: by distance; sif: what both found first", choices=("nif", "sif"))


def ensemble(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Merge the lists of the two ingredients."""
    settings = from_dict(EnsembleSettings, recipe.settings, "settings")
    if len(recipe.ingredients) != 2:
        raise ConfigError(f"an ensemble needs two recipes, not {len(recipe.ingredients)}: name two ingredients")
    first, second = (bench.make(name) for name in recipe.ingredients)
    better, other = first.searching(recipe.ingredients[0]), second.searching(recipe.ingredients[1])
    facts = {name: first.facts.get(name, 0) + second.facts.get(name, 0) for name in ("steps", "seconds", "parameters")}
    return TrainedSystem(EnsembleRanker(better, other, settings.how), None, facts)
