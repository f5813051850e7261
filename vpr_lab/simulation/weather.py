"""A drive through changing weather, best for calibrating a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import SimulatedDrive
from vpr_lab.simulation.town import Town


class ChangeableDrive(SimulatedDrive):
    """A trip whose condition changes every ``every`` images, round and round; otherwise a SimulatedDrive."""

    def __init__(self, town: Town, conditions: Sequence[Condition], every: int = 25, **others: Any) -> None:
        super().__init__(town, conditions[0], **others)
        self._conditions, self._every = tuple(conditions), every

    def _condition_of(self, index: int) -> Condition:
        return self._conditions[index // self._every % len(self._conditions)]
