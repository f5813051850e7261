"""The plan of one building."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_lab.simulation.mesh import Colour


@dataclass(frozen=True)
class Plan:
    """All that is decided about one building before it is built; metres."""

    width: float
    depth: float
    floors: int
    floor_m: float
    bay_m: float
    wall: str
    window_layer: int
    colour: Colour
    second: Colour
    roof: str
    roof_colour: Colour
    roof_rise: float
    seed: int
    shops: bool
    trim: float

    @property
    def height(self) -> float:
        """Of the walls, metres."""
        return self.floors * self.floor_m

    @property
    def bays(self) -> int:
        """Windows side by side on the front."""
        return max(1, round(self.width / self.bay_m))
