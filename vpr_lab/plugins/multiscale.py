"""One descriptor from one image at several sizes, for queries from nearer and farther away.

Carachino and Di Gangi pool the descriptors of a query at 0.526, 0.588, 1, 1.7 and 1.9 times its size; the map keeps
plain ones. It costs one pass for each size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.describer import Describer, Description

SCALES = (0.526, 0.588, 1.0, 1.7, 1.9)
POOLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "avg": lambda descriptors: descriptors.mean(axis=0),
    "sum": lambda descriptors: descriptors.sum(axis=0),
    "max": lambda descriptors: descriptors.max(axis=0),
    "min": lambda descriptors: descriptors.min(axis=0),
}


def describe_at_scales(
    describe: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    scales: Sequence[float] = SCALES,
    pool: str = "avg",
    resize: Callable[[np.ndarray, float], np.ndarray] | None = None,
) -> np.ndarray:
    """(B, H, W, 3) uint8 -> (B, D) float32 of unit length: the descriptors at every scale, pooled, renormalised.

    describe: (B, h, w, 3) uint8 -> (B, D). pool: "avg", "sum", "max" or "min"; renormalised, which the published code
    leaves out, "sum" is "avg". resize: gives the images at a scale; ``rescale`` by default. Raises ConfigError.
    """
    _check(scales, pool)
    described = [describe((resize or rescale)(images, scale)) for scale in scales]
    pooled = POOLS[pool](np.stack(described).astype(np.float32))
    return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class MultiScaleOptions:
    """``multiscale scales=[0.59,1.0,1.7] pool=avg``."""

    scales: tuple[float, ...] = option(SCALES, "sizes at which a query is described, a network pass each")
    pool: str = option("avg", "pooling of the descriptors", choices=tuple(POOLS))


def open_multiscale(describer: Describer, options: Mapping[str, Any]) -> MultiScaleDescriber:
    """The describer ``multiscale`` for ``search.describer``. Raises ConfigError for options that cannot be."""
    chosen = from_dict(MultiScaleOptions, dict(options), "describer multiscale")
    return MultiScaleDescriber(describer, chosen.scales, chosen.pool)


class MultiScaleDescriber:
    """Another describer's descriptors of queries, pooled over several scales; depth is that of the image as it is.

    An exported network takes one size: scales zoom and blur (``rescale``). Maps are built without it.
    """

    def __init__(self, describer: Describer, scales: Sequence[float] = SCALES, pool: str = "avg") -> None:
        """Raises ConfigError for a scale or pooling that cannot be."""
        _check(scales, pool)
        self.manifest, self.backend = describer.manifest, f"{describer.backend} at {len(scales)} scales"
        self.batch_sizes = describer.batch_sizes
        self._describer, self._scales, self._pool = describer, tuple(scales), pool

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 -> Description."""
        plain = self._describer.describe(images)
        zoom = partial(rescale, fixed_size=True)

        def describe(scaled: np.ndarray) -> np.ndarray:
            return plain.descriptors if scaled is images else self._describer.describe(scaled).descriptors

        return Description(describe_at_scales(describe, images, self._scales, self._pool, zoom), plain.depth)


def _check(scales: Sequence[float], pool: str) -> None:
    """Raises ConfigError."""
    if pool not in POOLS:
        raise ConfigError(f"unknown pooling '{pool}' of scales: choose one of {', '.join(POOLS)}")
    if not scales or not all(0 < scale < np.inf for scale in scales):
        raise ConfigError(f"scales are {list(scales)}: give at least one, each greater than 0")


def rescale(images: np.ndarray, scale: float, fixed_size: bool = False, multiple: int = 16) -> np.ndarray:
    """(B, H, W, 3) uint8 -> the same at ``scale`` times the size, or what comes nearest to it at the same size.

    Resized, its sides are rounded to a multiple of ``multiple`` pixels, at least one. Of a fixed size, a scale above 1
    gives the middle 1/scale of the image, seen nearer but with less around it; one below 1 the image shrunk and
    enlarged again, which leaves its coarse structure alone. (The published code resizes to 1/scale of the size and back
    to the fixed one, so that its scales below 1 change next to nothing.)
    """
    if scale == 1:
        return images
    height, width = images.shape[1:3]
    if not fixed_size:
        rows, columns = (max(1, round(scale * size / multiple)) * multiple for size in (height, width))
        return _resize(images, rows, columns)
    if scale < 1:
        return _resize(_resize(images, max(1, round(scale * height)), max(1, round(scale * width))), height, width)
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    return _resize(images[:, top : top + rows, left : left + columns], height, width)


def _resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """By area if the image shrinks, bilinear if it grows."""
    import cv2

    method = cv2.INTER_AREA if height * width < images.shape[1] * images.shape[2] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (width, height), interpolation=method) for image in images])
