"""Counts of what a long job left out or changed, by reason, for one line each at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Tally:
    """Counts by kind, each with its first example.

    A kind is a phrase that follows a number, such as "image(s) left out: they cannot be read".
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str = "", count: int = 1) -> None:
        """Add to the count of a kind. example: the item counted, such as a file; the first one is kept."""
        before, first = self._kinds.get(kind, (0, example))
        if before + count:
            self._kinds[kind] = before + count, first or example

    def add_files(self, kind: str, files: Sequence[Path]) -> None:
        """Count files of a kind, with the name of the first as example."""
        self.add(kind, files[0].name if files else "", len(files))

    def update(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for kind, (count, example) in other._kinds.items():
            self.add(kind, example, count)

    def count(self, kind: str) -> int:
        """The count of a kind."""
        return self._kinds.get(kind, (0, ""))[0]

    def example(self, kind: str) -> str:
        """The first example of a kind, "" if it has none."""
        return self._kinds.get(kind, (0, ""))[1]

    def to_list(self) -> list[list[str | int]]:
        """Plain data for JSON: kind, count and example of each."""
        return [[kind, count, example] for kind, (count, example) in self._kinds.items()]

    @classmethod
    def from_list(cls, data: Sequence[Sequence[str | int]]) -> Tally:
        """Read the output of ``to_list``."""
        tally = cls()
        for kind, count, example in data:
            tally.add(str(kind), str(example), int(count))
        return tally

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def lines(self) -> list[str]:
        """One line for each kind, such as "3 image(s) left out: they cannot be read (a.jpg: the JPEG is truncated)"."""
        return [
            f"{count} {kind}" + (f" ({'the first: ' if count > 1 else ''}{example})" if example else "")
            for kind, (count, example) in self._kinds.items()
        ]
