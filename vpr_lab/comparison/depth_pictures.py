"""Pictures of images, their true depth and the hallucinated depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import ImageError
from vpr_ros.base.image import preprocess
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluation.style import figure, show_image, styled
from vpr_ros.inference.describer import Describer

NEAR_M, FAR_M = 2.0, 80.0  # the ends of the colours, which go by the logarithm


def draw_depth(describer: Describer, drives: Sequence[Drive], path: Path, count: int = 3) -> Path:
    """Write a picture with a row for each of ``count`` images spread over every drive with depth.

    Unmeasured truth is drawn white; in simulated drives that is the sky.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    colours: dict[str, Any] = {"norm": LogNorm(NEAR_M, FAR_M), "cmap": "viridis_r"}
    rows = [(drive.name, *row) for drive in drives for row in _rows(describer, drive, count)]
    with styled():
        fig, axes = figure(max(1, len(rows)), 3, (8.0, 0.2 + 2.05 * max(1, len(rows))))
        for (name, image, true, seen), (left, middle, right) in zip(rows, axes, strict=False):
            show_image(left, image, name)
            show_image(middle, np.where(true > 0, np.clip(true, NEAR_M, FAR_M), np.nan), "true depth", **colours)
            show_image(right, np.clip(seen, NEAR_M, FAR_M), "depth seen in the image", **colours)
            for ax in (middle, right):
                ax.set_box_aspect(image.shape[0] / image.shape[1])
                ax.images[0].set_extent((0, image.shape[1], image.shape[0], 0))
                ax.set_aspect("auto")
        scale = ScalarMappable(colours["norm"], colours["cmap"])
        bar = fig.colorbar(scale, ax=axes.ravel().tolist(), shrink=0.5, ticks=(2, 5, 10, 20, 40, 80), format="%g m")
        bar.minorticks_off()
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.05)
    return path


def _rows(describer: Describer, drive: Drive, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Image (H, W, 3), true depth (H, W) and hallucinated depth (h, w), metres, of images spread over a drive."""
    wanted = {int((number + 0.5) * len(drive) / count) for number in range(count)}
    rows = []
    for number, frame in enumerate(drive):
        if number not in wanted or frame.read_depth is None:
            continue
        try:
            image, true = frame.read(), frame.read_depth()
        except ImageError:
            continue
        depth = describer.describe(preprocess(image, describer.manifest.preprocessing)[None]).depth
        if depth is not None:
            rows.append((image, true, describer.manifest.metres(depth[0], frame.intrinsics)))
    return rows
