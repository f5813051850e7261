"""SIGINT and SIGTERM end the process with status 0 within two seconds, at any moment and however often they come."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from typing import Any

from vpr_ros.base import utf8

_GRACE_S = 1.5  # for closing maps and publishers; what is not done by then is lost, as in a power failure
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What the two signals do, from the first line of ``main`` on.

    Before ``begin`` nothing needs closing: they end the process at once. After it, rclpy's own handlers end the
    spinning, and the process closes what is open. A thread ends it after ``_GRACE_S`` even if the main thread is inside
    a library that does not return. Create it in the main thread, before ``rclpy.init``.
    """

    def __init__(self) -> None:
        self.asked = False
        self._begun = False
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        threading.Thread(target=self._end_in_time, args=(reading,), name="interrupts", daemon=True).start()
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # whoever started us may have blocked them until now

    def begin(self) -> None:
        """From now on there is something to close."""
        self._begun = True

    def end(self) -> None:
        """All is closed: a signal that comes while Python itself ends changes nothing."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, *_: Any) -> None:
        self.asked = True
        if not self._begun:
            os._exit(0)

    @staticmethod
    def _end_in_time(reading: int) -> None:
        os.read(reading, 1)  # returns with the first signal
        time.sleep(_GRACE_S)
        os._exit(0)


def run_module(name: str) -> None:
    """What an executable does: ``run(interrupts)`` of a module, imported once signals are handled.

    The imports take most of a second, in which a signal would be a traceback.
    """
    utf8.ensure()
    interrupts = Interrupts()
    importlib.import_module(name).run(interrupts)
