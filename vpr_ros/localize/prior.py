"""Priors: the position by another source becomes evidence for each place. It is soft, since any source can be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import Prior
from vpr_ros.localize.constants import PRIOR
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import largest


class PriorModel:
    """Weighs places by priors. A prior counts against one that lies anywhere on the map's area."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._around = np.eye(2) * (PRIOR.spacings * places.spacing) ** 2  # the camera is near a place, not on it
        extent = np.ptp(places.positions[:, :2], axis=0) + 2 * PRIOR.margin_m
        self._log_area = float(np.log(extent).sum())

    def log_ratios(self, priors: Sequence[Prior]) -> np.ndarray | None:
        """Evidence (N,) of each place against "not on this map"; None without priors."""
        if not priors:
            return None
        return np.asarray(np.sum([self._of_one(prior) for prior in priors], axis=0))

    def near(self, log_ratios: np.ndarray | None) -> np.ndarray:
        """Rows (K,) of the places that priors make more probable, the most probable ones if they are many."""
        if log_ratios is None:
            return np.zeros(0, np.int64)
        return largest(log_ratios, PRIOR.most_compared, above=0.0)

    def _of_one(self, prior: Prior) -> np.ndarray:
        covariance = np.asarray(prior.covariance, float) + self._around
        offsets = self._places.positions[:, :2] - prior.position[:2]
        squared = np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets)
        log_density = -0.5 * squared - 0.5 * np.log(np.linalg.det(covariance)) - np.log(2 * np.pi) + self._log_area
        if prior.heading is not None:
            sigma = np.hypot(prior.heading_sigma, PRIOR.heading)
            turn = geometry.wrap_angle(self._places.headings - prior.heading)
            uniform = np.log(sigma) - 0.5 * np.log(2 * np.pi)  # log density of any heading, relative to this normal law
            log_density += np.maximum(-0.5 * (turn / sigma) ** 2 - uniform, -PRIOR.turned)
        wrong = np.clip(prior.wrong, 1e-6, 1 - 1e-6)
        return np.asarray(np.logaddexp(np.log1p(-wrong) + log_density, np.log(wrong)))
