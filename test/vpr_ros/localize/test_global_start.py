"""Places that look alike are told apart by the way between them: images and odometry of the last minute together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

SECOND = 1_000_000_000
SURE = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)
BLOCKS, KINDS, PLACES, SPACING_M = 60, 6, 20, 5.0


class Estate:
    """Blocks of houses in a row. Only six kinds of block were built, so each looks like ten others."""

    def __init__(self, world: Any) -> None:
        self._world = world
        rng = np.random.default_rng(3)
        self.kinds = rng.integers(0, KINDS, BLOCKS)
        self.places = Places(
            ids=np.arange(1, BLOCKS * PLACES + 1),
            drives=np.repeat("estate", BLOCKS * PLACES),
            stamps_ns=np.arange(BLOCKS * PLACES),
            T_map_camera=np.stack([self.pose(SPACING_M * k) for k in range(BLOCKS * PLACES)]),
            descriptors=np.stack([self.descriptor(SPACING_M * k) for k in range(BLOCKS * PLACES)])[:, None],
        )

    def pose(self, along: float) -> np.ndarray:
        return geometry.transform(geometry.R_BODY_OPTICAL, [along, 0.0, 1.5])

    def descriptor(self, along: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        block, within = divmod(along, PLACES * SPACING_M)
        world = type(self._world)(length=1000.0, seed=100 + int(self.kinds[int(block)]))
        return world.descriptor(within, noise, seed)


@pytest.mark.parametrize("start_block", [7, 23, 41])
def test_the_way_tells_places_apart(toy_world: Any, start_block: int) -> None:
    """One image fits ten blocks. After a minute of driving past four or five, only one row of blocks fits.

    The robot must not be sure of one of ten places before, nor lose the right one among 1200.
    """
    estate = Estate(toy_world)
    localizer = Localizer(estate.places, None, None, SURE)  # type: ignore[arg-type]
    start, step = start_block * PLACES * SPACING_M + 30.0, 4.0
    early, late = [], []
    for k in range(120):
        along = start + step * k
        # Odometry has a frame of its own and drifts by 1 %.
        T_odom = geometry.transform(geometry.matrix_from_rpy(0, 0, 1.0), [50.0, 20.0, 0.0]) @ estate.pose(
            1.01 * step * k
        )
        estimate = localizer.recognise(k * SECOND // 2, estate.descriptor(along, 0.5, k), T_odom)
        right = [abs(h.T_map_camera[0, 3] - along) < 15 for h in estimate.hypotheses]
        if k < 5:
            early.append(estimate.hypotheses[0].probability)
        if k >= 115:
            late.append(bool(right[0]) and estimate.hypotheses[0].probability > 0.9)
    assert max(early[1:]) < 0.6
    assert all(late)
