"""A map that grows as the robot drives, and the loops it closes: an image in, measured closures out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import MapError
from vpr_ros.base.image import preprocess, thumbnail
from vpr_ros.base.records import Frame, LoopClosure, Observation
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.loops.agreement import Agreement
from vpr_ros.loops.candidates import Candidate, LoopSearch, closure_of
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import LocalFeatures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Recent:
    """An own keyframe that is too young to be a loop. way: metres driven when it was taken."""

    row: int
    stamp_ns: int
    way: float


class LoopCloser:
    """Have I been here before? Live node and replay use this object; one caller at a time.

    session: the map that grows; its poses are odometry's, one drive for each time odometry began. earlier: other maps
    to close loops on.
    """

    def __init__(
        self,
        session: KeyframeStore,
        describer: Describer,
        config: LoopCloserConfig | None = None,
        earlier: Sequence[KeyframeStore] = (),
        threads: int = 1,
    ) -> None:
        """threads: of the CPU, for local features that a network finds, 0 for all.

        Raises ConfigError for local features nobody knows.
        """
        self.config = config or LoopCloserConfig()
        self.session = session
        self.describer = describer
        self.earlier = list(earlier)
        self.extractor = open_extractor(self.config.features, self.config.feature_count, threads)
        for memory in (session, *self.earlier):
            _check_features(memory.place_map, self.extractor.kind)
        self._searches = [LoopSearch(memory, self.config) for memory in self.earlier]
        self._own = LoopSearch(session, self.config, own=True)
        self._agreement = Agreement(self.config.agreement)
        self.begin()

    @classmethod
    def open(
        cls,
        session: Path,
        earlier: Sequence[Path] = (),
        model: str = "",
        backend: str = "auto",
        config: LoopCloserConfig | None = None,
        threads: int = 0,
    ) -> LoopCloser:
        """A loop closer on files.

        session: created where missing, gone on with where it is there. model: path or name; that of the session, or of
        the first earlier map, by default. Raises MapError, ModelError or ConfigError, one sentence each.
        """
        config = config or LoopCloserConfig()
        session, earlier = Path(session), [Path(path) for path in earlier]
        if session.resolve() in {path.resolve() for path in earlier}:
            raise MapError(
                f"{session} is the session's own map: its past is searched anyway, name other maps beside it"
            )
        names = [path.name for path in earlier]
        if len(set(names)) < len(names):
            raise MapError(f"closures name earlier maps by their files' names, and {', '.join(names)} are not distinct")
        describer = open_describer(model or _model_of([session, *earlier]), backend, threads)
        opened: list[KeyframeStore] = []
        try:
            for path in earlier:
                opened.append(KeyframeStore.open(path, config.index))
                opened[-1].place_map.check_model(describer.manifest.name, describer.manifest.fingerprint)
            manifest = describer.manifest
            map_model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
            calibration = Calibration.from_dict(manifest.calibration) if manifest.calibration else None
            opened.append(KeyframeStore.grow(session, map_model, config.index, calibration))
            return cls(opened[-1], describer, config, opened[:-1], threads)
        except BaseException:
            for memory in opened:
                memory.close()
            raise

    def begin(self) -> None:
        """Odometry begins, or begins anew: what follows is another drive, whose poses have another origin."""
        self.drive = f"{self.session.place_map.path.stem}-{len(self.session.drives) + 1}"
        self._way = 0.0
        self._T_odom_last: np.ndarray | None = None
        self._keyframe: tuple[int, np.ndarray] | None = None
        self._recent: deque[_Recent] = deque()
        self._own.begin()
        self._agreement.reset()
        self.session.admit(len(self.session))

    def observe(self, frame: Frame) -> Observation:
        """One image of the drive, with its odometry.

        It becomes a keyframe, stored when this returns, where the robot has moved on. Raises ImageError for an image
        that is none, MapError where the session cannot be written; ValueError for a frame without odometry.
        """
        if frame.T_odom_camera is None:
            raise ValueError("a map grows by odometry: this frame has none")
        T_odom_camera = frame.T_odom_camera
        if self._T_odom_last is not None:
            self._way += float(np.linalg.norm(T_odom_camera[:3, 3] - self._T_odom_last[:3, 3]))
        self._T_odom_last = T_odom_camera
        if not self._is_keyframe(frame.stamp_ns, T_odom_camera):
            return Observation(frame.stamp_ns, None)
        clock = _Clock()
        image = preprocess(frame.image_rgb, self.describer.manifest.preprocessing)
        clock.lap("preprocess")
        description = self.describer.describe(image[None])
        depth = None if description.depth is None else description.depth[0]
        clock.lap("network")
        descriptor, features = description.descriptors[0], self._features(frame, depth)
        clock.lap("features")
        jpeg = thumbnail(frame.image_rgb)
        row = self.session.add(self.drive, frame.stamp_ns, T_odom_camera, descriptor, features, jpeg)
        self._keyframe = frame.stamp_ns, T_odom_camera
        self._own.passed(self._way)
        self._admit(row, frame.stamp_ns)
        clock.lap("store")
        keyframe_id = self.session.place(row).id
        try:
            closures = self._look_back(frame.stamp_ns, keyframe_id, descriptor, T_odom_camera, features, clock)
        except MapError as error:  # the keyframe is stored whatever an earlier map does
            logger.error("no loops were looked for at keyframe %d: %s", keyframe_id, error)
            closures = []
        return Observation(frame.stamp_ns, keyframe_id, closures, depth, clock.laps_ms, descriptor)

    def _look_back(
        self,
        stamp_ns: int,
        keyframe_id: int,
        descriptor: np.ndarray,
        T_odom_camera: np.ndarray,
        features: LocalFeatures | None,
        clock: _Clock,
    ) -> list[LoopClosure]:
        """Closures that this keyframe gives, and those it confirms."""
        searches = [*([self._own] if self.config.own_past else []), *self._searches]
        candidates = [
            search.candidates(
                descriptor, T_odom_camera, self._way, self._agreement.predicted(search.map_name, T_odom_camera)
            )
            for search in searches
        ]
        clock.lap("search")
        closures = self._closures(searches, candidates, features, T_odom_camera, stamp_ns, keyframe_id)
        believed = self._agreement.judge([c for c in closures if c.verified], T_odom_camera, self._way)
        clock.lap("verify")
        self._keep([closure for closure in believed if not closure.match_map])
        clock.lap("link")
        return believed + [closure for closure in closures if not closure.verified]

    def _keep(self, closures: Sequence[LoopClosure]) -> None:
        """Loops closed on the own past tell which of its keyframes are of one place."""
        links = [Link(c.keyframe_id, c.match_id, c.T_match_query) for c in closures if c.T_match_query is not None]
        if not links:
            return
        try:
            self.session.link(links)
        except MapError as error:  # the closures hold all the same
            logger.error("%d closed loops are not kept: %s", len(links), error)

    def save(self, path: Path) -> None:
        """A whole copy of the session's map as it is now. Raises MapError where it cannot be written."""
        self.session.place_map.save(Path(path))

    def close(self) -> None:
        """Close every map."""
        for memory in (self.session, *self.earlier):
            memory.close()

    def _is_keyframe(self, stamp_ns: int, T_odom_camera: np.ndarray) -> bool:
        """Whether the robot has moved, turned or waited enough since the last one."""
        if self._keyframe is None:
            return True
        last_ns, T_odom_last = self._keyframe
        T = geometry.inverse(T_odom_last) @ T_odom_camera
        turned = np.degrees(np.linalg.norm(geometry.vector_from_rotation(T[:3, :3])))
        moved = bool(np.linalg.norm(T[:3, 3]) >= self.config.keyframe_distance or turned >= self.config.keyframe_angle)
        waited = (stamp_ns - last_ns) * 1e-9
        return stamp_ns > last_ns and (moved or 0 < self.config.keyframe_time <= waited)

    def _features(self, frame: Frame, depth: np.ndarray | None) -> LocalFeatures | None:
        """Local features where the camera is known, else None: a ray needs the lens."""
        if frame.intrinsics is None:
            return None
        return self.extractor.extract(frame.image_rgb, depth, frame.intrinsics)

    def _admit(self, row: int, stamp_ns: int) -> None:
        """Let those own keyframes be found that are no longer recent."""
        self._recent.append(_Recent(row, stamp_ns, self._way))
        while self._recent:
            oldest = self._recent[0]
            far = self._way - oldest.way >= self.config.recent_distance
            if not far or (stamp_ns - oldest.stamp_ns) * 1e-9 < self.config.recent_time:
                break
            self._recent.popleft()
            self.session.admit(oldest.row + 1)

    def _closures(
        self,
        searches: Sequence[LoopSearch],
        candidates: Sequence[Sequence[Candidate]],
        features: LocalFeatures | None,
        T_odom_camera: np.ndarray,
        stamp_ns: int,
        keyframe_id: int,
    ) -> list[LoopClosure]:
        """At most one of each map: verified, or where asked for the likeliest candidate without geometry."""
        closures: list[LoopClosure] = []
        for search, found in zip(searches, candidates, strict=True):
            verified = search.verified(found, features, T_odom_camera, self._way)
            if verified is not None:
                closures.append(closure_of(search, *verified, stamp_ns, keyframe_id))
            elif self.config.unverified and found:
                closures.append(closure_of(search, found[0], None, stamp_ns, keyframe_id))
        return closures


def _check_features(place_map: PlaceMap, kind: str) -> None:
    """Raises MapError where a map's local features are not of this kind; says so where it has places but none."""
    theirs = place_map.feature_kind()
    if theirs not in ("", kind):
        raise MapError(
            f"{place_map.path} holds local features of {theirs}, which cannot be matched with those of {kind}: "
            f"set loops.features to {theirs}"
        )
    if not theirs and len(place_map):
        logger.warning(
            "%s holds no local features, so loops closed on it stay unverified: build it with --local-features %s",
            place_map.path,
            kind,
        )


class _Clock:
    """Wall milliseconds of one step after another."""

    def __init__(self) -> None:
        self._last = perf_counter()
        self.laps_ms: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """The step that ends now."""
        now = perf_counter()
        self.laps_ms[name] = 1e3 * (now - self._last)
        self._last = now


def _model_of(paths: Sequence[Path]) -> str:
    """Name of the model of the first map that is there, else the one that ships."""
    for path in paths:
        if path.exists():
            with PlaceMap.open(path) as place_map:
                return place_map.model.name
    return DEFAULT_MODEL
