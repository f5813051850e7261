"""One thread that works on the newest items. Knows no ROS."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs ``work`` on the items offered, in their order; if more than ``queue_size`` wait, the oldest is dropped.

    work is called in the worker's own thread, never twice at once. on_error gets what it raises; the thread lives on.
    dropped: how many were.
    """

    def __init__(
        self,
        work: Callable[[T], None],
        on_error: Callable[[Exception], None],
        queue_size: int = 1,
        name: str = "worker",
    ) -> None:
        self._work = work
        self._on_error = on_error
        self._waiting: deque[T] = deque(maxlen=queue_size)
        self._stopping = False
        self._changed = threading.Condition()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> None:
        """Hand over an item; returns at once."""
        with self._changed:
            self.dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(item)
            self._changed.notify()

    def stop(self, finish: bool = False) -> None:
        """End the thread after the item in hand. finish: after those that wait too; else they are dropped."""
        with self._changed:
            self._stopping = True
            if not finish:
                self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or bool(self._waiting))
                if not self._waiting:
                    return
                item = self._waiting.popleft()
            try:
                self._work(item)
            except Exception as error:  # the robot keeps its localiser whatever one image does to it
                self._on_error(error)
