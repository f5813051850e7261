"""Fills a town: along every street buildings, gardens, lamps and trees; and parks."""

from __future__ import annotations

import numpy as np

from vpr_lab.simulation import furniture, landmarks
from vpr_lab.simulation.buildings import add_building, make_plan
from vpr_lab.simulation.lots import Raster, Side, footprint, park_blocks, sides
from vpr_lab.simulation.mesh import Colour, Mesh, Placement
from vpr_lab.simulation.nature import add_bush, add_tree, make_species
from vpr_lab.simulation.streets import Streets
from vpr_lab.simulation.style import District, TownStyle, hsv, jittered, make_district
from vpr_lab.simulation.textures import TextureSet


class TownBuilder:
    """Builds once; then mesh, lamps, footprints, heights, parks, plazas, paths and cobbled hold the town.

    identical: one lot and one pavement again and again, nothing in the middle of the blocks.
    """

    def __init__(
        self,
        streets: Streets,
        style: TownStyle,
        textures: TextureSet,
        rng: np.random.Generator,
        identical: bool = False,
    ) -> None:
        self.streets, self.style, self.textures, self.rng = streets, style, textures, rng
        self._identical, self._beginning = identical, rng.bit_generator.state
        self.mesh = Mesh()
        self.raster = Raster(streets)
        self.species = make_species(textures, style.leaf, rng)
        self.lamps: list[np.ndarray] = []
        self.footprints: list[np.ndarray] = []
        self.heights: list[float] = []
        self.parks = [] if identical else park_blocks(streets, rng, int(rng.integers(3, 6)))
        self.plazas: list[np.ndarray] = []
        self.paths: list[np.ndarray] = []
        self.cobbled: list[bool] = []

    def build(self) -> None:
        """Fill the town."""
        for index, block in enumerate(self.parks):
            self.raster.take(block, 2)
            self._park(block, plaza=index % 2 == 1)
        cobbled = 0.0 if self._identical else 0.15
        self.cobbled = [not street.main and bool(self.rng.random() < cobbled) for street in self.streets.streets]
        kinds = self._kinds()
        for number, side in enumerate(sides(self.streets)):
            self._repeat()
            district = make_district(kinds[number], side.street.main, self.rng)
            self._lots(side, district)
            self._repeat()
            self._pavement(side, number % 2 == 0)
        if not self._identical:
            self._back_gardens()

    def _repeat(self) -> None:
        """In a town of identical streets, draw the same random numbers again."""
        if self._identical:
            self.rng.bit_generator.state = self._beginning

    def _kinds(self) -> list[str]:
        """A kind of district for each side, alike in the neighbourhood."""
        if self._identical:
            return [self.style.kinds[0]] * (2 * len(self.streets.streets))
        count = len(self.style.kinds)
        seeds = self.rng.uniform(-300, 300, (count * 2, 2))
        chosen = []
        for side in sides(self.streets):
            middle = side.line[len(side.line) // 2] + self.rng.normal(0, 25, 2)
            nearest = int(np.argmin(np.linalg.norm(seeds - middle, axis=1)))
            chosen.append(self.style.kinds[nearest % count])
        return chosen

    def _add_building(self, place: Placement, width: float, depth: float, district: District) -> None:
        plan = make_plan(width, depth, district, self.style, self.textures, self.rng)
        add_building(self.mesh, place, plan, self.textures, self.rng)
        self._occupy(footprint(place, width, depth), plan.height)

    def _occupy(self, corners: np.ndarray, height: float) -> None:
        self.raster.take(corners, 3)
        self.footprints.append(corners)
        self.heights.append(height)

    def _lots(self, side: Side, district: District) -> None:
        """Buildings from one end of a side to the other, gardens and edges in between."""
        rng, out = self.rng, side.street.corridor_m + district.setback
        along, empty_from = 2.0, 2.0
        habit = str(rng.choice(["hedge", "wall", "railing", "pickets"]))
        colour = self._boundary_colour(habit)
        while along < side.length_m - 5:
            self._repeat()
            width = min(rng.uniform(*district.frontage), side.length_m - 2 - along)
            depth = rng.uniform(*district.depth)
            placed = False
            for shrink, shallow in ((1.0, 1.0), (0.72, 0.8), (0.5, 0.6)):
                place = side.lot(along, width * shrink, out)
                if width * shrink > 4 and self.raster.is_free(footprint(place, width * shrink, depth * shallow, 0.3)):
                    width, depth = width * shrink, depth * shallow
                    self._add_building(place, width, depth, district)
                    placed = True
                    break
            if not placed:
                along += 1.5
                continue
            self._edge(side, empty_from, along, habit, colour)
            if district.setback > 1:
                self._front_garden(side, along, width, district, habit, colour)
            along += width + (
                rng.uniform(0.6, 1.4) * district.gap
                if district.gap
                else (rng.uniform(2, 5) if rng.random() < 0.06 else 0.0)
            )
            empty_from = along
        self._edge(side, empty_from, side.length_m - 2, habit, colour)

    def _boundary_colour(self, habit: str) -> Colour:
        if habit == "hedge":
            return jittered(self.style.leaf, self.rng, 0.15)
        if habit == "wall":
            return jittered(self.style.wall_colours[int(self.rng.integers(14))], self.rng, 0.1)
        return hsv(self.rng.random(), self.rng.uniform(0, 0.5), self.rng.choice([0.1, 0.2, 0.85]))

    def _edge(self, side: Side, start: float, end: float, habit: str, colour: Colour) -> None:
        """A boundary along the pavement where no building stands, in pieces that keep off streets and parks."""
        out = side.street.corridor_m + 0.2
        for first in np.arange(start, end - 1.0, 4.0):
            length = float(min(4.0, end - first))
            place = side.lot(float(first), length, out)
            ends = place.apply(np.array([[0, 0.3, 0], [length / 2, 0.3, 0], [length, 0.3, 0]]))
            if all(self.raster.code(x, y) == 0 for x, y, _ in ends):
                furniture.add_boundary(self.mesh, place, length, habit, colour, self.textures, self.rng)

    def _front_garden(
        self, side: Side, along: float, width: float, district: District, habit: str, colour: Colour
    ) -> None:
        """A boundary with an opening, a bush or a small tree behind it."""
        rng = self.rng
        if rng.random() < 0.75:
            opening = along + width * rng.uniform(0.2, 0.7)
            self._edge(side, along, opening - 0.8, habit, colour)
            self._edge(side, opening + 0.8, along + width, habit, colour)
        for _ in range(int(rng.integers(0, 3))):
            place = side.place(
                along + rng.uniform(0.5, width - 0.5), side.street.corridor_m + rng.uniform(0.4, 0.7) * district.setback
            )
            species = self.species[int(rng.integers(5))]
            if rng.random() < 0.3 and district.setback > 3:
                add_tree(self.mesh, place, rng.uniform(3.5, 7), species, self.textures, rng)
            else:
                add_bush(self.mesh, place, rng.uniform(0.5, 1.2), species, rng)

    def _pavement(self, side: Side, with_lamps: bool) -> None:
        """Lamps, trees, signs and the rest along one pavement."""
        rng, street = self.rng, side.street
        kerb = street.road_m / 2 + 0.45
        height, arm = (
            (rng.uniform(6.5, 8.5), rng.uniform(1.0, 2.0))
            if street.main
            else (rng.uniform(4.0, 6.0), rng.choice([0.0, 0.8]))
        )
        metal = hsv(rng.random(), rng.uniform(0, 0.4), rng.choice([0.12, 0.35, 0.55]))
        if with_lamps or street.main:
            for along in np.arange(rng.uniform(8, 14), side.length_m - 7, rng.uniform(22, 32)):
                place = side.place(float(along), kerb)
                self.lamps.append(furniture.add_lamp(self.mesh, place, height, arm, metal, self.textures))
        if rng.random() < 0.4 * self.style.tree_density and street.pavement_m > 2.2:
            species = self.species[int(rng.integers(4))]
            for along in np.arange(rng.uniform(9, 16), side.length_m - 9, rng.uniform(9, 18)):
                if rng.random() < 0.8:
                    add_tree(
                        self.mesh, side.place(float(along), kerb + 0.3), rng.uniform(5, 9), species, self.textures, rng
                    )
        if rng.random() < 0.15 and not street.main:
            poles = [side.place(float(along), kerb + 0.1) for along in np.arange(8, side.length_m - 6, 24)]
            furniture.add_pole_line(self.mesh, poles, rng.uniform(7, 9), self.textures)
        self._small_things(side, kerb)

    def _small_things(self, side: Side, kerb: float) -> None:
        rng = self.rng
        adders = (
            furniture.add_sign,
            furniture.add_small,
            furniture.add_poster,
            furniture.add_bus_stop,
            furniture.add_bench,
        )
        for along in np.arange(9.0, side.length_m - 9, rng.uniform(7, 15)):
            if rng.random() < 0.65:
                choice = int(rng.choice(5, p=[0.4, 0.4, 0.09, 0.05, 0.06]))
                out = kerb if choice in (0, 2) else kerb + side.street.pavement_m * (0.6 if choice != 3 else 0.45)
                turn = np.pi if choice == 0 and not self.style.left_hand_traffic else 0.0
                adders[choice](self.mesh, side.place(float(along), out).moved(0, 0, 0, turn), self.textures, rng)

    def _park(self, block: np.ndarray, plaza: bool) -> None:
        """Grass, paths, trees and benches, or a paved square; something to remember in the middle."""
        rng, centre = self.rng, block.mean(0)
        if plaza:
            self.plazas.append(block)
        else:
            self.paths += [np.stack([block[i], centre, block[i + 2]]) for i in (0, 1)]
        corners, height = landmarks.add_landmark(
            self.mesh, Placement(centre[0], centre[1], rng.uniform(0, 2 * np.pi)), self.textures, self.style, rng
        )
        self._occupy(corners, height)
        for _ in range(
            int(rng.integers(10, 22)) if plaza else int(rng.integers(30, 55) * (0.5 + self.style.tree_density / 2))
        ):
            weights = rng.dirichlet(np.ones(4) * 0.8)
            x, y = centre + 0.93 * (weights @ block - centre)
            if self.raster.code(x, y) != 2 or np.linalg.norm([x, y] - centre) < 13:
                continue
            place = Placement(float(x), float(y), rng.uniform(0, 2 * np.pi))
            if rng.random() < 0.75:
                add_tree(self.mesh, place, rng.uniform(5, 15), self.species[int(rng.integers(5))], self.textures, rng)
            elif rng.random() < 0.5:
                add_bush(self.mesh, place, rng.uniform(0.6, 1.6), self.species[int(rng.integers(5))], rng)
            else:
                furniture.add_bench(self.mesh, place, self.textures, rng)

    def _back_gardens(self) -> None:
        """Trees behind the houses, seen through the gaps and over the roofs."""
        rng = self.rng
        for x, y in rng.uniform(-300, 300, (int(900 * self.style.tree_density), 2)):
            around = [self.raster.code(x + dx, y + dy) for dx in (-2, 2) for dy in (-2, 2)]
            if not any(around):
                place = Placement(float(x), float(y), rng.uniform(0, 2 * np.pi))
                add_tree(self.mesh, place, rng.uniform(4, 12), self.species[int(rng.integers(5))], self.textures, rng)
