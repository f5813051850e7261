"""Photographs beside the rendered views that were found for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_lab.simulation.views import ViewDatabase
from vpr_lab.systems.crosslocate.data import Queries
from vpr_lab.systems.crosslocate.evaluate import CrossLocateScores
from vpr_lab.systems.topk import Images, draw_topk

_NEAR_M, _FAR_M = 2.0, 200.0


def draw_found(
    scores: CrossLocateScores, views: ViewDatabase, photographs: Queries, path: Path, within_m: float
) -> Path:
    """Draw some photographs beside the first five views found for each, as depth; returns the picture's path.

    A view nearer than within_m, whatever its direction, is framed green, others red; see lab.topk.
    """
    queries = _Album(f"photographs of {photographs.world}", photographs.images, photographs.position[:, :2])
    reference = _Album("rendered views", _DepthPictures(views), views.position[:, :2])
    return draw_topk(queries, reference, scores.ranking, path, within_m)


def depth_picture(depth_m: np.ndarray) -> np.ndarray:
    """(H, W) metres, 0 for the sky -> (H, W, 3) uint8 RGB: red at 2 m over green to blue at 200 m, the sky black."""
    metres = np.asarray(depth_m, np.float32)
    nearness = np.log(_FAR_M / np.clip(metres, _NEAR_M, _FAR_M)) / np.log(_FAR_M / _NEAR_M)
    coloured = cv2.applyColorMap(np.round(255 * nearness).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(metres[..., None] > 0, coloured, 0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _DepthPictures:
    """Views by their rows, coloured as they are asked for: a database is larger than memory."""

    views: ViewDatabase

    def __getitem__(self, row: int, /) -> np.ndarray:
        return depth_picture(self.views.depth[row])


@dataclass(frozen=True, eq=False)
class _Album:
    name: str
    images: Images
    position: np.ndarray
