"""Work that takes long, in a thread of its own while the executor answers everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from rclpy.node import Node

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """One piece of work in a thread. Await it in a coroutine of the node's executor, ``join`` it from elsewhere."""

    def __init__(self, node: Node, work: Callable[[], T], name: str) -> None:
        """node: its executor is woken when the work is done. name: of the thread."""
        self.name = name
        self.since_s = time.monotonic()
        self.thread_id = 0
        self._node = node
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether the work has ended, well or not."""
        return self._done.is_set()

    def join(self) -> None:
        """Wait until the work is done."""
        self._done.wait()

    def _run(self) -> None:
        self.thread_id = threading.get_ident()
        try:
            self._result.append(self._work())
        except BaseException as error:  # raised again where it is awaited
            self._error = error
        self._done.set()
        executor = self._node.executor
        if executor is not None:
            executor.wake()

    def __await__(self) -> Generator[None, None, T]:
        """The work's result, or what it raised."""
        while not self._done.is_set():
            yield
        if self._error is not None:
            raise self._error
        return self._result[0]
