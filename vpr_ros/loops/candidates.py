"""Places a keyframe may be at again: those that look alike, that odometry allows, and that geometry confirms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """A keyframe of a map that may show the place of now.

    score: of its similarity, against the whole map. anchor, position: (3,) metres, of the keyframe by the loops closed
    since; see ``Anchors``. expected: whether it is where the robot should be, by the last closure and odometry since.
    """

    row: int
    similarity: float
    score: float
    anchor: int
    position: np.ndarray
    expected: bool = False

    def is_at(self, other: Candidate) -> bool:
        """Whether both are known to be one place; where nothing relates them, they are two."""
        near = bool(np.linalg.norm(self.position - other.position) < CANDIDATES.same_place_m)
        return near and self.anchor == other.anchor


class LoopSearch:
    """One map's answers to "where have I seen this?"."""

    def __init__(self, memory: KeyframeStore, config: LoopCloserConfig, own: bool = False) -> None:
        """own: whether it is the session's map, whose poses odometry relates to the one now."""
        self.memory = memory
        self.own = own
        self._config = config
        self._first_row = 0
        self._ways: list[float] = []

    def begin(self) -> None:
        """A drive begins: only the keyframes to come share odometry's origin with the robot."""
        self._first_row = len(self.memory)
        self._ways = []

    def passed(self, way: float) -> None:
        """An own keyframe was stored after so many metres of this drive."""
        self._ways.append(way)

    @property
    def map_name(self) -> str:
        """As closures name it: empty for the session's own."""
        return "" if self.own else self.memory.place_map.path.name

    def candidates(
        self,
        descriptor: np.ndarray,
        T_odom_camera: np.ndarray,
        way: float,
        expected: tuple[np.ndarray, int] | None = None,
    ) -> list[Candidate]:
        """Distinct places, most similar first, after the one where the robot should be.

        descriptor: (D,). way: metres driven. expected: (4, 4) pose in this map by the last closure and odometry, and
        the id of the keyframe that closure met; None where there was none.
        """
        found = [] if expected is None else self._expected(descriptor, *expected)
        similarities, rows = self.memory.search(descriptor, CANDIDATES.fetched)
        likely = similarities >= self._config.similarity
        similarities, rows = similarities[likely], rows[likely]
        places: list[Candidate] = []
        for candidate, position in zip(
            self._of_rows(descriptor, rows, similarities), self.memory.positions(rows), strict=True
        ):
            if any(candidate.is_at(other) for other in places):
                continue
            if not self._allowed(candidate.row, position, T_odom_camera[:3, 3], way):
                continue
            places.append(candidate)
            if len(places) == self._config.candidates:
                break
        return found + [place for place in places if place.row not in {other.row for other in found}]

    def _expected(self, descriptor: np.ndarray, T_map_camera: np.ndarray, last_id: int) -> list[Candidate]:
        """The keyframe nearest to where the robot should be, among those about the one it met last; one or none."""
        rows = self.memory.around(self.memory.row_of(last_id), CANDIDATES.expected_rows)
        distances = np.linalg.norm(self.memory.positions(rows) - T_map_camera[:3, 3], axis=1)
        if len(rows) == 0 or distances.min() > CANDIDATES.expected_m:
            return []
        nearest = rows[distances.argmin() :][:1]
        similarities = np.array([self.memory.similarity(descriptor, int(nearest[0]))])
        return self._of_rows(descriptor, nearest, similarities, expected=True)

    def _of_rows(
        self, descriptor: np.ndarray, rows: np.ndarray, similarities: np.ndarray, expected: bool = False
    ) -> list[Candidate]:
        """Rows (K,) as candidates."""
        scores, (anchors, positions) = self.memory.scores(descriptor, similarities), self.memory.anchored(rows)
        found = zip(rows, similarities, scores, anchors, positions, strict=True)
        return [Candidate(int(r), float(s), float(z), int(a), xyz, expected) for r, s, z, a, xyz in found]

    def _allowed(self, row: int, position: np.ndarray, position_now: np.ndarray, way: float) -> bool:
        """Whether odometry may have drifted as far as it would have if the robot had been at a position of this map
        when it was at this one. It says nothing of other drives.
        """
        if not self.own or row < self._first_row:
            return True
        since = way - self._ways[row - self._first_row]
        return bool(np.linalg.norm(position - position_now) <= CANDIDATES.odometry_slack_m + self._config.drift * since)

    def _fits_odometry(self, row: int, T_match_query: np.ndarray, T_odom_camera: np.ndarray, way: float) -> bool:
        """Whether odometry allows the pose that was measured: streets that are alike are driven the other way too."""
        if not self.own or row < self._first_row:
            return True
        T_measured = self.memory.place(row).T_map_camera @ T_match_query
        turned = geometry.vector_from_rotation(T_measured[:3, :3].T @ T_odom_camera[:3, :3])
        near = self._allowed(row, T_measured[:3, 3], T_odom_camera[:3, 3], way)
        return near and float(np.linalg.norm(turned)) < CANDIDATES.odometry_rotation

    def verified(
        self, candidates: Sequence[Candidate], features: LocalFeatures | None, T_odom_camera: np.ndarray, way: float
    ) -> tuple[Candidate, Verification] | None:
        """The candidate that geometry confirms; None where there is none, or where two places are as good.

        The expected one, confirmed, needs no comparison: that was made when its chain of closures began.
        """
        if features is None:
            return None
        confirmed: list[tuple[Candidate, Verification]] = []
        for candidate in candidates:
            there = self.memory.features(candidate.row)
            if there is None or there.kind != features.kind:
                continue
            least = self._config.inliers
            verification = verify(
                there, features, min(least, CANDIDATES.expected_inliers) if candidate.expected else least
            )
            if verification is None:
                continue
            if not self._fits_odometry(candidate.row, verification.T_place_query, T_odom_camera, way):
                continue
            if candidate.expected and verification.inliers >= least:
                return candidate, verification
            confirmed.append((candidate, verification))
        confirmed.sort(key=lambda pair: -pair[1].inliers)
        if not confirmed:
            return None
        best, verification = confirmed[0]
        for rival, other in confirmed[1:]:
            if not rival.is_at(best) and other.inliers > CANDIDATES.rival_share * verification.inliers:
                return None
        return confirmed[0] if best.expected or self._is_unique(best, T_odom_camera, way) else None

    def _is_unique(self, candidate: Candidate, T_odom_camera: np.ndarray, way: float) -> bool:
        """Whether the map holds no other place like this one, by its own image: that was taken in the same light as
        the others, and tells streets that are alike where the image now, of another season, may not.
        """
        own = self.memory.features(candidate.row)
        assert own is not None
        others = self.candidates(self.memory.descriptor(candidate.row), T_odom_camera, way)
        for other in others:
            there = None if other.is_at(candidate) else self.memory.features(other.row)
            if there is not None and verify(there, own, CANDIDATES.twin_inliers * self._config.inliers) is not None:
                return False
        return True


def closure_of(
    search: LoopSearch, candidate: Candidate, verification: Verification | None, stamp_ns: int, keyframe_id: int
) -> LoopClosure:
    """A candidate as a closure; without a verification, one without a transform."""
    place = search.memory.place(candidate.row)
    here = (stamp_ns, keyframe_id, place.stamp_ns, place.id, place.drive, search.map_name, place.T_map_camera)
    if verification is None:
        return LoopClosure(*here, candidate.similarity, probability_unverified(candidate.score))
    return LoopClosure(
        *here,
        candidate.similarity,
        probability_verified(verification.inliers),
        verification.T_place_query,
        verification.covariance,
        verification.inliers,
        verification.reprojection_px,
    )


def probability_unverified(score: float) -> float:
    """That a candidate with this standard score is the same place."""
    return _logistic(PROBABILITY.score_slope, score - PROBABILITY.score_middle)


def probability_verified(inliers: int) -> float:
    """That a candidate with so many inliers is the same place."""
    return _logistic(PROBABILITY.inlier_slope, inliers - PROBABILITY.inlier_middle)


def _logistic(slope: float, value: float) -> float:
    return float(1 / (1 + np.exp(-slope * value)))
