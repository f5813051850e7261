"""Batches chosen at work: whatever size is taken, the answer is the same, and the fastest is taken in the end."""

from __future__ import annotations

import time

import numpy as np

from vpr_ros.inference.batches import Batches
from vpr_ros.inference.describer import Description


class Slow:
    """A describer that wants four at once: any other size costs a call more than it should."""

    batch_sizes = (1, 4, 8)

    def __init__(self, depth: bool) -> None:
        self.depth, self.taken = depth, [0]

    def describe(self, images: np.ndarray) -> Description:
        self.taken.append(len(images))
        time.sleep(0.001 if len(images) == 4 else 0.01)
        descriptors = images.reshape(len(images), -1)[:, :1].astype(np.float32)
        return Description(descriptors, images[..., 0].astype(np.float32) if self.depth else None)


def test_every_size_gives_the_same_answer_and_the_fastest_stays() -> None:
    """A map must not depend on how its images were batched, nor be built slower than the machine can."""
    images = [np.full((2, 2, 3), k, np.uint8) for k in range(11)]
    for depth in (True, False):
        slow = Slow(depth)
        batches = Batches(slow)  # type: ignore[arg-type]
        for _ in range(9):
            description = batches.describe(images)
            assert description.descriptors[:, 0].tolist() == list(range(11))
            assert (description.depth is None) is not depth
            assert description.depth is None or description.depth[:, 0, 0].tolist() == list(range(11))
        assert [slow.taken.count(size) for size in (1, 8)] == [16, 2]  # tried on so many images, and never again
        assert slow.taken[-6:] == [4, 4, 3, 4, 4, 3]


def test_few_images_at_a_time_end_trying_too() -> None:
    """A robot describes three views of a keyframe at a time: a size that three never fill was tried for ever."""
    slow = Slow(False)
    slow.batch_sizes = (1, 3, 8)  # type: ignore[assignment]
    batches = Batches(slow)  # type: ignore[arg-type]
    for _ in range(16):
        batches.describe([np.zeros((2, 2, 3), np.uint8)] * 3)
    assert slow.taken.count(1) == 16 and slow.taken[-6:] == [3] * 6
    assert all(left <= 0 for left in batches._left.values())
