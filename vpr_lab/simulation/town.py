"""A procedural town, determined by its seed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vpr_lab.simulation import ground
from vpr_lab.simulation.planting import TownBuilder
from vpr_lab.simulation.routes import Route, chain_loops, find_loop, make_route, with_detour
from vpr_lab.simulation.streets import Streets, make_streets
from vpr_lab.simulation.style import TownStyle, make_style
from vpr_lab.simulation.textures import TextureSet, make_textures
from vpr_lab.simulation.traffic import Traffic, make_traffic
from vpr_ros.base.errors import ConfigError

CELL_M = 40.0


@dataclass(frozen=True, eq=False)
class Cells:
    """Quads sorted by the square of CELL_M they lie in, for drawing only what is near.

    vertices: (4 N,) VERTEX. centres: (C, 2), heights: (C,), metres. ranges: (C, 2) first quad and number of quads.
    """

    vertices: np.ndarray
    centres: np.ndarray
    heights: np.ndarray
    ranges: np.ndarray


class Town:
    """Streets, buildings, trees and all that stands still, about 500 m x 500 m round the origin, z up, ground at z = 0.

    Equal seeds give equal towns, but for the lettering of signs, which OpenCV versions draw differently. seed; style,
    streets, textures: see their classes. opaque, cutout: what stands, as Cells. lamps: (N, 3) metres. footprints:
    (4, 2) metres of every building; heights: of their walls. identical: all streets are alike, down to the last
    house, and equally long: the worst a loop closer can meet.
    """

    def __init__(self, seed: int, identical: bool = False) -> None:
        self.seed, self.identical = seed, identical
        self.style: TownStyle = make_style(np.random.default_rng([seed, 1]))
        self.streets: Streets = make_streets(np.random.default_rng([seed, 2]), identical)
        self.textures: TextureSet = make_textures(seed)
        rng = np.random.default_rng([seed, 3])
        builder = TownBuilder(self.streets, self.style, self.textures, rng, identical)
        builder.build()
        self.opaque = _cells(builder.mesh.opaque())
        self.cutout = _cells(builder.mesh.cutout())
        self.lamps = np.array(builder.lamps).reshape(-1, 3)
        self.footprints, self.heights = builder.footprints, builder.heights
        self._plazas, self._paths, self._cobbled, self._parks = (
            builder.plazas,
            builder.paths,
            builder.cobbled,
            builder.parks,
        )

    @property
    def world(self) -> str:
        """The name of the frame its poses live in."""
        return f"town {self.seed}" + (" of identical streets" if self.identical else "")

    @cached_property
    def ground(self) -> np.ndarray:
        """(4096, 4096, 4) uint8, see ground.paint_ground."""
        rng, count = np.random.default_rng([self.seed, 4]), len(self.streets.streets)
        rngs = [copy.deepcopy(rng) for _ in range(count)] if self.identical else [rng] * count
        return ground.paint_ground(self.streets, self._cobbled, self._plazas, self._paths, rngs)

    @cached_property
    def field(self) -> np.ndarray:
        """(1024, 1024, 4) float32, see ground.light_field."""
        return ground.light_field(self.lamps, self.footprints, self.heights)

    @cached_property
    def _reference_and_detour(self) -> tuple[list[int], list[int]]:
        rng = np.random.default_rng([self.seed, 5])
        loops = [find_loop(self.streets, rng, 1150.0, 1900.0) for _ in range(12)]
        best = max(((*with_detour(self.streets, loop), loop) for loop in loops), key=lambda found: found[1])
        return best[2], best[0]

    def route(self, name: str = "reference", reverse: bool = False) -> Route:
        """A closed line by name: "reference", "detour" (the reference with a part far from it), "loops" (three laps
        that share streets, along and against the first time) or "random-<number>".

        reverse: drive it the other way round, in the other lane. Raises ConfigError for another name.
        """
        if name in ("reference", "detour"):
            crossings = self._reference_and_detour[name == "detour"]
        elif name.startswith("random-") and name[7:].isdigit():
            crossings = find_loop(self.streets, np.random.default_rng([self.seed, 6, int(name[7:])]), 900.0, 2400.0)
        elif name == "loops":
            crossings = chain_loops(self.streets, np.random.default_rng([self.seed, 7]))
        else:
            raise ConfigError(f"unknown route '{name}': use reference, detour, loops or random-<number>")
        if reverse:
            crossings = crossings[::-1]
        return make_route(self.streets, name, crossings, self.style.left_hand_traffic)

    def traffic(self, seed: int) -> Traffic:
        """Vehicles and people of one drive."""
        return make_traffic(self.streets, self.textures, self.style.left_hand_traffic, seed)

    def plan_picture(self) -> dict[str, list[np.ndarray]]:
        """The town from above, metres: roads and pavements as (N, 2) polygons, buildings as (4, 2), parks as (4, 2)."""
        streets = self.streets.streets
        return {
            "pavements": [_band(street.line, street.corridor_m) for street in streets],
            "roads": [_band(street.line, street.road_m / 2) for street in streets],
            "buildings": list(self.footprints),
            "parks": list(self._parks),
        }


def _band(line: np.ndarray, half_m: float) -> np.ndarray:
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    return np.concatenate([line + half_m * normal, (line - half_m * normal)[::-1]])


def _cells(vertices: np.ndarray) -> Cells:
    corners = vertices["position"].reshape(-1, 4, 3)
    cell = np.floor(corners[..., :2].mean(1) / CELL_M).astype(int)
    keys, inverse = np.unique(cell, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    counts = np.bincount(inverse, minlength=len(keys))
    heights = np.zeros(len(keys))
    np.maximum.at(heights, inverse, corners[..., 2].max(1))
    ranges = np.stack([np.cumsum(counts) - counts, counts], 1)
    return Cells(vertices.reshape(-1, 4)[order].reshape(-1), (keys + 0.5) * CELL_M, heights, ranges)
