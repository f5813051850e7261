"""Re-rankers: reorder the retrieved candidates.

Calibration and filter need similarities, which a re-ranker does not measure. A re-ranker therefore changes the order
alone. The similarities stay sorted and are assigned to the places in their new order: the first place gets the highest
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vpr_ros.base.errors import ConfigError, brief
from vpr_ros.base.registry import guarding, load, parse
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.maps.place_map import PlaceMap

GROUP = "vpr.rerankers"
OWN = {"local_features": "vpr_ros.localize.thumbnails:open_local_features"}
_WHERE = "rerank.methods"
_STEPS = ("preprocess", "network", "search", "answer", "metric")  # keys of ``Estimate.timings_ms``


class Reranker(Protocol):
    """Reorders the retrieved places. Not thread-safe: one caller at a time."""

    name: str  # key of its time in ``Estimate.timings_ms``

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return rows (K,) in a new order, best first.

        image_rgb: (H, W, 3) uint8, as the camera gave it. rows: (K,) of places, best first. scores: (K,) their standard
        scores (``maps.scores``). The result holds distinct rows; places that the search did not find are allowed.
        """
        ...

    def reset(self) -> None:
        """Forget all images so far. A copy that is reset shares no state with the original."""
        ...


@dataclass(frozen=True)
class RerankContext:
    """What a re-ranker is opened with.

    place_map: stays open as long as the re-ranker is used. config: of the localiser. backend, threads: of networks
    that the re-ranker runs, as in ``Localizer.open``.
    """

    place_map: PlaceMap
    config: LocalizerConfig
    backend: str = "auto"
    threads: int = 0


def open_rerankers(context: RerankContext) -> list[Reranker]:
    """The re-rankers of ``rerank.methods``, in that order.

    A name stands for a function ``open(context, options) -> Reranker`` of this package, or of another package that
    registers it as an entry point of group ``vpr.rerankers``. Raises ConfigError for an unknown name or option,
    MapError or ModelError if a re-ranker does not fit the map or cannot be read.
    """
    opened: list[Reranker] = []
    for text in context.config.rerank.methods:
        name, options = parse(text, _WHERE)
        make = load(GROUP, name, OWN, "re-ranker")
        with guarding("re-ranker", name):
            made = make(context, options)
        if not all(hasattr(made, part) for part in ("name", "rerank", "reset")):
            raise ConfigError(f"re-ranker '{name}' opens {type(made).__name__}, which lacks name, rerank or reset")
        if made.name in _STEPS:
            raise ConfigError(f"re-ranker '{name}' is called {made.name}, as a step of the localiser is: rename it")
        opened.append(made)
    return opened


def reranked(
    reranker: Reranker, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray, places: int
) -> np.ndarray:
    """``Reranker.rerank``. Raises ConfigError, which names it, if it fails or returns other than rows of places.

    places: number of those of the map.
    """
    with guarding("re-ranker", reranker.name):
        found = np.asarray(reranker.rerank(image_rgb, rows.copy(), scores.copy()))
        right = found.shape == rows.shape and found.dtype.kind in "iu" and len(np.unique(found)) == len(found)
        if not right or found.min() < 0 or found.max() >= places:
            raise ConfigError(
                f"re-ranker '{reranker.name}' returns {brief(found)}: give {len(rows)} different rows of places, "
                f"integers from 0 to {places - 1}"
            )
    return found
