"""The re-ranker ``geowarp``: each image is warped onto the other, and their features are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_lab.plugins.geowarp import OnnxGeoWarp
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.image import preprocess
from vpr_ros.localize.rerank import RerankContext
from vpr_ros.localize.thumbnails import ThumbnailReranker


@dataclass(frozen=True)
class GeoWarpOptions:
    """``geowarp model=FILE.json``."""

    model: str = option("", "GeoWarp as vpr lab export writes it")


def open_geowarp(context: RerankContext, options: Mapping[str, Any]) -> ThumbnailReranker:
    """Raises ConfigError without a model, ModelError if it cannot be read, MapError for a map without thumbnails."""
    model = from_dict(GeoWarpOptions, dict(options), "re-ranker geowarp").model
    if not model:
        raise ConfigError("the re-ranker geowarp needs a model: write 'geowarp model=FILE.json'")
    look = GeoWarpLook(OnnxGeoWarp(Path(model).expanduser(), context.threads))
    return ThumbnailReranker(context.place_map, look, context.config.rerank.candidates)


class GeoWarpLook:
    """Each image is warped onto the other, and their features compared. (C, h, w) float16 are remembered."""

    name = "geowarp"
    weight = 0.0

    def __init__(self, geowarp: OnnxGeoWarp) -> None:
        self._geowarp = geowarp

    def encode(self, image_rgb: np.ndarray) -> np.ndarray:
        """See Look."""
        image = preprocess(image_rgb, self._geowarp.manifest.preprocessing)
        return self._geowarp.encode(image[None])[0].astype(np.float16)

    def agreement(self, query: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
        """See Look."""
        return self._geowarp.score(query.astype(np.float32), np.stack(places).astype(np.float32))
