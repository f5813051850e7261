"""What the node counts and times of itself. Knows no ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

_WINDOW = 512  # frames that percentiles are taken over


@dataclass(frozen=True)
class FrameTiming:
    """One answered image, milliseconds.

    latency: from the image callback to the pose published. age: from the image's stamp to the same moment, None if the
    stamps are of another clock.
    timings: of its steps, by name.
    """

    latency: float
    age: float | None
    timings: dict[str, float]


@dataclass
class Health:
    """Counters and recent timings; may be written and read from different threads."""

    counts: Counter[str] = field(default_factory=Counter)
    last_answer: str = "none yet"
    bad_in_a_row: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _samples: deque[FrameTiming] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def image_arrived(self) -> None:
        """An image message came in."""
        with self._lock:
            self.counts["images received"] += 1
            self._arrivals_s.append(time.monotonic())

    def bad_image(self) -> None:
        """An image could not be read."""
        with self._lock:
            self.counts["dropped (bad image)"] += 1
            self.bad_in_a_row += 1

    def count(self, what: str) -> None:
        """One more of something."""
        with self._lock:
            self.counts[what] += 1

    def answered(self, sample: FrameTiming | None, text: str) -> None:
        """An image was answered, and how; None where there was nothing to compute."""
        with self._lock:
            self.counts["images answered"] += 1
            self.bad_in_a_row = 0
            if sample is not None:
                self._samples.append(sample)
            self.last_answer = text

    @property
    def silence_s(self) -> float | None:
        """Seconds since the last image message, or None where there was none."""
        with self._lock:
            return time.monotonic() - self._arrivals_s[-1] if self._arrivals_s else None

    @property
    def rate_hz(self) -> float:
        """Images arriving a second, over the last few seconds."""
        with self._lock:
            since = time.monotonic() - 5.0
            recent = [arrival for arrival in self._arrivals_s if arrival > since]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def figures(self) -> dict[str, str]:
        """Names with values, for people."""
        with self._lock:
            samples, counts, answer = list(self._samples), dict(self.counts), self.last_answer
        out = {"rate [Hz]": f"{self.rate_hz:.1f}"}
        if samples:
            ages = [sample.age for sample in samples if sample.age is not None]
            if ages:
                out["image age [ms]"] = f"{np.median(ages):.1f}"
            for percent in (50, 95, 99):
                out[f"latency p{percent} [ms]"] = f"{np.percentile([s.latency for s in samples], percent):.1f}"
            for step in samples[-1].timings:
                values = [s.timings[step] for s in samples if step in s.timings]
                out[f"{step} p50 [ms]"] = f"{np.median(values):.1f}"
        return out | {name: str(value) for name, value in counts.items()} | {"last answer": answer}
