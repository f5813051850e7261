"""SIGINT and SIGTERM end the process with status 0 within two seconds, at any moment, even if they repeat."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vpr_ros.base import utf8
from vpr_ros.base.errors import missing_dependency

_GRACE_S = 1.5  # time to close maps and publishers; after it the process ends as in a power failure
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Handles both signals from the first line of ``main`` on.

    Before ``begin`` nothing needs closing, so a signal ends the process at once. After it, the main thread sees
    ``asked``, or rclpy's own handlers stop its executor, and it closes maps and publishers. A thread ends the process
    after ``_GRACE_S``, even if the main thread is inside a library call. Create it in the main thread, before
    ``rclpy.init``.

    wake: called at a signal by that thread, to end what the main thread waits for.
    """

    wake: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self) -> None:
        self._asked = False
        self._begun = False
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        threading.Thread(target=self._end_in_time, args=(reading,), name="interrupts", daemon=True).start()
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # the launch file blocks them until now

    @property
    def asked(self) -> bool:
        """Whether a signal has come. Being a call, it lets Python run the handler of one that came just now."""
        return self._asked

    def begin(self) -> None:
        """Signals shut down cleanly from now on."""
        self._begun = True

    def end(self) -> None:
        """Ignore signals from now on: everything is closed, and Python itself is ending."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, *_: Any) -> None:
        self._asked = True
        if not self._begun:
            os._exit(0)

    def _end_in_time(self, reading: int) -> None:
        os.read(reading, 1)  # returns with the first signal
        with suppress(Exception):  # the executor may be gone
            self.wake()
        time.sleep(_GRACE_S)
        os._exit(0)


def run_module(name: str) -> None:
    """Handle signals, then import a module and call its ``run(interrupts)``.

    The imports take most of a second, during which a signal would print a traceback.
    """
    utf8.ensure()
    interrupts = Interrupts()
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        missing = missing_dependency(error)
        if missing is None:
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {missing}")
    module.run(interrupts)
