"""Parts of a list of drives, so that several machines build a map: merged in order, the parts are the whole map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import ConfigError
from vpr_ros.drives.drive import Drive


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``, counted from 1. Raises ConfigError for a number that is not among them."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"there is no part {self.number} of {self.count}: give 1/{max(self.count, 1)} or a later one"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "2/8". Raises ConfigError for other text."""
        if not (found := re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())):
            raise ConfigError(f"a part of the drives is I/N, such as 2/8, and not '{text}'")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, drives: Sequence[Drive]) -> Sequence[Drive]:
        """This part of the drives: neighbours in their order, and about as many images as the other parts have.

        Only the drives' lengths decide. Every part has a drive. Raises ConfigError for more parts than drives.
        """
        if self.count > len(drives):
            raise ConfigError(f"{len(drives)} drive(s) cannot be {self.count} parts: give at most as many as drives")
        images = np.cumsum([0, *(max(len(drive), 1) for drive in drives)])
        ends = [0]
        for number in range(1, self.count + 1):
            nearest = int(np.argmin(np.abs(images - images[-1] * number / self.count)))
            ends.append(min(max(nearest, ends[-1] + 1), len(drives) - self.count + number))
        return drives[ends[self.number - 1] : ends[self.number]]
