"""Problems that last while images arrive."""

from __future__ import annotations

import re
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


def _kind(sentence: str) -> str:
    """A sentence without its numbers."""
    return re.sub(r"\d+", "", sentence)


class Condition:
    """One possible problem: logged once it has lasted for two seconds, and again when it is over.

    It lasts while images show it again within two seconds, even if others between them do not. Sentences that differ in
    numbers only are one problem.
    """

    def __init__(self, log: Log, over: str, camera: str = "") -> None:
        """over: log line when the problem has ended. camera: its topic, which is named, where there are several."""
        self._log = log
        self._name = f"{camera}: " if camera else ""
        self._over = self._name + over
        self._sentence = ""
        self._since_s = 0.0
        self._seen_s = 0.0  # when an image showed it last
        self._present = False  # whether the latest image does
        self._logged = False

    @property
    def lasting(self) -> str:
        """The problem, as one sentence, if it has lasted for two seconds; else empty."""
        now_s = time.monotonic()
        if not self._present and now_s - self._seen_s > _PATIENCE_S:
            return ""
        until_s = now_s if self._present else self._seen_s
        return self._sentence if until_s - self._since_s > _PATIENCE_S else ""

    def report(self, sentence: str) -> None:
        """sentence: the problem of the current image, or empty."""
        sentence = sentence and self._name + sentence
        now_s = time.monotonic()
        present = self._present and bool(sentence)  # in this image and in the one before
        self._present = bool(sentence)
        if self._sentence and not present and now_s - self._seen_s > _PATIENCE_S:
            if self._logged:
                self._log.info(self._over)
            self._sentence, self._logged = "", False
        if sentence:
            if _kind(sentence) != _kind(self._sentence):
                self._since_s, self._logged = now_s, False
            self._sentence, self._seen_s = sentence, now_s
        if self.lasting and not self._logged:
            self._log.error(self._sentence)
            self._logged = True
