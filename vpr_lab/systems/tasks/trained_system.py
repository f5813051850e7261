"""A task's input and output: the bench, and the system it trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.systems.data import LabData
from vpr_lab.systems.rankers import Ranker
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.training.recipe import Recipe, translate_recipe
from vpr_ros.base.config import difference, from_dict, to_dict
from vpr_ros.base.errors import ConfigError


@dataclass(frozen=True, eq=False)
class TrainedSystem:
    """A system that can be measured.

    ranker: None for a system that does not search drives; ``scores`` then holds its figures, by heading.
    network: of a system that is a single network. facts: for its row, such as steps and seconds.
    """

    ranker: Ranker | None
    network: PlaceNetwork | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)

    def searching(self, name: str) -> Ranker:
        """The ranker. Raises ConfigError, naming the recipe, for a system that has none."""
        if self.ranker is None:
            raise ConfigError(f"{name} does not search drives: nothing can be built on it")
        return self.ranker


def finished_facts(path: Path, trained_by: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a training.json.

    trained_by: all that decides on the weights, nested; the file holds it under this name. Raises ConfigError, naming
    what differs, if it is not the same there.
    """
    facts: dict[str, Any] = json.loads(path.read_text())
    before, now = in_todays_words(facts.get("trained_by", {})), json.loads(json.dumps(trained_by))
    if before != now:
        why = difference(before, now) if before else "it does not say by what"
        raise ConfigError(f"{path.parent} was trained otherwise ({why}): remove it, or give another folder")
    return facts


def in_todays_words(trained_by: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every recipe, under the name "train", as it is stored today."""
    out: dict[str, Any] = {}
    for name, value in trained_by.items():
        if name == "train":
            out[name] = _recipe_in_todays_words(value)
        else:
            out[name] = in_todays_words(value) if isinstance(value, Mapping) else value
    return out


def _recipe_in_todays_words(stored: dict[str, Any]) -> dict[str, Any]:
    translated = translate_recipe(stored)
    if translated is stored:
        return stored
    try:
        return to_dict(from_dict(Recipe, translated))
    except ConfigError:  # older still: it then differs, and is named
        return translated


class Workbench(Protocol):
    """What a task uses of the bench: drives, folders, and other recipes' systems. See systems.bench.Bench."""

    @property
    def data(self) -> LabData: ...

    @property
    def folder(self) -> Path: ...

    @property
    def weights(self) -> Path: ...

    @property
    def seed(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def pictures(self) -> bool: ...

    def make(self, name: str) -> TrainedSystem:
        """Another recipe's system."""
        ...

    def recipe(self, name: str) -> LabRecipe:
        """Another recipe, as it is run here."""
        ...

    def training(self, recipe: LabRecipe, variant: Mapping[str, Any] | None = None) -> Recipe:
        """What a recipe says of training, changed as a variant says."""
        ...
