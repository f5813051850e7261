"""What a task is given, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vpr_ros.errors import ConfigError
from vpr_ros.lab.data import LabData
from vpr_ros.lab.rankers import Ranker
from vpr_ros.lab.recipe import LabRecipe
from vpr_ros.network.demixvpr import Network
from vpr_ros.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Made:
    """A system that can be measured.

    ranker: None for one that does not search drives, whose scores, by heading, come with it. network: where it is one.
    facts: for its row, such as steps and seconds.
    """

    ranker: Ranker | None
    network: Network | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)

    def searching(self, name: str) -> Ranker:
        """The ranker. Raises ConfigError, naming the recipe, for a system that has none."""
        if self.ranker is None:
            raise ConfigError(f"{name} does not search drives: nothing can be built on it")
        return self.ranker


def finished_facts(path: Path, trained_by: Mapping[str, Any]) -> dict[str, Any]:
    """What a training.json says, which has to be of these settings. Raises ConfigError where it is of others."""
    facts: dict[str, Any] = json.loads(path.read_text())
    if facts.get("trained_by") != json.loads(json.dumps(trained_by)):
        raise ConfigError(f"{path.parent} holds a system that was trained otherwise: remove it, or give another folder")
    return facts


class Workbench(Protocol):
    """What a task finds on the bench: drives, folders, and the systems of other recipes. See lab.bench.Bench."""

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

    def make(self, name: str) -> Made:
        """Another recipe's system."""
        ...

    def training(self, recipe: LabRecipe, variant: Mapping[str, Any] | None = None) -> Recipe:
        """What a recipe says of training, changed as a variant says."""
        ...
