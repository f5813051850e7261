"""Priors: the position by another source becomes evidence for each cell. It is soft: any source can be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import Prior
from vpr_ros.localize.constants import FILTER, PRIOR
from vpr_ros.localize.rig import Rig
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.maps.scores import largest


class PriorModel:
    """Weighs cells by priors.

    A prior counts against one that lies anywhere on the map's area, as far as its own errors carry it: the vaguer it
    is, the less it says.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._sigma = PRIOR.spacings * rig.places.spacing  # the camera is near a place, not on it
        self._extent = np.ptp(rig.places.positions[:, :2], axis=0) + 2 * PRIOR.margin_m

    def log_ratios(self, priors: Sequence[Prior], camera: int = 0) -> SparseValues | None:
        """Evidence of each cell against "not on this map"; None without priors. camera: that they speak of."""
        evidence = None
        for prior in priors:
            of_one = self._of_one(prior, camera)
            evidence = of_one if evidence is None else evidence.plus(of_one)
        return None if evidence is None else evidence.reduced()

    def near(self, log_ratios: SparseValues | None) -> np.ndarray:
        """Cells (K,) that priors make more probable, the most probable ones if they are many."""
        if log_ratios is None:
            return np.zeros(0, np.int64)
        return log_ratios.rows[largest(log_ratios.values, PRIOR.most_compared, above=0.0)]

    def _of_one(self, prior: Prior, camera: int) -> SparseValues:
        wrong = np.clip(prior.wrong, 1e-6, 1 - 1e-6)
        covariance = np.asarray(prior.covariance, float) + np.eye(2) * self._sigma**2
        cells = self._around(prior, covariance)
        T_map_camera = self._rig.poses(cells) @ self._rig.T_first_camera(camera)
        offsets = T_map_camera[:, :2, 3] - prior.position[:2]
        squared = np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets)
        log_density = -0.5 * squared - 0.5 * np.log(np.linalg.det(covariance)) - np.log(2 * np.pi)
        log_density += np.log(self._extent + np.sqrt(2 * np.pi * np.diag(covariance))).sum()
        if prior.heading is not None:
            sigma = np.hypot(prior.heading_sigma, PRIOR.heading)
            turn = geometry.wrap_angle(geometry.heading(T_map_camera) - prior.heading)
            # Log density of any heading, relative to this normal law; a wide law that goes round is no less.
            uniform = min(np.log(sigma) - 0.5 * np.log(2 * np.pi), 0.0)
            log_density += np.maximum(-0.5 * (turn / sigma) ** 2 - uniform, -PRIOR.turned)
        values = np.logaddexp(np.log1p(-wrong) + log_density, np.log(wrong))
        return SparseValues.with_rows(cells, values, float(np.log(wrong)), self._rig.cells)

    def _around(self, prior: Prior, covariance: np.ndarray) -> np.ndarray:
        """Cells (K,) that a prior says something of: all of a small map, else those within ``PRIOR.sigmas``."""
        if self._rig.cells <= FILTER.individual:
            return np.arange(self._rig.cells)
        radius = PRIOR.sigmas * float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
        rows = self._rig.places.neighbours.within(np.asarray(prior.position[:2], float), radius)
        return np.concatenate([self._rig.cells_of(number, rows) for number in range(self._rig.cameras)])
