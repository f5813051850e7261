"""What a long job left out or took otherwise than expected, and why: a line for each kind at its end."""

from __future__ import annotations


class Tally:
    """Counts by kind, each with its first example.

    A kind is a phrase that follows a number: "image(s) left out: they cannot be read".
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: str = "", count: int = 1) -> None:
        """Count one more of a kind, or several. example: which one, kept of the first."""
        before, first = self._kinds.get(kind, (0, example))
        if before + count:
            self._kinds[kind] = before + count, first or example

    def update(self, other: Tally) -> None:
        """Add everything another tally counted."""
        for kind, (count, example) in other._kinds.items():
            self.add(kind, example, count)

    def count(self, kind: str) -> int:
        """How many of a kind there were."""
        return self._kinds.get(kind, (0, ""))[0]

    def example(self, kind: str) -> str:
        """The first example of a kind, "" if there was none."""
        return self._kinds.get(kind, (0, ""))[1]

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def lines(self) -> list[str]:
        """A line for each kind, such as "3 image(s) left out: they cannot be read (a.jpg: the JPEG is truncated)"."""
        return [
            f"{count} {kind}" + (f" ({'the first: ' if count > 1 else ''}{example})" if example else "")
            for kind, (count, example) in self._kinds.items()
        ]
