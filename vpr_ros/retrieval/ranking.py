"""The places an image resembles, most similar first; each is made when someone looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from vpr_ros.records import Match
from vpr_ros.retrieval.calibration import Calibration
from vpr_ros.retrieval.hypotheses import covariance_at
from vpr_ros.retrieval.places import Places


@dataclass(frozen=True, eq=False)
class Ranking(Sequence[Match]):
    """rows (K,) of places, their similarities (K,) and probabilities (K,)."""

    places: Places
    calibration: Calibration
    rows: np.ndarray
    similarities: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, rank: int) -> Match: ...

    @overload
    def __getitem__(self, rank: slice) -> tuple[Match, ...]: ...

    def __getitem__(self, rank: int | slice) -> Match | tuple[Match, ...]:
        if isinstance(rank, slice):
            return tuple(self[k] for k in range(*rank.indices(len(self))))
        row = self.rows[rank]
        T_map_camera = self.places.T_map_camera[row]
        return Match(
            int(self.places.ids[row]),
            str(self.places.drives[row]),
            int(self.places.stamps_ns[row]),
            float(self.similarities[rank]),
            float(self.probabilities[rank]),
            T_map_camera,
            covariance_at(T_map_camera, self.calibration),
        )
