"""A model soup: the averaged weights of one network trained several ways (Wortsman et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vpr_lab.systems.rankers import DescriptorRanker
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.train import describer, trained
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench
from vpr_lab.training import soup as soups
from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.validate import validate
from vpr_ros.base.config import from_dict, option


@dataclass(frozen=True)
class SoupSettings:
    """variants: what each ingredient changes in the recipe's training; all start from the same weights."""

    how: str = option("greedy", "which soup", choices=("greedy", "uniform"))
    of: str = option("", "recipe whose folder holds the ingredients; empty: its own")
    variants: tuple[dict[str, Any], ...] = option(({},), "changes to each ingredient's training")


def soup(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Train the ingredients, choose them on the validation worlds, average."""
    settings = from_dict(SoupSettings, recipe.settings, "settings")
    shared = bench.folder / settings.of if settings.of else folder
    ingredients = [
        trained(bench.training(recipe, variant), recipe, bench, shared / f"ingredient_{number}")
        for number, variant in enumerate(settings.variants)
    ]
    states = [network.state_dict() for network, _ in ingredients]
    network = bench.training(recipe, settings.variants[0]).build(with_weights=False).to(bench.device)

    def score(state: dict[str, torch.Tensor]) -> float:
        network.load_state_dict(state)
        return validate(network, bench.data.validation, bench.data.reference_condition, device=bench.device)["mean"]

    chosen = soups.greedy(states, score)
    state, members = chosen.state, list(chosen.members)
    if settings.how == "uniform":
        state, members = soups.uniform(states), list(range(len(states)))
    facts = {
        **ingredients[0][1],
        "steps": sum(facts["steps"] for _, facts in ingredients),
        "seconds": round(sum(facts["seconds"] for _, facts in ingredients), 1),
        "validation": score(state),
        "validation_of_ingredients": list(chosen.ingredients),
        "members": members,
    }
    network.load_state_dict(state)
    Checkpoint(bench.training(recipe, settings.variants[0]), network, 0, [], {}).save(folder / "best.pt")
    return TrainedSystem(DescriptorRanker(describer(network.eval(), bench.device)), network, facts)
