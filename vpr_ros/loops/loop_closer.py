"""The loop closer: the map grows as the robot drives; an image in, verified loop closures out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import FrameError, MapError
from vpr_ros.base.image import NOTHING, has_content, preprocess, thumbnail
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
NO_KEYFRAME = f"{NOTHING}, so it is no keyframe: check the camera"


@dataclass(frozen=True, eq=False)
class _Recent:
    """An own keyframe that is too recent for a loop. driven_m: distance driven in this drive when it was taken."""

    row: int
    stamp_ns: int
    driven_m: float


class LoopCloser:
    """Have I been here before? The live node and replay use this object; one caller at a time.

    It owns its maps: ``close``, or the end of a ``with`` statement, closes them. ``session`` is the map that grows. Its
    poses are raw odometry, with a new drive each time odometry restarts. ``earlier`` are other maps to close loops on.
    """

    def __init__(
        self,
        session: KeyframeStore,
        describer: Describer,
        config: LoopCloserConfig | None = None,
        earlier: Sequence[KeyframeStore] = (),
        threads: int = 1,
    ) -> None:
        """session, earlier: closed by ``close``. threads: CPU threads of the network for local features; 0: all cores.

        Raises ConfigError for unknown local features, MapError for a map with local features of another kind.
        """
        self.config = config or LoopCloserConfig()
        self.session = session
        self.describer = describer
        self.earlier = list(earlier)
        self.extractor = open_extractor(self.config.features, self.config.feature_count, threads)
        for store in (session, *self.earlier):
            _check_features(store.place_map, self.extractor.kind)
        self._searches = [LoopSearch(store, self.config) for store in self.earlier]
        self._own = LoopSearch(session, self.config, own=True)
        self.refused = 0
        """Keyframes so far whose loop on the own past geometry confirms and odometry refuses."""
        of_one_frame = {store.place_map.path.name for store in self.earlier if not store.place_map.is_odometry}
        self._agreement = Agreement(self.config.agreement, self.config.drift, of_one_frame)
        for store in (session, *self.earlier):
            _warn_of_rivals(store)
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
        """A loop closer on map files.

        session: created if missing, continued otherwise. model: path or name of a model; by default that of the
        session, or of the first earlier map. Raises MapError, ModelError or ConfigError, one sentence each.
        """
        config = config or LoopCloserConfig()
        session, earlier = Path(session), [Path(path) for path in earlier]
        if session.resolve() in {path.resolve() for path in earlier}:
            raise MapError(
                f"{session} is the session's own map, whose past is searched anyway: give only other maps as earlier"
            )
        names = [path.name for path in earlier]
        if len(set(names)) < len(names):
            raise MapError(
                f"the earlier maps {', '.join(names)} do not have distinct file names, by which closures name them: "
                "rename one"
            )
        describer = open_describer(model or _model_of([session, *earlier]), backend, threads)
        opened: list[KeyframeStore] = []
        try:
            for path in earlier:
                opened.append(KeyframeStore.open(path, config.index))
                opened[-1].place_map.check_vocabulary(opened[0].place_map.model)
                opened[-1].place_map.prepare(describer)
            manifest = describer.manifest
            map_model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
            vocabulary = opened[0].place_map.vocabulary if opened else None
            calibration = Calibration.of_model(manifest.calibration, bool(manifest.vocabulary) and vocabulary is None)
            opened.append(KeyframeStore.grow(session, map_model, config.index, calibration, vocabulary))
            opened[-1].place_map.prepare(describer)
            return cls(opened[-1], describer, config, opened[:-1], threads)
        except BaseException:
            for store in opened:
                store.close()
            raise

    def begin(self) -> None:
        """Begin another drive, because odometry starts or restarts: its poses have another origin."""
        self.drive = f"{self.session.place_map.path.stem}-{len(self.session.drives) + 1}"
        self._driven_m = 0.0
        self._T_odom_last: np.ndarray | None = None
        self._keyframe: tuple[int, np.ndarray] | None = None
        self._recent: deque[_Recent] = deque()
        self._refused_in_a_row, self._said_refused = 0, False
        self._own.begin()
        self._agreement.reset()
        self.session.admit(len(self.session))

    def observe(self, frame: Frame) -> Observation:
        """Process one image of the drive, with its odometry.

        It becomes a keyframe, on disk when this returns, if the robot has moved far enough and the image shows
        something. Raises ImageError if the image is not an (H, W, 3) uint8 RGB array, MapError if the session cannot be
        written, FrameError for a frame without odometry or with a bad pose.
        """
        frame.check()
        if frame.T_odom_camera is None:
            raise FrameError("this frame has no odometry (T_odom_camera), which a growing map needs")
        T_odom_camera = frame.T_odom_camera
        if self._T_odom_last is not None:
            self._driven_m += float(np.linalg.norm(T_odom_camera[:3, 3] - self._T_odom_last[:3, 3]))
        self._T_odom_last = T_odom_camera
        if not self._is_keyframe(frame.stamp_ns, T_odom_camera):
            return Observation(frame.stamp_ns, None)
        clock = _Clock()
        image = preprocess(frame.image_rgb, self.describer.manifest.preprocessing)
        if not has_content(image):
            return Observation(frame.stamp_ns, None, problem=NO_KEYFRAME)
        clock.lap("preprocess")
        description = self.describer.describe(image[None])
        depth = None
        if description.depth is not None:
            depth = self.describer.manifest.metres(description.depth[0], frame.intrinsics)
        clock.lap("network")
        descriptor, features = description.descriptors[0], self._features(frame, depth)
        clock.lap("features")
        jpeg = thumbnail(frame.image_rgb)
        row = self.session.add(self.drive, frame.stamp_ns, T_odom_camera, descriptor, features, jpeg)
        seen = None if features is None else self.session.measured(row)
        self._keyframe = frame.stamp_ns, T_odom_camera
        self._own.stored(self._driven_m)
        self._admit(row, frame.stamp_ns)
        clock.lap("store")
        keyframe_id = self.session.place(row).id
        try:
            closures = self._look_back(frame.stamp_ns, keyframe_id, descriptor, T_odom_camera, seen, clock)
        except MapError as error:  # the keyframe is stored, whatever fails on an earlier map
            logger.error("keyframe %d was not searched for loop closures: %s", keyframe_id, error)
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
        """Closures of this keyframe, and earlier ones that it confirms."""
        searches = [*([self._own] if self.config.own_past else []), *self._searches]
        candidates = [
            search.candidates(
                descriptor, T_odom_camera, self._driven_m, self._agreement.predicted(search.map_name, T_odom_camera)
            )
            for search in searches
        ]
        clock.lap("search")
        closures = self._closures(searches, candidates, features, T_odom_camera, stamp_ns, keyframe_id)
        self._note_refused(any(closure.verified and not closure.match_map for closure in closures))
        accepted = self._agreement.add([c for c in closures if c.verified], T_odom_camera, self._driven_m)
        clock.lap("verify")
        self._keep([closure for closure in accepted if not closure.match_map])
        clock.lap("link")
        return accepted + [closure for closure in closures if not closure.verified]

    def _note_refused(self, closed: bool) -> None:
        """Count keyframes whose loop odometry alone refuses; say so once a drive, after several in a row.

        closed: whether this keyframe closes a loop on the own past.
        """
        refused = self._own.refused
        if refused is None or closed:
            self._refused_in_a_row = 0
            return
        self.refused += 1
        self._refused_in_a_row += 1
        if self._refused_in_a_row == self.config.agreement and not self._said_refused:
            self._said_refused = True
            logger.warning(
                "%d keyframe(s) in a row look like places of this session that are %.1f m from where odometry has "
                "the robot, and after %.0f m loops.drift %g allows %.1f m: no loop is closed. If odometry can be that "
                "wrong, set loops.drift to %.2g; if places look alike there, as aisles do, this is right",
                self._refused_in_a_row, refused.off_m, refused.driven_m, self.config.drift, refused.allowed_m,
                refused.advised_drift,
            )  # fmt: skip

    def _keep(self, closures: Sequence[LoopClosure]) -> None:
        """Store closures on the own past: they tell which keyframes show one place."""
        links = [Link(c.keyframe_id, c.match_id, c.T_match_query) for c in closures if c.T_match_query is not None]
        if not links:
            return
        try:
            self.session.link(links)
        except MapError as error:  # the closures are right all the same
            logger.error("%d loop closures cannot be stored: %s", len(links), error)

    def save(self, path: Path) -> None:
        """Write a whole copy of the session's map as it is now. Raises MapError if it cannot be written."""
        self.session.place_map.save(Path(path))

    def close(self) -> None:
        """Close all maps."""
        with ExitStack() as closing:  # one that fails does not keep the others open
            for store in (self.session, *self.earlier):
                closing.callback(store.close)

    def __enter__(self) -> LoopCloser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_keyframe(self, stamp_ns: int, T_odom_camera: np.ndarray) -> bool:
        """Whether the robot has moved, turned or waited enough since the last keyframe."""
        if self._keyframe is None:
            return True
        last_ns, T_odom_last = self._keyframe
        T = geometry.inverse(T_odom_last) @ T_odom_camera
        turned = np.degrees(geometry.angle_of(T[:3, :3]))
        moved = bool(np.linalg.norm(T[:3, 3]) >= self.config.keyframe_distance or turned >= self.config.keyframe_angle)
        waited = (stamp_ns - last_ns) * 1e-9
        return stamp_ns > last_ns and (moved or 0 < self.config.keyframe_time <= waited)

    def _features(self, frame: Frame, depth: np.ndarray | None) -> LocalFeatures | None:
        """Local features of a frame; None if its intrinsics are unknown, since a ray needs them."""
        if frame.intrinsics is None:
            return None
        return self.extractor.extract(frame.image_rgb, depth, frame.intrinsics)

    def _admit(self, row: int, stamp_ns: int) -> None:
        """Admit own keyframes that are no longer recent to the search; never this one, or it would find itself."""
        self._recent.append(_Recent(row, stamp_ns, self._driven_m))
        while (oldest := self._recent[0]).row != row:
            far = self._driven_m - oldest.driven_m >= self.config.recent_distance
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
        """At most one closure per map: verified, or with ``loops.unverified`` the most similar candidate."""
        closures: list[LoopClosure] = []
        for search, found in zip(searches, candidates, strict=True):
            verified = search.verified(found, features, T_odom_camera, self._driven_m)
            if verified is not None:
                closures.append(closure_of(search, *verified, stamp_ns, keyframe_id))
            elif self.config.unverified and found and found[0].allowed:
                closures.append(closure_of(search, found[0], None, stamp_ns, keyframe_id))
        return closures


def _warn_of_rivals(store: KeyframeStore) -> None:
    """Say if drives of raw odometry are related by no closure: then one place in both counts as two that look alike."""
    if not store.place_map.is_odometry or not len(store):
        return
    anchors, _ = store.anchored(np.arange(len(store)))
    if (count := len(np.unique(anchors))) > 1:
        logger.warning(
            "%s has %d groups of drives that no loop closure relates: a place in two of them closes no loop, as it "
            "looks like another one; give its drives one frame with `vpr map set-poses`, or keep each in its own map",
            store.place_map.path, count,
        )  # fmt: skip


def _check_features(place_map: PlaceMap, kind: str) -> None:
    """Raises MapError if a map's local features are of another kind; warns if its places have none."""
    theirs = place_map.feature_kind()
    if theirs not in ("", kind):
        raise MapError(
            f"{place_map.path} has local features of kind {theirs}, which cannot be matched with those of {kind}: "
            f"set loops.features to {theirs}"
        )
    if not theirs and len(place_map):
        logger.warning(
            "%s has no local features, so closures on it stay unverified: build it with --local-features %s",
            place_map.path,
            kind,
        )


class _Clock:
    """Wall time of consecutive steps, milliseconds."""

    def __init__(self) -> None:
        self._last = perf_counter()
        self.laps_ms: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a step."""
        now = perf_counter()
        self.laps_ms[name] = 1e3 * (now - self._last)
        self._last = now


def _model_of(paths: Sequence[Path]) -> str:
    """Name of the model of the first map that exists, else of the shipped one."""
    for path in paths:
        if path.exists():
            with PlaceMap.open(path) as place_map:
                return place_map.model.name
    return DEFAULT_MODEL
