"""When the images of a bag are played: as fast as wanted, and no faster than the node answers; and its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_LOST_S, _PATIENCE_S = 5.0, 30.0  # wait for an answer until it counts as lost, and for all that are lost
_LOOK_S = 0.005  # between two looks at the answers while images are played
_QUIET_S = 2.0  # time without an answer after which no more are expected


class Pace:
    """When the next image is played: at a rate at most, and once the node has answered all images before but some.

    The node drops images that it has no time for. On a slow computer the demo takes longer instead.
    """

    def __init__(self, rate_hz: float, answered: Callable[[], int] | None = None, ahead: int = 1) -> None:
        """answered: the number of images that the node has answered; None: it is not waited for.

        ahead: images that may wait at the node beside the one that it works on.
        """
        self._step_s, self._answered, self._ahead = 1 / rate_hz, answered, ahead
        self._due_s = 0.0
        self._played = self._lost = 0
        self._patience_s = _PATIENCE_S

    def wait(self) -> None:
        """Call before each image."""
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        if self._answered is not None:
            self._wait_for(self._answered)
        self._played += 1
        self._due_s = time.monotonic() + self._step_s  # a delay is not caught up later

    def _wait_for(self, answered: Callable[[], int]) -> None:
        start_s, longest_s = time.monotonic(), min(_LOST_S, self._patience_s)
        while (missing := self._played - self._lost - answered()) > self._ahead:
            if time.monotonic() - start_s >= longest_s:
                self._patience_s -= longest_s
                self._lost += missing - self._ahead
                return
            time.sleep(_LOOK_S)


class AnswersSoFar:
    """The whole lines of an answers file that grows. ``lines`` are those that were there at the last look."""

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        self._path, self._read = path, 0

    def count(self) -> int:
        """Look at the file; the number of whole lines."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]  # the node is writing the last line
            self._read += len(whole)
            self.lines += whole.decode().splitlines()
        return len(self.lines)

    def wait_for(self, images: int) -> None:
        """Wait until so many images are answered, or no answer has come for a while."""
        seen, since_s = -1, time.monotonic()
        while (count := self.count()) < images and time.monotonic() - since_s <= _QUIET_S:
            if count != seen:
                seen, since_s = count, time.monotonic()
            time.sleep(0.1)
