"""Batches of images through a network, of the size that gives the highest throughput."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from vpr_ros.inference.describer import Describer, Description

_TRIES = 2  # of each size; the first is warm-up


class Batches:
    """Describes images in batches. Each batch size of the describer is tried twice, then the fastest is kept.

    Which one is fastest depends on the machine: a batch that exceeds a CPU's caches is slower than single images.
    """

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._seconds: dict[int, list[float]] = {size: [] for size in describer.batch_sizes}

    def describe(self, images: Sequence[np.ndarray]) -> Description:
        """N >= 1 preprocessed images, each (height, width, 3) uint8 -> Description of all."""
        size, start = self._size(), perf_counter()
        parts = [self._describer.describe(np.stack(images[i : i + size])) for i in range(0, len(images), size)]
        self._seconds[size].append((perf_counter() - start) / len(images))
        depths = [part.depth for part in parts if part.depth is not None]
        return Description(
            np.concatenate([part.descriptors for part in parts]), np.concatenate(depths) if depths else None
        )

    def _size(self) -> int:
        least_tried = min(self._seconds, key=lambda size: len(self._seconds[size]))
        if len(self._seconds[least_tried]) < _TRIES:
            return least_tried
        return min(self._seconds, key=lambda size: min(self._seconds[size]))
