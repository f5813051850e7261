"""The re-ranker ``ensemble``: a second network with a map of its own (Carachino, Di Gangi: ensembles of localisers)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_lab.plugins.ensemble import nearest_indices_first, shared_indices_first
from vpr_ros.base import geometry
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import preprocess
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.localize.observation import ObservationModel
from vpr_ros.localize.rerank import RerankContext
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.index import Index
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Neighbours, Places

_SAME_PLACE_M = 2.0
_SAME_HEADING = np.radians(30.0)
_LEAST_SHARED = 0.5  # of the smaller of two maps


@dataclass(frozen=True)
class EnsembleOptions:
    """``ensemble map=FILE model=NAME merge=nif``."""

    map: str = option("", "the second network's map of the same drives, a .vprmap file")
    model: str = option("", "its network, by name or path; empty: the one the map was made with")
    merge: str = option("nif", "nif: by distance; sif: what both found first", choices=("nif", "sif"))


def open_ensemble(context: RerankContext, options: Mapping[str, Any]) -> EnsembleReranker:
    """Raises ConfigError without a map, MapError if it cannot be read or does not belong to the first one."""
    chosen = from_dict(EnsembleOptions, dict(options), "re-ranker ensemble")
    if not chosen.map:
        raise ConfigError("the re-ranker ensemble needs a second map: write 'ensemble map=FILE.vprmap'")
    config = context.config
    with PlaceMap.open(Path(chosen.map).expanduser()) as second:
        describer = open_describer(chosen.model or second.model.name, context.backend, context.threads)
        second.check_model(describer.manifest.name, describer.manifest.fingerprint)
        rows = rows_of_same_places(context.place_map, second)
        mean = map_mean(second.places, config.search.mean_centring)
        index = Index.of_map(second, config.search.index, mean)
        return EnsembleReranker(describer, second.places, rows, config, index, chosen.merge)


class EnsembleReranker:
    """A second network searches a second map of the same drives, and the two lists become one.

    By distance (NIF), similarities are normalised by the image's own to its whole map: a network whose
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
        merge: str = "nif",
    ) -> None:
        """places: of the second map. rows: (N,) which row of the first map each of them is, or -1. index: with
        ``map_mean`` taken from it.
        """
        config = config or LocalizerConfig()
        self._describer, self._rows, self._merge = describer, rows, merge
        self._mean = map_mean(places, config.search.mean_centring)
        self._index = index or Index.build(centred(places.descriptors, self._mean), config.search.index)
        self._observation = ObservationModel(places, Calibration(), self._mean)
        self.reset()

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker."""
        image = preprocess(image_rgb, self._describer.manifest.preprocessing)
        descriptor = self._session_mean.centred(self._describer.describe(image[None]).descriptors[0])
        similarities, found = self._index.search(descriptor, len(rows))
        known = self._rows[found] >= 0
        other_rows = self._rows[found[known]]
        if self._merge == "sif":
            merged = shared_indices_first(rows, other_rows)
        else:
            other_scores = self._observation.scores(descriptor, similarities[known])
            merged, _ = nearest_indices_first(rows, -scores, other_rows, -other_scores)
        return merged[: len(rows)]

    def reset(self) -> None:
        """Forget the session's light and season."""
        self._session_mean = SessionMean(self._mean)


def rows_of_same_places(first: PlaceMap, second: PlaceMap) -> np.ndarray:
    """(N,) int64: which row of the first map each place of the second is, -1 if none.

    The same image, by drive and stamp; else the nearest place of the same heading within 2 m. Raises MapError if the
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
    """(M,) row of the nearest one among others that looks the same way, -1 if none. offset: (3,) m, to add."""
    rows = np.full(len(places), -1, np.int64)
    asked, found, distances = Neighbours(among.positions, _SAME_PLACE_M).near(places.positions + offset)
    turned = np.abs(geometry.wrap_angle(places.headings[asked] - among.headings[found]))
    kept = np.flatnonzero(turned <= _SAME_HEADING)
    kept = kept[np.argsort(-distances[kept], kind="stable")]  # the nearest is written last
    rows[asked[kept]] = found[kept]
    return rows
