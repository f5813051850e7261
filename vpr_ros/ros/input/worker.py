"""One thread that processes the newest items. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Worker(Generic[T]):
    """Runs ``work`` on each item in order. If more than ``queue_size`` of one source wait, its oldest is dropped.

    work: called in the worker's thread, one item at a time.
    on_error: called with an exception of ``work``; the thread continues.
    dropped: number of items dropped.
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
        self._queue_size = queue_size
        self._waiting: deque[tuple[str, T]] = deque()
        self._using = threading.Lock()
        self._turns: SimpleQueue[None] = SimpleQueue()  # one for each waiting item, and one to stop; wakes the thread
        self._began_s: float | None = None  # the present item, monotonic clock
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds since work on the present item began; 0 while it waits for one."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def offer(self, item: T, source: str = "") -> None:
        """Queue an item; returns at once."""
        with self._using:
            of_source = [number for number, (name, _) in enumerate(self._waiting) if name == source]
            is_full = len(of_source) == self._queue_size
            if is_full:  # the new one takes its turn
                del self._waiting[of_source[0]]
                self.dropped += 1
            self._waiting.append((source, item))
        if not is_full:
            self._turns.put(None)

    def stop(self, finish: bool = False) -> None:
        """End the thread after the current item. finish: process the waiting items too; else drop them."""
        if not finish:
            with self._using:
                self._waiting.clear()
        self._turns.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._turns.get()
            with self._using:
                if not self._waiting:
                    return
                _, item = self._waiting.popleft()
            self._began_s = time.monotonic()
            try:
                self._work(item)
            except Exception as error:  # one bad image must not stop the localiser
                self._on_error(error)
            except SystemExit as error:  # of a library: it would end this thread without a word
                self._on_error(RuntimeError(f"sys.exit({error}) was called"))
            self._began_s = None
