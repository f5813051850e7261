"""The whole algorithm on one page: an image in, a ranked and honest answer out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from vpr_ros.config import LocalizerConfig
from vpr_ros.errors import MapError
from vpr_ros.image import preprocess
from vpr_ros.inference.describer import Describer, open_describer
from vpr_ros.inference.multiscale import MultiScaleDescriber
from vpr_ros.records import Estimate, Frame
from vpr_ros.retrieval.calibration import Calibration
from vpr_ros.retrieval.centring import SessionMean, centred, map_mean
from vpr_ros.retrieval.hypotheses import cluster
from vpr_ros.retrieval.index import Index
from vpr_ros.retrieval.observation import ObservationModel
from vpr_ros.retrieval.place_map import PlaceMap
from vpr_ros.retrieval.places import Places
from vpr_ros.retrieval.ranking import ranking
from vpr_ros.retrieval.rerank import Reranker, open_rerankers
from vpr_ros.retrieval.temporal import BayesFilter


class Localizer:
    """Where is this image on this map? Live node, replay and evaluation all use this object; one caller at a time."""

    def __init__(
        self,
        places: Places,
        describer: Describer,
        config: LocalizerConfig | None = None,
        calibration: Calibration | None = None,
        index: Index | None = None,
        rerankers: Sequence[Reranker] = (),
    ) -> None:
        """index: with ``map_mean`` taken from it, as ``open`` makes it. rerankers: in the order they look.

        Raises MapError for a map without places, ConfigError for scales that cannot be.
        """
        if len(places) == 0:
            raise MapError("the map has no places: add a drive to it with `vpr map add MAP DRIVE`")
        self.config = config or LocalizerConfig()
        self.calibration = calibration or Calibration()
        self.places = places
        self.describer = describer
        scales, pool = self.config.scales, self.config.scale_pool
        self.scales = MultiScaleDescriber(describer, scales, pool) if scales else None
        self.rerankers = tuple(rerankers)
        mean = map_mean(places, self.config)
        self.index = index or Index.build(centred(places.descriptors, mean), self.config.index)
        self.session_mean = SessionMean(mean)
        self.observation = ObservationModel(places, self.calibration, mean)
        self.filter = BayesFilter(places, self.config, self.calibration)
        self.place_map: PlaceMap | None = None

    @classmethod
    def open(
        cls,
        map_path: Path,
        model: str = "",
        backend: str = "auto",
        config: LocalizerConfig | None = None,
        threads: int = 0,
    ) -> Localizer:
        """A localiser on a stored map.

        model: path or name of a model; the map's own by default. Raises MapError, ModelError or ConfigError, one
        sentence each, where the two do not fit or cannot be read.
        """
        place_map = PlaceMap.open(Path(map_path))
        try:
            describer = open_describer(model or place_map.model.name, backend, threads)
            place_map.check_model(describer.manifest.name, describer.manifest.fingerprint)
            config = config or LocalizerConfig()
            index = Index.of_map(place_map, config.index, map_mean(place_map.places, config))
            localizer = cls(place_map.places, describer, config, place_map.calibration, index)
            localizer.rerankers = tuple(open_rerankers(place_map, config, backend, threads))
        except BaseException:
            place_map.close()
            raise
        localizer.place_map = place_map
        return localizer

    def alone(self) -> Localizer:
        """The same for images by themselves: neither remembers, or disturbs the memory of this one."""
        config, rerankers = replace(self.config, filter=False), [copy(reranker) for reranker in self.rerankers]
        return Localizer(self.places, self.describer, config, self.calibration, self.index, rerankers)

    def localize(self, frame: Frame) -> Estimate:
        """One image -> where it was taken. Raises ImageError for an image that is none."""
        start = perf_counter()
        image = preprocess(frame.image_rgb, self.describer.manifest.preprocessing)
        preprocessed = perf_counter()
        description = self.describer.describe(image[None])
        described = perf_counter()
        timings_ms = {"preprocess": 1e3 * (preprocessed - start), "network": 1e3 * (described - preprocessed)}
        if self.scales is not None:
            description = self.scales.pooled(image[None], description)
            timings_ms["scales"] = 1e3 * (perf_counter() - described)
        depth = None if description.depth is None else description.depth[0]
        seen = description.descriptors[0], frame.T_odom_camera, depth, timings_ms
        return self.recognise(frame.stamp_ns, *seen, frame.image_rgb)

    def recognise(
        self,
        stamp_ns: int,
        descriptor: np.ndarray,
        T_odom_camera: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        timings_ms: dict[str, float] | None = None,
        image_rgb: np.ndarray | None = None,
    ) -> Estimate:
        """The half after the network: descriptor (D,) float32 -> search, filter over time, hypotheses.

        image_rgb: for re-rankers, which look at nothing without it. A stamp before the last one (a looped bag) resets
        first.
        """
        start = perf_counter()
        if not self.config.filter or self.filter.is_past(stamp_ns):
            self.reset()
        descriptor = self.session_mean.centred(descriptor)
        similarities, rows = self.index.search(descriptor, self.config.matches)
        timings_ms = {**(timings_ms or {}), "search": 1e3 * (perf_counter() - start)}
        if self.rerankers and image_rgb is not None:
            scores = self.observation.scores(descriptor, similarities)
            rows = self._reranked(image_rgb, rows, scores, timings_ms)
        searched = perf_counter()
        log_ratios = self.observation.log_ratios(descriptor, similarities, rows)
        belief = self.filter.update(log_ratios, stamp_ns, T_odom_camera)
        hypotheses, off_map = cluster(
            belief, self.places, self.calibration, self.config.cluster_radius, self.config.hypotheses
        )
        matches = ranking(self.places, self.calibration, rows, similarities, belief.places[rows])
        timings_ms["answer"] = 1e3 * (perf_counter() - searched)
        return Estimate(stamp_ns, hypotheses, matches, off_map, depth, timings_ms)

    def _reranked(
        self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray, timings_ms: dict[str, float]
    ) -> np.ndarray:
        """rows (K,), best first, in the order of the last re-ranker; what each took is added to the timings."""
        for reranker in self.rerankers:
            start = perf_counter()
            rows = reranker.rerank(image_rgb, rows, scores)
            timings_ms[reranker.name] = 1e3 * (perf_counter() - start)
        return rows

    def reset(self) -> None:
        """Forget the past: the next answer comes from its image alone."""
        self.session_mean.reset()
        self.filter.reset()
        for reranker in self.rerankers:
            reranker.reset()
