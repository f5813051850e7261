"""Constants of loop closing: value, unit, meaning and what each was fitted on.

None is a parameter; what depends on the robot is in ``config``. Four-digit numbers are the simulator's towns;
``benchmarks/loop_closures.py`` measures what a change does, see the section on loops in ``docs/results.md``. "By hand"
means: chosen while the method was written, without a recorded fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CandidateLimits:
    """Which keyframes are compared with the current one, and when two places are too alike (``candidates``)."""

    fetched: int = 60
    """Keyframes fetched from the index; most are neighbours of each other. By hand."""
    same_place_m: float = 10.0
    """Metres. Keyframes closer than this to each other are one place. By hand."""
    same_camera_m: float = 3.0
    """Metres. Places further apart than ``same_place_m`` show one scene, and are no twins, if the positions of the
    camera that they measure are closer than this. By hand."""
    rival_share: float = 0.4
    """A second place with more than this fraction of the best one's inliers makes both doubtful: no closure. Chosen on
    9101 and 9102."""
    twin_inliers: int = 2
    """Two places of one map are too alike if they match with this many times ``loops.inliers``. Tested on 9201, whose
    streets are identical. By hand."""
    odometry_slack_m: float = 5.0
    """Metres from where odometry has the robot to a keyframe that it can see the place of, in addition to
    ``loops.drift``: a street looks the same from further back. By hand."""
    measured_slack_m: float = 0.5
    """Metres from there to a measured pose, in addition to ``loops.drift``. Poses measured on the own past are exact to
    0.2 m (p95). With 5 m, neighbouring aisles that look alike were one: see "Places that look alike" there."""
    odometry_rotation: float = np.radians(45.0)
    """Radians, largest error of odometry's heading, unless ``loops.drift`` allows more. By hand."""
    heading_drift: float = 2.0
    """Radians of heading for ``loops.drift``: one that grows evenly with the way takes the robot half as far aside."""
    expected_rows: int = 30
    """Keyframes on either side of the last match among which the next match is expected. By hand."""
    expected_m: float = 4.0
    """Metres, largest distance of an expected match from the predicted pose. By hand."""
    expected_inliers: int = 8
    """Inliers that suffice for an expected match: its pose must be the predicted one as well. By hand."""


@dataclass(frozen=True)
class AgreementLimits:
    """When closures of neighbouring keyframes agree (``agreement``). All by hand."""

    reach_m: float = 30.0
    """Metres driven within which closures can agree."""
    remembered: int = 60
    """Closures remembered, for a robot that turns on the spot."""
    translation_m: float = 0.7
    """Metres between the positions that two agreeing closures measure,"""
    translation_share: float = 0.05
    """plus this fraction of the distance driven between them, or ``loops.drift`` if that is more."""
    moved_m: float = 0.1
    """Metres that the robot moves between two keyframes that can agree,"""
    turned: float = np.radians(2.0)
    """or radians that it turns."""
    rotation: float = np.radians(4.0)
    """Radians between the rotations that two agreeing closures measure."""


@dataclass(frozen=True)
class ClosureProbability:
    """Logistic curves for the probability that a closure is right (``candidates``)."""

    score_slope: float = 1.6
    """Per unit of the standard score, of an unverified closure. Fitted on 8000 and 8001; the expected calibration error
    on 9101 is 0.05, at night 0.08."""
    score_middle: float = 4.5
    """Standard score at which an unverified closure has probability 0.5. Fitted with ``score_slope``."""
    inlier_slope: float = 0.5
    """Per inlier, of a verified closure. By hand."""
    inlier_middle: float = 10
    """Inliers at which a verified closure would have probability 0.5. By hand."""


@dataclass(frozen=True)
class BaselineLimits:
    """Keyframes beside a keyframe, which measure the depths of its features (``keyframe_store``). All by hand."""

    reach: int = 40
    """Keyframes before and after it that are looked through."""
    turn_sigma: float = np.radians(0.1)
    """Radians, standard deviation of the rotation between them, as odometry has it."""
    cached: int = 256
    """Keyframes whose features are kept in memory, 0.07 MB each, and once more with their depths measured."""


CANDIDATES = CandidateLimits()
BASELINES = BaselineLimits()
AGREEMENT = AgreementLimits()
PROBABILITY = ClosureProbability()
