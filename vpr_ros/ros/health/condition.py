"""Problems that last while images arrive."""

from __future__ import annotations

import time
from typing import Protocol

_PATIENCE_S = 2.0  # a transform, odometry or a calibration may arrive this late without a report


class Log(Protocol):
    """A logger, such as rclpy's."""

    def info(self, message: str) -> object:
        """Log an event."""
        ...

    def warning(self, message: str, *, throttle_duration_sec: float = 0.0) -> object:
        """throttle_duration_sec: minimum time between two messages of the same call."""
        ...

    def error(self, message: str, *, throttle_duration_sec: float = 0.0) -> object:
        """As warning."""
        ...


class Condition:
    """One possible problem: logged once it has lasted for two seconds, and again when it is over."""

    def __init__(self, log: Log, over: str, camera: str = "") -> None:
        """over: log line when the problem has ended. camera: its topic, which is named, where there are several."""
        self._log = log
        self._name = f"{camera}: " if camera else ""
        self._over = self._name + over
        self._sentence = ""
        self._since_s = 0.0
        self._logged = False

    @property
    def lasting(self) -> str:
        """The problem, as one sentence, if it has lasted for two seconds; else empty."""
        return self._sentence if time.monotonic() - self._since_s > _PATIENCE_S else ""

    def report(self, sentence: str) -> None:
        """sentence: the problem of the current image, or empty."""
        sentence = sentence and self._name + sentence
        if sentence != self._sentence:
            self._sentence, self._since_s = sentence, time.monotonic()
            if self._logged and not sentence:
                self._log.info(self._over)
            self._logged = False
        if self.lasting and not self._logged:
            self._log.error(sentence)
            self._logged = True
