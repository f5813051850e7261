"""Batches of images through a network, of the size that gives the highest throughput."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import TypeVar

import numpy as np

from vpr_ros.inference.describer import Describer, Description

T = TypeVar("T")
_LEAST_TRIES = 2  # of each size; the first is warm-up
_TRIED = 16  # images with each size, at least


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of size items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class Batches:
    """Describes images in batches. Each batch size of the describer is tried, then the fastest is kept.

    Which one is fastest depends on the machine: a batch that exceeds a CPU's caches is slower than single images.
    """

    def __init__(self, describer: Describer) -> None:
        self._describer = describer
        self._left = {size: max(_LEAST_TRIES, _TRIED // size) for size in describer.batch_sizes}  # tries
        self._seconds = dict.fromkeys(describer.batch_sizes, float("inf"))  # least, for an image

    def describe(self, images: Sequence[np.ndarray]) -> Description:
        """N >= 1 preprocessed images, each (height, width, 3) uint8 -> Description of all."""
        parts, done = [], 0
        while done < len(images):
            size = self._size()
            batch = images[done : done + size]
            start = perf_counter()
            parts.append(self._describer.describe(np.stack(batch)))
            if len(batch) == min(size, len(images)):  # no rest of a larger number
                self._left[size] -= 1
                self._seconds[size] = min(self._seconds[size], (perf_counter() - start) / len(batch))
            done += len(batch)
        depths = [part.depth for part in parts if part.depth is not None]
        return Description(
            np.concatenate([part.descriptors for part in parts]), np.concatenate(depths) if depths else None
        )

    def _size(self) -> int:
        untried = [size for size, left in self._left.items() if left > 0]
        return untried[0] if untried else min(self._seconds, key=self._seconds.__getitem__)
