"""The bench: trains and measures recipes, their ingredients first, and keeps the results in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vpr_lab.systems.data import LabData
from vpr_lab.systems.evaluate import Ranked, rank_drives, scores
from vpr_lab.systems.recipe import LabRecipe, load_recipe, recipe_name
from vpr_lab.systems.tasks import TASKS, TrainedSystem
from vpr_lab.systems.topk import draw_topk
from vpr_lab.training.recipe import Recipe
from vpr_ros.base.config import from_dict, merged
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import write_json


@dataclass(frozen=True)
class Bench:
    """Trains and measures recipes.

    folder: gets a folder for every recipe. full, overrides: of every recipe, see load_recipe. weights: folder with
    starting weights, whose names recipes give. seed: added to every recipe's. pictures: draw top-5 pictures.
    """

    data: LabData
    folder: Path
    full: bool = False
    overrides: Mapping[str, Any] | None = None
    weights: Path = Path("weights")
    seed: int = 0
    device: str = "cpu"
    pictures: bool = True

    def run(self, name: str) -> dict[str, Any]:
        """Train and measure a recipe; what was trained before is taken from its folder. Returns and writes row.json."""
        recipe, made = self.recipe(name), self.make(name)
        found, measured = made.scores, {}
        if made.ranker is not None:
            ranked, image_ms = rank_drives(made.ranker, self.data.test, self.data.reference_condition)
            found = {condition: asdict(own) for condition, own in scores(ranked).items()}
            measured = {"image_ms": image_ms, "queries_from": sorted({shard.world for shard in self.data.test})}
            self._draw(ranked, name)
        row = {
            "recipe": recipe_name(name),
            "about": recipe.about,
            "group": recipe.group,
            "published": list(recipe.published),
            "scores": found,
            **measured,
            "full": self.full,
            "settings": recipe.settings,
            "reference_brightness": recipe.reference_brightness,
            "seed": self.seed,
            "device": self.device,
            **made.facts,
        }
        write_json(self.folder_of(name) / "row.json", row)
        return row

    def _draw(self, ranked: Sequence[Ranked], name: str) -> None:
        """Queries of each drive beside their first places."""
        for one in ranked if self.pictures else ():
            path = self.folder_of(name) / f"top5_{one.query.world}_{one.query.condition}.png"
            draw_topk(one.query, one.reference, one.order, path)

    def make(self, name: str) -> TrainedSystem:
        """A recipe's system, trained now if its folder does not hold it yet."""
        recipe = self.recipe(name)
        if recipe.task not in TASKS:
            raise ConfigError(f"{name}: unknown task '{recipe.task}'; choose one of {', '.join(TASKS)}")
        folder = self.folder_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        return TASKS[recipe.task](recipe, self, folder)

    def recipe(self, name: str) -> LabRecipe:
        """A recipe as it is run here."""
        return load_recipe(name, self.full, self.overrides)

    def folder_of(self, name: str) -> Path:
        """The folder of a recipe's files."""
        return self.folder / recipe_name(name)

    def training(self, recipe: LabRecipe, variant: Mapping[str, Any] | None = None) -> Recipe:
        """A recipe's training, with changes. Raises ConfigError."""
        own = from_dict(Recipe, merged(recipe.train, variant or {}), "train")
        weights, depth_weights = (str(self.weights / name) if name else "" for name in (own.weights, own.depth_weights))
        return replace(own, seed=own.seed + self.seed, weights=weights, depth_weights=depth_weights)
