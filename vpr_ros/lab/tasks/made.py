"""What a task gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vpr_ros.errors import ConfigError
from vpr_ros.lab.rankers import Ranker
from vpr_ros.network.demixvpr import Network


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
