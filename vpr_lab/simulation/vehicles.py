"""Shapes of vehicles: an outline seen from the side, pulled to a width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation.mesh import EMISSIVE, GLOSSY, Colour, Mesh, Paint, Placement


@dataclass(frozen=True, eq=False)
class Shape:
    """A vehicle's outline in metres, x from its tail to its nose, z up.

    profile: (N, 2), counter-clockwise from the lower tail. cabin: (M, 2) outline of the side windows. glass: edges of
    the profile (index of the first corner) that are windscreens. wheels: x of both axles.
    """

    length: float
    width: float
    profile: np.ndarray
    cabin: np.ndarray
    glass: tuple[int, ...]
    wheels: tuple[float, float]
    wheel_radius: float

    @property
    def height(self) -> float:
        """Metres."""
        return float(self.profile[:, 1].max())

    @property
    def _scale(self) -> np.ndarray:
        return np.array([self.length, self.height])

    @property
    def unit_profile(self) -> np.ndarray:
        """The profile in 0..1."""
        return self.profile / self._scale

    @property
    def unit_cabin(self) -> np.ndarray:
        """The windows in 0..1."""
        return self.cabin / self._scale

    @property
    def unit_wheels(self) -> tuple[float, float]:
        """Axles in 0..1."""
        return self.wheels[0] / self.length, self.wheels[1] / self.length

    @property
    def unit_wheel(self) -> float:
        """Radius as a share of the length."""
        return self.wheel_radius / self.length


def _shape(
    length: float,
    width: float,
    profile: list,
    cabin: list,
    glass: tuple[int, ...],
    wheels: tuple[float, float],
    radius: float,
) -> Shape:
    return Shape(length, width, np.array(profile, float), np.array(cabin, float), glass, wheels, radius)


SHAPES: dict[str, Shape] = {
    "hatch": _shape(
        3.9,
        1.7,
        [
            (0.05, 0.3),
            (3.85, 0.3),
            (3.9, 0.6),
            (3.75, 0.85),
            (2.85, 0.98),
            (2.15, 1.48),
            (0.55, 1.5),
            (0.1, 1.0),
            (0.0, 0.7),
        ],
        [(0.45, 1.0), (2.65, 0.98), (2.1, 1.38), (0.65, 1.4)],
        (4, 6),
        (0.7, 3.15),
        0.31,
    ),
    "sedan": _shape(
        4.6,
        1.8,
        [
            (0.05, 0.3),
            (4.55, 0.3),
            (4.6, 0.62),
            (4.45, 0.85),
            (3.3, 0.98),
            (2.6, 1.42),
            (1.3, 1.43),
            (0.65, 1.02),
            (0.05, 0.95),
            (0.0, 0.7),
        ],
        [(0.9, 1.0), (3.1, 0.98), (2.52, 1.33), (1.38, 1.34)],
        (4, 6),
        (0.9, 3.7),
        0.32,
    ),
    "estate": _shape(
        4.7,
        1.85,
        [
            (0.05, 0.32),
            (4.65, 0.32),
            (4.7, 0.7),
            (4.5, 0.95),
            (3.4, 1.08),
            (2.75, 1.62),
            (0.5, 1.65),
            (0.1, 1.1),
            (0.0, 0.7),
        ],
        [(0.4, 1.1), (3.2, 1.08), (2.68, 1.53), (0.6, 1.55)],
        (4, 6),
        (0.9, 3.8),
        0.35,
    ),
    "van": _shape(
        5.4,
        2.0,
        [(0.0, 0.35), (5.35, 0.35), (5.4, 0.9), (5.1, 1.15), (4.5, 1.3), (4.0, 2.2), (3.7, 2.35), (0.05, 2.35)],
        [(3.4, 1.35), (4.3, 1.32), (3.9, 2.05), (3.4, 2.05)],
        (4,),
        (1.0, 4.4),
        0.36,
    ),
    "bus": _shape(
        10.5,
        2.5,
        [(0.0, 0.4), (10.45, 0.4), (10.5, 1.1), (10.35, 2.95), (10.1, 3.1), (0.1, 3.1), (0.0, 2.9)],
        [(0.2, 1.25), (10.2, 1.25), (10.1, 2.5), (0.2, 2.5)],
        (2, 6),
        (2.6, 8.1),
        0.5,
    ),
}


def add_vehicle(
    mesh: Mesh, place: Placement, shape: Shape, side_layer: int, end_layer: int, plain: int, colour: Colour, seed: int
) -> None:
    """A vehicle standing on the frame's origin, nose along +x."""
    dark = (0.05, 0.055, 0.06)
    body = Paint(plain, colour, dark, GLOSSY, seed)
    half = shape.width / 2
    start = place.moved(-shape.length / 2, 0.0)
    side = Paint(side_layer, colour, dark, GLOSSY, seed, trim=0.7)
    mesh.wall(start, (0, -half), (shape.length, -half), 0.0, shape.height, (1, 1), side, cutout=True)
    mesh.wall(start, (0, half), (shape.length, half), 0.0, shape.height, (1, 1), side, cutout=True)
    count = len(shape.profile)
    for i in range(1, count):
        (x0, z0), (x1, z1) = shape.profile[i], shape.profile[(i + 1) % count]
        inset = [0.12 * max(0.0, z - 1.0) for z in (z0, z1)]
        corners = np.array(
            [
                [x0, -half + inset[0], z0],
                [x0, half - inset[0], z0],
                [x1, half - inset[1], z1],
                [x1, -half + inset[1], z1],
            ]
        )
        steep = abs(x1 - x0) < 0.5 * abs(z1 - z0) and z0 < 1.3
        paint = (
            Paint(plain, dark, dark, GLOSSY, seed)
            if i in shape.glass
            else Paint(end_layer, colour, dark, GLOSSY, seed)
            if steep
            else body
        )
        mesh.quads(start.apply(corners)[None], np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), paint)
    for x, colour_of_light in ((shape.length + 0.02, (1.0, 0.95, 0.8)), (-0.02, (0.9, 0.05, 0.03))):
        _lights(mesh, start, x, half, colour_of_light, plain)


def _lights(mesh: Mesh, start: Placement, x: float, half: float, colour: Colour, plain: int) -> None:
    for y in (-half + 0.1, half - 0.38):
        ends = ((x, y), (x, y + 0.28)) if x > 0 else ((x, y + 0.28), (x, y))
        mesh.wall(start, ends[0], ends[1], 0.62, 0.78, (1, 1), Paint(plain, colour, kind=EMISSIVE))
