"""Absolute trajectory error, by evo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from evo.core import sync
from evo.core.metrics import APE, PoseRelation, StatisticsType
from evo.core.trajectory import PoseTrajectory3D

from vpr_ros.base.track import Track


@dataclass(frozen=True, eq=False)
class TrajectoryError:
    """Absolute trajectory error after rigid alignment, metres.

    rmse, largest: over the common stamps.
    T_truth_estimate: (4, 4), the alignment.
    errors: (N,) at the common stamps.
    """

    rmse: float
    largest: float
    T_truth_estimate: np.ndarray
    errors: np.ndarray


def trajectory_error(estimate: Track, truth: Track) -> TrajectoryError:
    """evo's APE of translation with SE(3) alignment (Umeyama without scale), over the common stamps."""
    first = int(truth.stamps_ns[0])
    true, found = sync.associate_trajectories(_evo(truth, first), _evo(estimate, first), max_diff=1e-4)
    R, t, _ = found.align(true)
    ape = APE(PoseRelation.translation_part)
    ape.process_data((true, found))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    worst = float(ape.get_statistic(StatisticsType.max))
    return TrajectoryError(float(ape.get_statistic(StatisticsType.rmse)), worst, T, np.asarray(ape.error))


def _evo(track: Track, first_ns: int) -> PoseTrajectory3D:
    """A track for evo, with seconds since first_ns: seconds since 1970 as a float lose microseconds."""
    return PoseTrajectory3D(timestamps=(track.stamps_ns - first_ns) / 1e9, poses_se3=list(track.T))
