"""Matches of an image: the retrieved places, most similar first."""

from __future__ import annotations

import numpy as np

from vpr_ros.base.records import Match, OnDemand
from vpr_ros.localize.hypotheses import covariance_at
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places


def ranking(
    places: Places, calibration: Calibration, rows: np.ndarray, similarities: np.ndarray, probabilities: np.ndarray
) -> OnDemand[Match]:
    """Matches of rows (K,) with similarities (K,) and probabilities (K,), each made on access."""

    def match(rank: int) -> Match:
        row = rows[rank]
        T_map_camera = places.T_map_camera[row]
        return Match(
            int(places.ids[row]),
            str(places.drives[row]),
            int(places.stamps_ns[row]),
            float(similarities[rank]),
            float(probabilities[rank]),
            T_map_camera,
            covariance_at(T_map_camera, calibration),
        )

    return OnDemand(len(rows), match)
