"""Candidates for a loop closure: similar keyframes that odometry allows and that geometry confirms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import LoopClosure
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.constants import CANDIDATES, PROBABILITY
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.verify import Verification, verify


@dataclass(frozen=True, eq=False)
class Candidate:
    """A keyframe of a map that may show the current place.

    row: of the keyframe in its store. similarity: cosine. score: its standard score against the whole map. anchor,
    position: (3,) metres, corrected by loop closures; see ``Anchors``. expected: whether it lies where the last closure
    and odometry since predict the robot. allowed: whether odometry can be that wrong; if not, it closes no loop, and is
    measured to say so.
    """

    row: int
    similarity: float
    score: float
    anchor: int
    position: np.ndarray
    expected: bool = False
    allowed: bool = True

    def is_at(self, other: Candidate, within_m: float = CANDIDATES.same_place_m) -> bool:
        """Whether both are known to be one place. If nothing relates them, they count as two."""
        near = bool(np.linalg.norm(self.position - other.position) < within_m)
        return near and self.anchor == other.anchor


@dataclass(frozen=True)
class Refused:
    """A pose that geometry confirms, and that is further from where odometry has the robot than ``loops.drift`` allows.

    off_m: how far. allowed_m: how far it may be. driven_m: since the match.
    """

    off_m: float
    allowed_m: float
    driven_m: float

    @property
    def advised_drift(self) -> float:
        """The least ``loops.drift`` that allows it, and a tenth more; at most 1, the largest that can be set."""
        least_m = 1.1 * (self.off_m - CANDIDATES.measured_slack_m)
        return least_m / max(self.driven_m, least_m)


class LoopSearch:
    """The search for loop closures on one map."""

    def __init__(self, store: KeyframeStore, config: LoopCloserConfig, own: bool = False) -> None:
        """own: whether this is the session's map, whose poses odometry relates to the current one."""
        self.store = store
        self.own = own
        self._config = config
        self.refused: Refused | None = None  # the best candidate of the last ``verified`` that odometry refused
        self._first_row = 0
        self._driven_m: list[float] = []

    def begin(self) -> None:
        """Begin a drive: only keyframes stored from now on share the current origin of odometry."""
        self._first_row = len(self.store)
        self._driven_m = []

    def stored(self, driven_m: float) -> None:
        """Note that an own keyframe was stored after this distance in this drive."""
        self._driven_m.append(driven_m)

    @property
    def map_name(self) -> str:
        """File name of the map, as in ``LoopClosure.match_map``: empty for the session's own."""
        return "" if self.own else self.store.place_map.path.name

    def candidates(
        self,
        descriptor: np.ndarray,
        T_odom_camera: np.ndarray,
        driven_m: float,
        expected: tuple[np.ndarray, int] | None = None,
    ) -> list[Candidate]:
        """Distinct places: the expected one first, then the most similar, at last one that odometry does not allow.

        descriptor: (D,). T_odom_camera: (4, 4). driven_m: distance driven in this drive. expected: the pose (4, 4) that
        the last closure on this map and odometry predict, and the id of the keyframe it matched; None without one.
        """
        found = [] if expected is None else self._expected(descriptor, *expected)
        similarities, rows = self.store.search(descriptor, CANDIDATES.fetched)
        likely = similarities >= self._config.similarity
        similarities, rows = similarities[likely], rows[likely]
        places: list[Candidate] = []
        too_far: list[Candidate] = []
        for candidate, position in zip(
            self._of_rows(descriptor, rows, similarities), self.store.positions(rows), strict=True
        ):
            if any(candidate.is_at(other) for other in places):
                continue
            since_m = self._driven_since_m(candidate.row, driven_m)
            off_m = float(np.linalg.norm(position - T_odom_camera[:3, 3]))
            if since_m is not None and off_m > CANDIDATES.odometry_slack_m + self._config.drift * since_m:
                if candidate.score >= PROBABILITY.score_middle:
                    too_far.append(replace(candidate, allowed=False))
                continue
            places.append(candidate)
            if len(places) == self._config.candidates:
                break
        others = [place for place in places if place.row not in {other.row for other in found}]
        return [*found, *others, *too_far[:1]]

    def _expected(self, descriptor: np.ndarray, T_map_camera: np.ndarray, last_id: int) -> list[Candidate]:
        """The keyframe nearest to the predicted pose among those around the last match; at most one."""
        rows = self.store.around(self.store.row_of(last_id), CANDIDATES.expected_rows)
        distances = np.linalg.norm(self.store.positions(rows) - T_map_camera[:3, 3], axis=1)
        if len(rows) == 0 or distances.min() > CANDIDATES.expected_m:
            return []
        nearest = rows[distances.argmin() :][:1]
        similarities = np.array([self.store.similarity(descriptor, int(nearest[0]))])
        return self._of_rows(descriptor, nearest, similarities, expected=True)

    def _of_rows(
        self, descriptor: np.ndarray, rows: np.ndarray, similarities: np.ndarray, expected: bool = False
    ) -> list[Candidate]:
        """Candidates of rows (K,) with similarities (K,)."""
        scores, (anchors, positions) = self.store.scores(descriptor, similarities), self.store.anchored(rows)
        found = zip(rows, similarities, scores, anchors, positions, strict=True)
        return [Candidate(int(r), float(s), float(z), int(a), xyz, expected) for r, s, z, a, xyz in found]

    def _driven_since_m(self, row: int, driven_m: float) -> float | None:
        """Metres driven since the keyframe at a row. None for one of another drive, of which odometry says nothing."""
        if not self.own or row < self._first_row:
            return None
        return driven_m - self._driven_m[row - self._first_row]

    def _fits_odometry(self, row: int, T_match_query: np.ndarray, T_odom_camera: np.ndarray, driven_m: float) -> bool:
        """Whether odometry allows the measured pose; ``refused`` is set if it is too far away.

        It tells apart neighbouring aisles, and similar streets driven in opposite directions.
        """
        since_m = self._driven_since_m(row, driven_m)
        if since_m is None:
            return True
        T_measured = self.store.place(row).T_map_camera @ T_match_query
        turned = geometry.angle_of(T_measured[:3, :3].T @ T_odom_camera[:3, :3])
        if turned >= max(CANDIDATES.odometry_rotation, CANDIDATES.heading_drift * self._config.drift):
            return False
        off_m = float(np.linalg.norm(T_measured[:3, 3] - T_odom_camera[:3, 3]))
        allowed_m = CANDIDATES.measured_slack_m + self._config.drift * since_m
        if off_m > allowed_m:
            self.refused = self.refused or Refused(off_m, allowed_m, since_m)
        return off_m <= allowed_m

    def verified(
        self,
        candidates: Sequence[Candidate],
        features: LocalFeatures | None,
        T_odom_camera: np.ndarray,
        driven_m: float,
    ) -> tuple[Candidate, Verification] | None:
        """The candidate that geometry confirms; None if there is none, or if two places fit nearly as well.

        The expected candidate is not compared with others: that was done when its chain of closures began.
        """
        self.refused = None
        if features is None:
            return None
        confirmed: list[tuple[Candidate, Verification]] = []
        for candidate in candidates:
            there = None if confirmed and not candidate.allowed else self.store.measured(candidate.row)
            if there is None or there.kind != features.kind:
                continue
            least = self._config.inliers
            verification = verify(
                there, features, min(least, CANDIDATES.expected_inliers) if candidate.expected else least
            )
            if verification is None:
                continue
            fits = self._fits_odometry(candidate.row, verification.T_place_query, T_odom_camera, driven_m)
            if not fits or not candidate.allowed:
                continue
            if candidate.expected and verification.inliers >= least:
                return candidate, verification
            confirmed.append((candidate, verification))
        confirmed.sort(key=lambda pair: -pair[1].inliers)
        if not confirmed:
            return None
        best, verification = confirmed[0]
        here = self._moved(best, verification)
        for rival, other in confirmed[1:]:
            strong = other.inliers > CANDIDATES.rival_share * verification.inliers
            if strong and not (rival.is_at(best) or self._moved(rival, other).is_at(here, CANDIDATES.same_camera_m)):
                return None
        return confirmed[0] if best.expected or self._is_unique(best, T_odom_camera, driven_m) else None

    def _is_unique(self, candidate: Candidate, T_odom_camera: np.ndarray, driven_m: float) -> bool:
        """Whether the map holds no second place like this one.

        The candidate's own image is compared: it was taken in the same light as the rest of its map, so it tells
        similar streets apart even if the current image, of another season, does not.
        """
        own = self.store.measured(candidate.row)
        assert own is not None
        others = self.candidates(self.store.descriptor(candidate.row), T_odom_camera, driven_m)
        for other in others:
            there = None if other.is_at(candidate) or not other.allowed else self.store.measured(other.row)
            found = None if there is None else verify(there, own, CANDIDATES.twin_inliers * self._config.inliers)
            if found is not None and not self._moved(other, found).is_at(candidate, CANDIDATES.same_camera_m):
                return False
        return True

    def _moved(self, candidate: Candidate, verification: Verification) -> Candidate:
        """The candidate at the position from which it says the camera looks: down one street, several say the same."""
        R_map_place = self.store.place(candidate.row).T_map_camera[:3, :3]
        return replace(candidate, position=candidate.position + R_map_place @ verification.T_place_query[:3, 3])


def closure_of(
    search: LoopSearch, candidate: Candidate, verification: Verification | None, stamp_ns: int, keyframe_id: int
) -> LoopClosure:
    """The closure of a candidate and the current keyframe. Without a verification it has no transform."""
    place = search.store.place(candidate.row)
    closure = LoopClosure(
        stamp_ns=stamp_ns,
        keyframe_id=keyframe_id,
        match_stamp_ns=place.stamp_ns,
        match_id=place.id,
        match_drive=place.drive,
        match_map=search.map_name,
        T_map_match=place.T_map_camera,
        similarity=candidate.similarity,
        probability=probability_unverified(candidate.score),
    )
    if verification is None:
        return closure
    return replace(
        closure,
        probability=probability_verified(verification.inliers),
        T_match_query=verification.T_place_query,
        covariance=verification.covariance,
        inliers=verification.inliers,
        reprojection_px=verification.reprojection_px,
    )


def probability_unverified(score: float) -> float:
    """Probability that a candidate with this standard score shows the same place."""
    return _logistic(PROBABILITY.score_slope, score - PROBABILITY.score_middle)


def probability_verified(inliers: int) -> float:
    """Probability that a candidate with this number of inliers shows the same place."""
    return _logistic(PROBABILITY.inlier_slope, inliers - PROBABILITY.inlier_middle)


def _logistic(slope: float, value: float) -> float:
    return float(1 / (1 + np.exp(-slope * value)))
