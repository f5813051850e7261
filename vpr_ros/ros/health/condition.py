"""Problems that last while images arrive."""

from __future__ import annotations

import time
from typing import Protocol

_PATIENCE_S = 2.0  # a transform, odometry or a calibration may only be a little late


class Log(Protocol):
    """A logger, such as rclpy's."""

    def info(self, message: str) -> object:
        """For people who wonder what happens."""
        ...

    def warning(self, message: str, *, throttle_duration_sec: float = 0.0) -> object:
        """throttle_duration_sec: the shortest time between two of the same origin."""
        ...

    def error(self, message: str, *, throttle_duration_sec: float = 0.0) -> object:
        """As warning."""
        ...


class Condition:
    """One possible problem: logged once it has lasted for two seconds, and again when it is over."""

    def __init__(self, log: Log, over: str) -> None:
        """over: what the log says when it has passed."""
        self._log = log
        self._over = over
        self._sentence = ""
        self._since_s = 0.0
        self._logged = False

    @property
    def lasting(self) -> str:
        """What is wrong, as one sentence, once it has lasted; else empty."""
        return self._sentence if time.monotonic() - self._since_s > _PATIENCE_S else ""

    def report(self, sentence: str) -> None:
        """sentence: what is wrong with the current image, or empty."""
        if sentence != self._sentence:
            self._sentence, self._since_s = sentence, time.monotonic()
            if self._logged and not sentence:
                self._log.info(self._over)
            self._logged = False
        if self.lasting and not self._logged:
            self._log.error(sentence)
            self._logged = True
