"""Constants of two-view matching: value, unit, meaning and what each was fitted on.

They belong to the method and to the shipped network, not to a robot: none is a parameter. Four-digit numbers are the
simulator's towns; ``benchmarks/loop_closures.py`` measures what a change does, see the section on loops in
``docs/results.md``. "By hand" means: chosen while the method was written, without a recorded fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True)
class TwoViewLimits:
    """Initial motions of a pair of views (``two_view``). All by hand."""

    largest_rotation: float = np.radians(70.0)
    """Radians. Cameras rotated further from each other share no part of the scene."""
    same_rotation: float = np.radians(1.0)
    """Radians. Rotations closer than this converge to one solution."""
    same_direction: float = np.radians(5.0)
    """Radians. Directions of translation closer than this converge to one solution."""
    epipolar_px: float = 2.0
    """Pixels from the epipolar line: inliers of an essential matrix, and of a pure rotation."""
    homography_px: float = 4.0
    """Pixels: inliers of a homography. A scene is seldom quite flat."""
    pnp_px: float = 8.0
    """Pixels: inliers of a perspective-n-point solution, whose points have hallucinated depths."""
    pnp_points: int = 6
    """Points with a depth that a perspective-n-point solution and an adjustment need at least."""


@dataclass(frozen=True)
class PoseNoise:
    """Noise model of the relative pose (``relative_pose``): it decides the covariance.

    The errors of depth are those of the shipped network at corners, measured in towns 8002 and 8003: log scale 0.09,
    contrast 0.13 (both root mean square), the rest of a single depth 0.2 in the median.
    """

    feature_px: float = 1.3
    """Pixels, standard deviation of a feature's position. By hand."""
    log_depth: float = 0.5
    """Standard deviation of a single hallucinated depth, in log depth. Larger than the median: its tails are long."""
    log_scale: float = 0.1
    """Standard deviation of the scale that all hallucinated depths of a pair share, in log depth."""
    contrast: float = 0.13
    """Standard deviation of the contrast they share, as a fraction of a log depth's distance from the median one."""
    covariance_factor: float = 0.9
    """Times the whole covariance, which is too wide if both images are of one drive. Chosen on 9102."""
    floor_m: float = 0.015
    """Metres, standard deviation that no residual shows (lens, clock, mount). By hand."""
    floor_rad: float = np.radians(0.1)
    """Radians, the same of the rotation. By hand."""
    huber: float = 2.0
    """Standard deviations beyond which a depth counts less. By hand."""
    outlier: float = 2.0
    """Standard deviations at which a correspondence is as likely wrong as right. By hand."""


@dataclass(frozen=True)
class PoseSearch:
    """Optimisation of the relative pose from several initial motions (``relative_pose``). All by hand."""

    rounds: tuple[tuple[int, int], ...] = ((1, 6), (3, 4), (15, 4))
    """(iterations, solutions kept) of each round: poor initial motions are dropped early."""
    same_m: float = 0.03
    """Metres. Solutions closer than this, and than ``same_rad``, are one."""
    same_rad: float = np.radians(0.3)
    """Radians."""
    hopeless: float = 1.5
    """Solutions that cost more than this times the best one are dropped."""
    doubt: float = 10.0
    """Additional cost that makes another solution e times less likely: residuals are not independent."""
    nearest_m: float = 0.3
    """Metres, smallest depth of a point."""
    farthest_m: float = 500.0
    """Metres, largest depth of a point."""


@dataclass(frozen=True)
class TriangulationLimits:
    """Depths of features from neighbouring places (``triangulation``). All by hand."""

    least_sigma: float = 0.03
    """Added to the standard deviation of a log depth: the map's poses are inexact, too."""
    largest_sigma: float = 0.3
    """A depth less certain than this is not measured."""
    share: float = 0.1
    """Distance to the nearest place used, as a share of the median depth of the features: the further away things are,
    the further the camera must move. The next one used is twice as far away."""
    enough_m: float = 1.5
    """Metres, largest such distance, and the one where depths are unknown: features match less well further away."""
    shortest_m: float = 0.05
    """Metres between the cameras, at least."""
    longest_m: float = 30.0
    """Metres between the cameras, at most."""
    turn: float = 0.8
    """Radians between the cameras, at most."""


@dataclass(frozen=True)
class VerificationLimits:
    """When two images show the same place (``verify``)."""

    ratio: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"sift": 0.9, "orb": 0.9, "xfeat": 0.95})
    )
    """Largest distance of a match as a fraction of the next best one's (Lowe 2004), by kind of feature. By hand."""
    inlier_share: float = 0.35
    """Least fraction of the matches that agree on the pose: fewer may agree on a wrong one. Chosen on 9101 and 9102."""
    inlier_px: float = 3.0
    """Pixels, largest reprojection error of an inlier. By hand."""
    largest_sigma_m: float = 0.76
    """Metres. A position less certain than this in some direction is refused. Chosen on 9103, checked on 9102: with
    1.25 m, keyframes further down the street passed for the same place."""
    depth_ratio: float = 8.0
    """Largest ratio between an inlier's adjusted and hallucinated depth, either way. By hand."""


@dataclass(frozen=True)
class MetricPoseLimits:
    """When several places and a query agree on a metric pose (``metric_pose``)."""

    least_inliers: int = 12
    """Features of the query that agree, at least."""
    inlier_share: float = 0.25
    """Least fraction of the matches that agree, if the pose continues a measured one; else that of
    ``VerificationLimits``, as in a wrong place a quarter may agree. Chosen on 9301 and 9304."""
    surprise: float = 8.0
    """Squared Mahalanobis distance (6 dimensions) from the pose known before, beyond which a pose is refused. On 9301,
    99 % are nearer."""
    floor_m: float = 0.03
    """Metres, standard deviation added to a position: the map's poses are inexact. Chosen on 9301 and 9302."""


@dataclass(frozen=True)
class FeatureLimits:
    """Detection of local features (``local_features``, ``xfeat``)."""

    longest_px: int = 640
    """Pixels, largest width of an image for SIFT and ORB: finer detail is seldom found again. By hand."""
    sift_contrast: float = 0.02
    """OpenCV's contrast threshold for SIFT. Half its default: nights are flat. By hand."""
    sift_sigma: float = 2.0
    """Pixels, blur of SIFT's first octave. By hand."""
    orb_threshold: int = 8
    """OpenCV's FAST threshold for ORB. By hand."""
    contrast_limit: float = 4.0
    """Clip limit of the local contrast equalisation before SIFT and ORB. By hand."""
    contrast_tiles: tuple[int, int] = (8, 8)
    """Tiles of the equalisation. By hand."""
    xfeat_score: float = 0.02
    """Least softmax score of an XFeat keypoint in its cell. By hand, for night images."""
    xfeat_pixel: float = 1.35
    """Uncertainty of an XFeat keypoint relative to SIFT's: it lies on a whole pixel. By hand."""


TWO_VIEW = TwoViewLimits()
POSE_NOISE = PoseNoise()
POSE_SEARCH = PoseSearch()
TRIANGULATION = TriangulationLimits()
VERIFICATION = VerificationLimits()
METRIC_POSE = MetricPoseLimits()
FEATURES = FeatureLimits()
