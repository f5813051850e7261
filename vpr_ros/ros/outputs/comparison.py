"""Whether another localiser's pose agrees with ours: a sequential test over the views that were seen. No ROS here.

Wald, Sequential Tests of Statistical Hypotheses (1945), with bounded evidence, so that a change is found (Page, 1954).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.base import covariance, geometry
from vpr_ros.base.records import Estimate
from vpr_ros.localize.constants import VIEW_CHANGE
from vpr_ros.ros.outputs.status import SURE

_PLANE = [0, 1, 5]  # x, y and yaw of a pose's covariance
_OTHER_SIGMA = np.array([0.5, 0.5, np.radians(5.0)])  # metres, radians: of the other's pose, and of its time
_LEAST_YAW = np.radians(10.0)  # radians, of ours: round a corner, places and poses between them differ so much
_WIDER = 3.0  # standard deviations of poses that disagree, in multiples of those of poses that agree
_LARGEST_EXPONENT = 300.0  # of a likelihood ratio, so that it stays finite
_SUREST = 0.98  # no single view is believed more than this
_AGREE, _DISAGREE = 3.0, 5.5  # log-odds: 20 to 1, 245 to 1. Beside true localisers it was 2.5 at most
_MOST_AGREEING, _MOST_DISAGREEING = 3.5, 8.0  # bounds, so that a change is noticed after few views
_HALF_LIFE_S = 1.0  # of the evidence, while nothing can be compared


class Verdict(enum.Enum):
    """What a comparison says."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Comparison:
    """How two localisers compare.

    probability: that they disagree.
    distance: metres between them in the plane, at the latest image that could be compared; nan before the first.
    turn: radians from our heading to the other's, likewise.
    since_ns: stamp of the first image of those that say so; 0 if it cannot be told.
    reason: why it cannot be told, or empty.
    """

    verdict: Verdict
    probability: float
    distance: float
    turn: float
    since_ns: int
    reason: str


class PoseComparison:
    """Collects the evidence for and against agreement, image by image.

    Each view counts once, by how new it is: more images of one view replace what it said. A view cannot say more than
    our pose is sure of, nor more than its covariance allows.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start again: nothing can be told."""
        self._before = self._of_view = 0.0  # log-odds of disagreement: from earlier views, and from the present one
        self._weight = 1.0  # of the present view
        self._last_ns: int | None = None
        self._since_ns = 0
        self._distance = self._turn = math.nan
        self._reason = "no image has been compared yet"

    @property
    def result(self) -> Comparison:
        """The comparison after the latest image."""
        log_odds = self._log_odds
        verdict = Verdict.CANNOT_TELL
        if log_odds <= -_AGREE:
            verdict = Verdict.AGREE
        elif log_odds >= _DISAGREE:
            verdict = Verdict.DISAGREE
        told = verdict != Verdict.CANNOT_TELL
        reason = "" if told else self._reason or "too few views so far, or they contradict each other"
        since_ns = self._since_ns if told else 0
        return Comparison(verdict, 1 / (1 + math.exp(-log_odds)), self._distance, self._turn, since_ns, reason)

    def take(
        self,
        estimate: Estimate,
        T_camera_base: np.ndarray | None,
        spacing: float,
        T_map_other: np.ndarray | None,
        missing: str,
    ) -> None:
        """Take an answer, and the other's pose at its stamp.

        spacing: metres between neighbouring places of the map; a pose that is taken from one place is not more exact.
        T_camera_base: (4, 4), or None if the camera's mounting is unknown. T_map_other: (4, 4) of the same base, or
        None. missing: why it is None, one sentence.
        """
        best = estimate.best
        if estimate.problem:
            self._skip(estimate.stamp_ns, estimate.problem)
        elif best is None:
            self._skip(estimate.stamp_ns, f"the robot is not on this map ({estimate.off_map_probability:.0%})")
        elif best.probability < SURE:
            self._skip(estimate.stamp_ns, f"our pose is not sure ({best.probability:.0%})")
        elif T_camera_base is None:
            self._skip(estimate.stamp_ns, "the camera's pose on the robot is not known")
        elif T_map_other is None:
            self._skip(estimate.stamp_ns, missing)
        else:
            T_map_base, ours = covariance.moved(best.T_map_camera, best.covariance, T_camera_base)
            offset = T_map_other[:2, 3] - T_map_base[:2, 3]
            turn = float(geometry.wrap_angle(_yaw(T_map_other) - _yaw(T_map_base)))
            residual = np.array([*offset, turn])
            evidence = _log_ratio(residual, _at_least(ours[np.ix_(_PLANE, _PLANE)], spacing), best.probability)
            self._add(estimate.stamp_ns, evidence, estimate.view_kept)
            self._distance, self._turn, self._reason = float(np.hypot(*offset)), turn, ""

    def _add(self, stamp_ns: int, evidence: float, view_kept: float) -> None:
        """Count the evidence of an image: that of a new view is added, that of the same view replaces what it said."""
        disagreed, self._last_ns = self._log_odds > 0, stamp_ns
        if view_kept < VIEW_CHANGE.same_view:
            self._before, self._weight = self._log_odds, 1.0 - view_kept
        self._of_view = self._weight * evidence
        if disagreed != (self._log_odds > 0) or not self._since_ns:
            self._since_ns = stamp_ns

    def _skip(self, stamp_ns: int, reason: str) -> None:
        """Forget some of the evidence, as nothing can be compared."""
        seconds = 0.0 if self._last_ns is None else max(stamp_ns - self._last_ns, 0) * 1e-9
        kept = 0.5 ** (seconds / _HALF_LIFE_S)
        self._before, self._of_view = kept * self._before, kept * self._of_view
        self._last_ns, self._reason = stamp_ns, reason

    @property
    def _log_odds(self) -> float:
        return float(np.clip(self._before + self._of_view, -_MOST_AGREEING, _MOST_DISAGREEING))


def _yaw(T: np.ndarray) -> float:
    """Radians from x to y of a body's forward axis."""
    return math.atan2(T[1, 0], T[0, 0])


def _at_least(ours: np.ndarray, spacing: float) -> np.ndarray:
    """A covariance (3, 3) of x, y and yaw, not smaller than that of a pose between two places of the map."""
    variances, axes = np.linalg.eigh(ours[:2, :2])
    out = ours.copy()
    out[:2, :2] = (axes * np.maximum(variances, spacing**2 / 12)) @ axes.T  # the variance of a uniform distribution
    out[2, 2] = max(ours[2, 2], _LEAST_YAW**2)
    return out


def _log_ratio(residual: np.ndarray, ours: np.ndarray, probability: float) -> float:
    """Log-likelihood ratio of disagreement against agreement for one residual (x, y, yaw).

    Poses that agree differ by both uncertainties. Poses that disagree differ by _WIDER times as much in the plane, in
    their heading, or in both, each as probable. If our pose is wrong, its residual says nothing: that bounds the ratio.
    """
    spread = ours + np.diag(_OTHER_SIGMA**2)
    plane = _wider_ratio(float(residual[:2] @ np.linalg.solve(spread[:2, :2], residual[:2])), 2)
    heading = _wider_ratio(float(residual[2] ** 2 / spread[2, 2]), 1)
    ratio = (plane + heading + plane * heading) / 3
    probability = min(probability, _SUREST)
    return -math.log(1 - probability + probability / ratio)


def _wider_ratio(distance2: float, dimensions: int) -> float:
    """Likelihood ratio of a normal distribution _WIDER times as wide. distance2: squared Mahalanobis distance."""
    exponent = 0.5 * distance2 * (1 - 1 / _WIDER**2)
    return math.exp(min(exponent, _LARGEST_EXPONENT)) / _WIDER**dimensions
