"""Re-rankers: reorder the retrieved candidates.

Calibration and filter judge similarities, which a re-ranker does not measure. A re-ranker therefore changes the order
and nothing else: the similarities stay sorted as the search found them and go to the places in their new order, so
that the place now first gets the highest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vpr_ros.base.registry import load, parse
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.maps.place_map import PlaceMap

GROUP = "vpr.rerankers"
OWN = {"local_features": "vpr_ros.localize.thumbnails:open_local_features"}
_WHERE = "rerank.methods"


class Reranker(Protocol):
    """Reorders what the search found. Not thread-safe: one caller at a time."""

    name: str  # of its time in ``Estimate.timings_ms``

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The image as the camera gave it, (H, W, 3) uint8, rows (K,) of places and their standard scores (K,)
        (``maps.scores``), best first -> rows (K,), all different, best first. Places that the search did not find may
        be among them.
        """
        ...

    def reset(self) -> None:
        """Forget the images before. A copy that is reset shares no memory of them."""
        ...


@dataclass(frozen=True)
class RerankContext:
    """What a re-ranker is opened for.

    place_map: stays open as long as the re-ranker is used. backend, threads: for networks of its own, as for the
    localiser's.
    """

    place_map: PlaceMap
    config: LocalizerConfig
    backend: str = "auto"
    threads: int = 0


def open_rerankers(context: RerankContext) -> list[Reranker]:
    """The re-rankers of ``rerank.methods``, in their order.

    Each name stands for a function ``open(context, **options) -> Reranker``: this package's, or one that another
    package registers as an entry point of group ``vpr.rerankers``. Raises ConfigError for an unknown name or option;
    MapError or ModelError if one does not fit the map or cannot be read.
    """
    opened: list[Reranker] = []
    for text in context.config.rerank.methods:
        name, options = parse(text, _WHERE)
        opened.append(load(GROUP, name, OWN, "re-ranker")(context, options))
    return opened
