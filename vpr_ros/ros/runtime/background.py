"""Long work in its own thread, while the executor stays responsive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from rclpy.node import Node

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """One piece of work in a thread. Await it in a coroutine of the node's executor, or ``join`` it elsewhere.

    ``start`` begins it, once the task is where its own work looks for it.
    """

    def __init__(self, node: Node, work: Callable[[], T], name: str) -> None:
        """node: its executor is woken when the work is done. name: of the thread."""
        self.name = name
        self.since_s = time.monotonic()
        self._node = node
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether this is called from the work's thread."""
        return threading.current_thread() is self._thread

    @property
    def done(self) -> bool:
        """Whether the work has ended, successfully or not."""
        return self._done.is_set()

    def join(self) -> None:
        """Wait until the work is done."""
        self._done.wait()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # raised again by await
            self._error = error
        self._done.set()
        executor = self._node.executor
        if executor is not None:
            executor.wake()

    def __await__(self) -> Generator[None, None, T]:
        """Returns the work's result, or raises its exception."""
        while not self._done.is_set():
            yield
        if self._error is not None:
            raise self._error
        return self._result[0]
