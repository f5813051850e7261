"""Counters and timings of the node. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

_WINDOW = 512  # frames that percentiles are taken over


@dataclass(frozen=True)
class FrameTiming:
    """Timing of one answered image, milliseconds.

    latency: from the image callback until the pose is published.
    age: from the image's stamp until the same moment; None if the stamps are of another clock.
    timings: of each step, by name.
    """

    latency: float
    age: float | None
    timings: dict[str, float]


@dataclass
class Health:
    """Counters and recent timings. Thread-safe."""

    counts: Counter[str] = field(default_factory=Counter)
    last_answer: str = "none yet"
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _bad_in_a_row: Counter[str] = field(default_factory=Counter)  # of each camera
    _why_bad: dict[str, str] = field(default_factory=dict)
    _samples: deque[FrameTiming] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _latest_s: dict[str, float] = field(default_factory=dict)

    def image_arrived(self, topic: str = "") -> None:
        """Count an image message."""
        with self._lock:
            self.counts["images received"] += 1
            self._arrivals_s.append(time.monotonic())
            self._latest_s[topic] = self._arrivals_s[-1]

    def bad_image(self, why: str, camera: str = "") -> None:
        """Count an image that could not be used. camera: its topic, where there are several."""
        with self._lock:
            self.counts["dropped (bad image)"] += 1
            self._bad_in_a_row[camera] += 1
            self._why_bad[camera] = why

    def whole_image(self, camera: str = "") -> None:
        """The latest image of a camera was no bad one, whether it is answered or not."""
        with self._lock:
            del self._bad_in_a_row[camera]

    @property
    def bad_in_a_row(self) -> tuple[str, int, str]:
        """The camera whose latest images could not be used, how many, and why; 0 if all could."""
        with self._lock:
            camera, number = next(iter(self._bad_in_a_row.most_common(1)), ("", 0))
            return camera, number, self._why_bad.get(camera, "")

    def count(self, kind: str, number: int = 1) -> None:
        """Add to the counter of this name."""
        with self._lock:
            self.counts[kind] += number

    def answered(self, sample: FrameTiming | None, text: str, camera: str = "") -> None:
        """Count an answered image. sample: None if nothing was computed. text: the answer in words."""
        with self._lock:
            self.counts["images answered"] += 1
            del self._bad_in_a_row[camera]
            if sample is not None:
                self._samples.append(sample)
            self.last_answer = text

    def silence_s(self, topic: str = "") -> float | None:
        """Seconds since the last image message of a topic, or None if there was none."""
        with self._lock:
            latest_s = self._latest_s.get(topic)
        return None if latest_s is None else time.monotonic() - latest_s

    @property
    def rate_hz(self) -> float:
        """Images received per second, over the last five seconds."""
        with self._lock:
            since = time.monotonic() - 5.0
            recent = [arrival for arrival in self._arrivals_s if arrival > since]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def figures(self) -> dict[str, str]:
        """Names and values for diagnostics."""
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
