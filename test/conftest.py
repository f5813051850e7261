"""A toy world that every test can afford: a loop of places whose descriptors change smoothly along the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from vpr_ros import geometry
from vpr_ros.retrieval.places import Places

DIMENSION = 64


@dataclass(frozen=True, eq=False)
class ToyWorld:
    """A circular street, 400 m round, seen by a camera that looks along it.

    A descriptor is a random smooth function of position (random Fourier features, correlation about 8 m).
    """

    length: float = 400.0
    seed: int = 0

    def pose(self, along: float) -> np.ndarray:
        """(4, 4) camera pose after that many metres of the circle."""
        radius, angle = self.length / (2 * np.pi), 2 * np.pi * along / self.length
        R = geometry.matrix_from_rpy(0, 0, angle + np.pi / 2) @ geometry.R_BODY_OPTICAL
        return geometry.transform(R, [radius * np.cos(angle), radius * np.sin(angle), 1.6])

    def descriptor(self, along: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        """(D,) float32 unit descriptor of what is seen there; noise is its share of the signal's length."""
        rng = np.random.default_rng(self.seed)
        x = self.pose(along)[:2, 3]
        signal = np.cos(rng.normal(0, 1 / 8, (DIMENSION, 2)) @ x + rng.uniform(0, 2 * np.pi, DIMENSION))
        signal /= np.linalg.norm(signal)
        signal = signal + noise * np.random.default_rng(seed).normal(0, DIMENSION**-0.5, DIMENSION)
        return (signal / np.linalg.norm(signal)).astype(np.float32)

    def noise_image(self, seed: int) -> np.ndarray:
        """(D,) descriptor of a place this world does not have."""
        vector = np.random.default_rng(10_000 + seed).normal(0, 1, DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def places(self, every: float = 5.0) -> Places:
        """A map of one round."""
        along = np.arange(0, self.length, every)
        return Places(
            ids=np.arange(1, len(along) + 1),
            drives=np.array(["reference"] * len(along)),
            stamps_ns=(along * 1e8).astype(np.int64),
            T_map_camera=np.stack([self.pose(a) for a in along]),
            descriptors=np.stack([self.descriptor(a) for a in along]),
        )


@pytest.fixture(scope="session")
def toy_world() -> ToyWorld:
    return ToyWorld()
