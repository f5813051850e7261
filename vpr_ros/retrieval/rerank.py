"""What looks again at the places a search found, and may put them in another order.

Calibration and filter judge similarities, and what a second look measures is none. A re-ranker therefore gives an order
and nothing else: the similarities stay, sorted as the search found them, and go to the places in their new order, so
that the place now first gets the best one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from vpr_ros import geometry
from vpr_ros.config import LocalizerConfig
from vpr_ros.errors import ConfigError, MapError
from vpr_ros.image import preprocess
from vpr_ros.inference.describer import Describer, open_describer
from vpr_ros.inference.geowarp import OnnxGeoWarp
from vpr_ros.retrieval.calibration import Calibration
from vpr_ros.retrieval.centring import SessionMean, centred, map_mean
from vpr_ros.retrieval.ensemble import nearest_indices_first, shared_indices_first
from vpr_ros.retrieval.index import Index
from vpr_ros.retrieval.observation import ObservationModel
from vpr_ros.retrieval.place_map import PlaceMap
from vpr_ros.retrieval.places import Neighbours, Places
from vpr_ros.retrieval.thumbnails import GeoWarpLook, LocalFeatureLook, Look, ThumbnailReranker

_SAME_PLACE_M = 2.0
_SAME_HEADING = np.radians(30.0)
_LEAST_SHARED = 0.5  # of the smaller of two maps


class Reranker(Protocol):
    """A second look at what the search found. Not thread-safe: one caller at a time."""

    name: str  # of its time in ``Estimate.timings_ms``

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The image as the camera gave it, (H, W, 3) uint8, rows (K,) of places and their standard scores (K,)
        (``observation.standard_scores``), best first -> rows (K,), all different, best first. Places that the search
        did not find may be among them.
        """
        ...

    def reset(self) -> None:
        """Forget the images before. A copy that is reset shares no memory of them."""
        ...


def open_rerankers(
    place_map: PlaceMap, config: LocalizerConfig, backend: str = "auto", threads: int = 0
) -> list[Reranker]:
    """Those that a configuration asks for, in the order they are to look.

    place_map: stays open as long as they are used. Raises MapError, ModelError or ConfigError, one sentence each.
    """
    rerankers: list[Reranker] = []
    looks: list[Look] = []
    if config.second_map:
        rerankers.append(Ensemble.open(place_map, Path(config.second_map), config, backend, threads))
    elif config.second_model:
        raise ConfigError("second_model is the network of second_map: set second_map too, or neither")
    if config.geowarp:
        looks.append(GeoWarpLook(OnnxGeoWarp(Path(config.geowarp), threads)))
    if config.local_features:
        looks.append(LocalFeatureLook.open(config.local_features, threads))
    rerankers += [ThumbnailReranker(place_map, look, config.rerank_candidates) for look in looks]
    return rerankers


class Ensemble:
    """A second network searches a second map of the same drives, and the two lists become one.

    By distance (NIF), similarities are judged against the image's own to the whole of their map: a network whose
    cosines all lie near 1 would else win every time, whatever it found.
    """

    name = "ensemble"

    def __init__(
        self,
        describer: Describer,
        places: Places,
        rows: np.ndarray,
        config: LocalizerConfig | None = None,
        index: Index | None = None,
    ) -> None:
        """places: of the second map. rows: (N,) which row of the first map each of them is, or -1. index: with
        ``map_mean`` taken from it.
        """
        config = config or LocalizerConfig()
        self._describer, self._rows, self._how = describer, rows, config.ensemble
        self._mean = map_mean(places, config)
        self._index = index or Index.build(centred(places.descriptors, self._mean), config.index)
        self._observation = ObservationModel(places, Calibration(), self._mean)
        self.reset()

    @classmethod
    def open(cls, first: PlaceMap, path: Path, config: LocalizerConfig, backend: str, threads: int) -> Ensemble:
        """With a stored map. Raises MapError where it cannot be read or does not belong to the first one."""
        with PlaceMap.open(path) as second:
            describer = open_describer(config.second_model or second.model.name, backend, threads)
            second.check_model(describer.manifest.name, describer.manifest.fingerprint)
            rows = rows_of_same_places(first, second)
            index = Index.of_map(second, config.index, map_mean(second.places, config))
            return cls(describer, second.places, rows, config, index)

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker."""
        image = preprocess(image_rgb, self._describer.manifest.preprocessing)
        descriptor = self._session_mean.centred(self._describer.describe(image[None]).descriptors[0])
        similarities, found = self._index.search(descriptor, len(rows))
        known = self._rows[found] >= 0
        other_rows = self._rows[found[known]]
        if self._how == "sif":
            merged = shared_indices_first(rows, other_rows)
        else:
            other_scores = self._observation.scores(descriptor, similarities[known])
            merged, _ = nearest_indices_first(rows, -scores, other_rows, -other_scores)
        return merged[: len(rows)]

    def reset(self) -> None:
        """Forget the session's light and season."""
        self._session_mean = SessionMean(self._mean)


def rows_of_same_places(first: PlaceMap, second: PlaceMap) -> np.ndarray:
    """(N,) int64: which row of the first map each place of the second is, -1 where none.

    The same image, by drive and stamp; else the nearest place of the same heading within 2 m. Raises MapError where the
    two share less than half the places of the smaller one.
    """
    fault = f"{second.path} is no map of the drives of {first.path}"
    if first.world != second.world:
        raise MapError(f"{fault}: it lies in world '{second.world}', not '{first.world}'")
    own, other = first.whereabouts, second.whereabouts
    numbers = {key: row for row, key in enumerate(_images(own))}
    rows = np.array([numbers.get(key, -1) for key in _images(other)], np.int64)
    alone = np.flatnonzero(rows < 0)
    rows[alone] = _nearest(other.subset(alone), own, second.origin - first.origin)
    shared, least = len(np.unique(rows[rows >= 0])), min(len(own), len(other))
    if shared < max(_LEAST_SHARED * least, 1):
        raise MapError(f"{fault}: they share {shared} of {least} places; build both from the same drives")
    return rows


def _images(places: Places) -> list[tuple[str, int]]:
    return list(zip(places.drives.tolist(), places.stamps_ns.tolist(), strict=True))


def _nearest(places: Places, among: Places, offset: np.ndarray) -> np.ndarray:
    """(M,) row of the nearest one among others that looks the same way, -1 where none. offset: (3,) m, to add."""
    rows = np.full(len(places), -1, np.int64)
    asked, found, distances = Neighbours(among.positions, _SAME_PLACE_M).near(places.positions + offset)
    turned = np.abs(geometry.wrap_angle(places.headings[asked] - among.headings[found]))
    kept = np.flatnonzero(turned <= _SAME_HEADING)
    kept = kept[np.argsort(-distances[kept], kind="stable")]  # the nearest is written last
    rows[asked[kept]] = found[kept]
    return rows
