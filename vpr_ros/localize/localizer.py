"""The localiser, the whole algorithm on one page: an image in, ranked poses with probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.config import check
from vpr_ros.base.errors import FrameError, MapError, check_path
from vpr_ros.base.image import NOTHING, has_content, preprocess
from vpr_ros.base.records import Estimate, Frame, Hypothesis, Prior, likeliest
from vpr_ros.base.registry import guarding, load, parse
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.guard import GuardedDescriber
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.localize.constants import NEAR, VIEW_CHANGE
from vpr_ros.localize.eye import STUCK, Eye
from vpr_ros.localize.hypotheses import cluster
from vpr_ros.localize.observation import ObservationModel
from vpr_ros.localize.prior import PriorModel
from vpr_ros.localize.ranking import ranking
from vpr_ros.localize.rerank import RerankContext, Reranker, open_rerankers, reranked
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.temporal import BayesFilter
from vpr_ros.localize.view_change import ViewChange
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.index import Index
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.tiled_map import index_of, open_map

if TYPE_CHECKING:
    from vpr_ros.localize.metric import MetricStage

NO_CONTENT = f"{NOTHING}, so it is no evidence: check the camera"


def check_has_places(places: Places) -> None:
    """Raises MapError for a map without places."""
    if not len(places):
        raise MapError("the map has no places: add a drive to it with `vpr map add MAP DRIVE`")


class Localizer:
    """Where was this image taken? The live node, replay and evaluation use this object; one caller at a time.

    Use ``open`` in a ``with`` statement: the localiser then owns the map file and closes it. State is kept from image
    to image: the Bayes filter, and for each camera the session's mean descriptor and the last view. Re-rankers may
    keep some too.
    """

    def __init__(
        self,
        places: Places,
        describer: Describer,
        config: LocalizerConfig | None = None,
        calibration: Calibration | None = None,
        index: Index | None = None,
        rerankers: Sequence[Reranker] = (),
        place_map: PlaceMap | None = None,
        metric: MetricStage | None = None,
    ) -> None:
        """index: of the places' descriptors, centred on ``map_mean``. rerankers: applied in this order.

        metric: measures the best pose; None: it is that of the places. place_map: closed by ``close``. Raises MapError
        for a map without places, ConfigError for a value of config that is out of range.
        """
        check_has_places(places)
        self.config = LocalizerConfig() if config is None else config
        check(self.config, LocalizerConfig, "config")
        self.calibration = calibration or Calibration()
        self.places = places
        self.describer = describer
        self.rerankers = tuple(rerankers)
        mean = map_mean(places, self.config.search.mean_centring)
        self.index = index or Index.build(centred(places.descriptors, mean), self.config.search.index)
        self.observation = ObservationModel(places, self.calibration, mean)
        self.rig = Rig(places)
        self.eyes = [Eye(SessionMean(mean), ViewChange(places))]
        self.prior = PriorModel(self.rig)
        self.filter = BayesFilter(places, self.config.filter, self.calibration, self.rig)
        self.metric = metric
        self._place_map = place_map
        self._near_searches = 0  # since the whole map was searched

    @classmethod
    def open(
        cls,
        map_path: str | Path,
        model: str = "",
        backend: str = "auto",
        config: LocalizerConfig | None = None,
        threads: int = 0,
        wait: bool = True,
    ) -> Localizer:
        """A localiser on a stored map: a .vprmap file, or tiles in a folder or at an http(s) address.

        model: path or name of a model; by default the one that built the map. backend: see ``open_describer``. threads:
        CPU threads of the network; 0: all cores. wait: whether an image waits for the tiles that it needs; see
        ``TiledMap.open_tiles``. Raises MapError, ModelError or ConfigError, one sentence each, if map
        and model do not fit each other or cannot be read.
        """
        config = LocalizerConfig() if config is None else config
        check(config, LocalizerConfig, "config")
        check_path(map_path, "a map")
        place_map = open_map(map_path, wait)
        try:
            describer = open_describer(model or place_map.model.name, backend, threads)
            place_map.prepare(describer)
            if config.search.describer:
                name, options = parse(config.search.describer, "search.describer")
                opened = load("vpr.describers", name, {}, "describer")
                with guarding("describer", name):
                    describer = GuardedDescriber(opened(describer, options), "describer", name)
            mean = map_mean(place_map.places, config.search.mean_centring)
            index = index_of(place_map, config.search.index, mean).on(config.search.device)
            rerankers = open_rerankers(RerankContext(place_map, config, backend, threads))
            metric = None
            if config.metric.enabled:  # the import takes OpenCV
                from vpr_ros.localize.metric import MetricStage

                metric = MetricStage.open(place_map, config, threads)
            return cls(place_map.places, describer, config, place_map.calibration, index, rerankers, place_map, metric)
        except BaseException:
            place_map.close()
            raise

    @property
    def place_map(self) -> PlaceMap:
        """The map file that ``open`` opened. Raises MapError if the localiser was made from places in memory."""
        if self._place_map is None:
            raise MapError("this localiser has places in memory and no map file: use Localizer.open")
        return self._place_map

    def close(self) -> None:
        """Close the map file."""
        if self._place_map is not None:
            self._place_map.close()

    def __enter__(self) -> Localizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def alone(self) -> Localizer:
        """A localiser for single images: it does not use or update the filter and mean of this one.

        It does not own the map file, and measures no poses: the images may be of another camera.
        """
        config = replace(self.config, filter=replace(self.config.filter, enabled=False))
        rerankers = [copy(reranker) for reranker in self.rerankers]
        return Localizer(self.places, self.describer, config, self.calibration, self.index, rerankers)

    @property
    def unmeasurable(self) -> str:
        """Why no pose is measured although ``metric.enabled`` is set, one sentence; else empty."""
        if not self.config.metric.enabled or self.metric is not None or self._place_map is None:
            return ""
        return (
            f"{self._place_map.path} has no local features, so poses are not measured: build it again with "
            "--local-features xfeat, or set metric.enabled:=false"
        )

    def localize(self, frame: Frame) -> Estimate:
        """Localise one image.

        Raises ImageError if it is not an (H, W, 3) uint8 RGB array, FrameError for an invalid stamp, pose or prior.
        """
        if not isinstance(frame, Frame):
            raise FrameError(f"localize takes a Frame, not {type(frame).__name__}: give Frame(stamp_ns, image_rgb)")
        frame.check()
        start = perf_counter()
        image = preprocess(frame.image_rgb, self.describer.manifest.preprocessing)
        preprocessed = perf_counter()
        description = self.describer.describe(image[None])
        described = perf_counter()
        timings_ms = {"preprocess": 1e3 * (preprocessed - start), "network": 1e3 * (described - preprocessed)}
        depth = None
        if description.depth is not None:
            depth = self.describer.manifest.metres(description.depth[0], frame.intrinsics)
        return self.recognise(
            frame.stamp_ns,
            description.descriptors[0],
            T_odom_camera=frame.T_odom_camera,
            depth=depth,
            timings_ms=timings_ms,
            image_rgb=frame.image_rgb,
            problem="" if has_content(image) else NO_CONTENT,
            priors=frame.priors,
            intrinsics=frame.intrinsics,
            camera=frame.camera,
            T_base_camera=frame.T_base_camera,
        )

    def recognise(
        self,
        stamp_ns: int,
        descriptor: np.ndarray,
        T_odom_camera: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        timings_ms: dict[str, float] | None = None,
        image_rgb: np.ndarray | None = None,
        problem: str = "",
        priors: Sequence[Prior] = (),
        intrinsics: Intrinsics | None = None,
        camera: str = "",
        T_base_camera: np.ndarray | None = None,
    ) -> Estimate:
        """The steps after the network: search, re-ranking, filter over time, hypotheses, metric pose.

        stamp_ns: a stamp before the last one (a looped bag) resets the localiser first. descriptor: (D,) float32.
        T_odom_camera: (4, 4) or None. depth: passed on to the estimate. timings_ms: of the steps before. image_rgb: for
        re-rankers and the metric pose, which are skipped without it. problem: why the image is no evidence; empty if it
        is. priors: what other sources say of the position. intrinsics: of the image; without them no pose is measured.
        camera, T_base_camera: see ``Frame``.
        """
        start = perf_counter()
        dimension = self.places.descriptors.shape[2]
        if np.shape(descriptor) != (dimension,) or not np.isfinite(descriptor).all():
            raise FrameError(f"recognise takes a finite descriptor of {dimension} numbers")
        for one in priors:
            one.check()
        number, eye = self._camera(camera, T_base_camera)
        if not self.config.filter.enabled or self.filter.is_past(stamp_ns, number):
            self.reset()
        prior = self._started_at(priors, number)
        change = None if problem else eye.view_change.to(descriptor, self.filter.belief, eye.session_mean)
        if change is not None:
            began = eye.look(stamp_ns, change, T_odom_camera, self.places.spacing)
            heard = [other for other in self.eyes if stamp_ns - other.last[0] < VIEW_CHANGE.heard_ns]
            if began and all(other.is_stuck for other in heard):  # else another camera corrects the belief
                self.filter.reset()  # it held the robot at that view while it drove
            if eye.is_stuck:
                problem, change = STUCK, None
        descriptor = centred(descriptor, eye.session_mean.mean) if problem else eye.session_mean.centred(descriptor)
        T_odom_first = None if T_odom_camera is None else self.rig.T_odom_first(number, T_odom_camera)
        self.filter.predict(stamp_ns, T_odom_first, change, number)
        likely = self.filter.likely()
        near = self.rig.seen(number, np.concatenate([likely, self.prior.near(prior)]))
        near = self.places.readable(np.unique(near[near >= 0]))
        sure = prior is not None or self.filter.belief.at(likely).sum() >= NEAR.belief
        similarities, rows, found = self._found(descriptor, near if sure else near[:0])
        near = np.setdiff1d(near, rows, assume_unique=True)
        of_near = self.observation.similarities(descriptor, near)
        timings_ms = {**(timings_ms or {}), "search": 1e3 * (perf_counter() - start)}
        if self.rerankers and image_rgb is not None and len(rows):
            scores = self.observation.scores(descriptor, similarities)
            rows = self._reranked(image_rgb, rows, scores, timings_ms)
            others = ~np.isin(near, rows)
            near, of_near = near[others], of_near[others]
        searched = perf_counter()
        compared = np.concatenate([rows, near])
        of_compared = np.concatenate([similarities, of_near])
        evidence = None
        if not problem:
            of_places = self.observation.log_ratios(descriptor, of_compared, compared)
            evidence = self.rig.evidence(number, of_places, self.filter.belief.rows)
        belief = self.filter.weigh(evidence, number)
        if prior is not None:
            belief = belief.weighed(prior)
            if evidence is not None:
                both = evidence.plus(prior).at(self.rig.cells_of(number, compared))
                rows, similarities = self._ranked(compared, of_compared, both)
        self.places.attend(self.rig.places_of(belief.places.rows), belief.places.values, found, self.filter.position)
        wanted = self.config.hypotheses
        hypotheses: Sequence[Hypothesis]
        hypotheses, off_map = cluster(belief, self.rig, self.calibration, wanted.radius, wanted.count, number)
        of_rows = self.rig.at_places(number, belief.places).at(rows)
        matches = ranking(self.places, self.calibration, rows, similarities, of_rows)
        timings_ms["answer"] = 1e3 * (perf_counter() - searched)
        if self.metric is not None and image_rgb is not None and intrinsics is not None and not problem:
            start = perf_counter()
            if likeliest(hypotheses, off_map) is not None:
                hypotheses = self.metric.measured(hypotheses, image_rgb, depth, intrinsics, T_odom_camera, T_odom_first)
            timings_ms[self.metric.name] = 1e3 * (perf_counter() - start)
        kept = 1.0 if change is None else change.kept
        return Estimate(stamp_ns, hypotheses, matches, off_map, depth, timings_ms, problem, kept)

    def _camera(self, name: str, T_base_camera: np.ndarray | None) -> tuple[int, Eye]:
        """Number and state of a camera, which joins the others if it is new."""
        number = self.rig.number(name, T_base_camera)
        if number == len(self.eyes):
            self.eyes.append(self.eyes[0].another())
            self.filter.add_camera()
        return number, self.eyes[number]

    def _found(self, descriptor: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Exact similarities (K,), highest first, and rows (K,): an index may know them roughly only.

        Also the rows (F,) that the index gave, whether they can be compared or not. near: rows (M,) of places where
        the camera should be; if it is, no others of a large map are searched.
        """
        is_large, wanted = len(self.places) >= NEAR.places, self.config.search.matches
        if is_large and len(near) and self._near_searches < NEAR.every - 1:
            similarities = self.observation.similarities(descriptor, near)
            rows, similarities = self._ranked(near, similarities, similarities)
            if self.observation.log_ratios(descriptor, similarities, rows).values.max() >= NEAR.evidence:
                self._near_searches += 1
                return similarities, rows, rows[:0]
        self._near_searches = 0
        _, found = self.index.search(descriptor, max(wanted, NEAR.candidates) if is_large else wanted)
        rows = self.places.readable(found)
        similarities = self.observation.similarities(descriptor, rows)
        rows, similarities = self._ranked(rows, similarities, similarities)
        return similarities, rows, found

    def _started_at(self, priors: Sequence[Prior], camera: int) -> SparseValues | None:
        """Begin again at the lasting priors. Evidence of the others for this image, None without any."""
        lasting = self.prior.log_ratios([prior for prior in priors if prior.lasting], camera)
        if lasting is not None:
            for eye in self.eyes:
                eye.view_change.reset()
            self.filter.start_at(lasting)
        return self.prior.log_ratios([prior for prior in priors if not prior.lasting], camera)

    def _ranked(
        self, rows: np.ndarray, similarities: np.ndarray, evidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The places with the most evidence (K,), and their similarities."""
        best = np.argsort(-evidence, kind="stable")[: self.config.search.matches]
        return rows[best], similarities[best]

    def _reranked(
        self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray, timings_ms: dict[str, float]
    ) -> np.ndarray:
        """Rows (K,), best first, after all re-rankers. The time of each is added to the timings."""
        for reranker in self.rerankers:
            start = perf_counter()
            rows = reranked(reranker, image_rgb, rows, scores, len(self.places))
            before_ms = timings_ms.get(reranker.name, 0.0)  # two may have one name
            timings_ms[reranker.name] = before_ms + 1e3 * (perf_counter() - start)
        return rows

    def restart_odometry(self) -> None:
        """The next pose of odometry is unrelated to those before: the motion up to it is unknown."""
        self.filter.restart_odometry()
        for eye in self.eyes:
            eye.forget_odometry()
        if self.metric is not None:
            self.metric.reset()

    def reset(self) -> None:
        """Forget all images so far: filter, mean-centring and re-rankers."""
        for eye in self.eyes:
            eye.reset()
        self.filter.reset()
        self._near_searches = 0
        if self.metric is not None:
            self.metric.reset()
        for reranker in self.rerankers:
            reranker.reset()
