"""The architectural style of a town and its districts, drawn from the seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from vpr_lab.simulation.mesh import Colour

KINDS = ("terrace", "villas", "blocks", "offices", "old")


@dataclass(frozen=True)
class District:
    """The habit along one side of one street.

    kind: one of KINDS. frontage, depth: (least, most) metres. setback: metres from the pavement. floors: (least,
    most). gap: metres between houses. walls: names of wall layers. shops: share of ground floors. roofs: "gable",
    "hip", "flat" or "mansard".
    """

    kind: str
    frontage: tuple[float, float]
    depth: tuple[float, float]
    setback: float
    floors: tuple[int, int]
    gap: float
    walls: tuple[str, ...]
    shops: float
    roofs: tuple[str, ...]


@dataclass(frozen=True)
class TownStyle:
    """What a whole town shares.

    left_hand_traffic: on which side one drives. wall_colours, roof_colours: palettes, sRGB. trim: grey of frames.
    tree_density: 1 is usual. kinds: of districts. asphalt, pavement, lawn, cobbles, leaf: colours, sRGB.
    """

    left_hand_traffic: bool
    wall_colours: tuple[Colour, ...]
    roof_colours: tuple[Colour, ...]
    trim: float
    tree_density: float
    kinds: tuple[str, ...]
    asphalt: Colour
    pavement: Colour
    lawn: Colour
    cobbles: Colour
    leaf: Colour


def make_style(rng: np.random.Generator) -> TownStyle:
    """Draw a town's style."""
    base_hue, saturation = rng.uniform(0.02, 0.14), rng.uniform(0.15, 0.6)
    colours = []
    for _ in range(14):
        hue = base_hue + rng.normal(0, 0.03) if rng.random() < 0.65 else rng.random()
        colours.append(hsv(hue, saturation * rng.uniform(0.2, 1.3), rng.uniform(0.38, 0.92)))
    roofs = [
        hsv(rng.uniform(0, 0.06), rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.6)),
        hsv(0.6, 0.1, rng.uniform(0.2, 0.45)),
    ]
    roofs += [hsv(rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.5)) for _ in range(2)]
    grey = rng.uniform(0.27, 0.45)
    pale = rng.uniform(0.45, 0.66)
    kinds = tuple(str(kind) for kind in rng.choice(KINDS, 5, p=[0.3, 0.22, 0.16, 0.08, 0.24]))
    return TownStyle(
        left_hand_traffic=bool(rng.random() < 0.3),
        wall_colours=tuple(colours),
        roof_colours=tuple(roofs),
        trim=rng.uniform(0.75, 0.98),
        tree_density=rng.uniform(0.3, 1.2),
        kinds=(*kinds, "terrace", "villas"),
        asphalt=(grey, grey * rng.uniform(0.98, 1.02), grey * rng.uniform(0.98, 1.06)),
        pavement=(pale, pale * rng.uniform(0.94, 1.0), pale * rng.uniform(0.84, 1.0)),
        lawn=hsv(rng.uniform(0.17, 0.27), rng.uniform(0.25, 0.5), rng.uniform(0.34, 0.48)),
        cobbles=hsv(rng.uniform(0.02, 0.12), rng.uniform(0.05, 0.25), rng.uniform(0.35, 0.55)),
        leaf=hsv(rng.uniform(0.17, 0.28), rng.uniform(0.25, 0.5), rng.uniform(0.34, 0.5)),
    )


def make_district(kind: str, main: bool, rng: np.random.Generator) -> District:
    """Draw the habit of one side of one street."""
    walls = {
        "terrace": ("brick", "plaster", "brick"),
        "villas": ("plaster", "brick", "boards", "rubble"),
        "blocks": ("panel", "plaster"),
        "offices": ("panel", "ashlar", "plaster"),
        "old": ("plaster", "half_timber", "ashlar", "rubble", "plaster"),
    }[kind]
    chosen = tuple(str(wall) for wall in rng.choice(walls, 3))
    shops = {"terrace": 0.15, "villas": 0.02, "blocks": 0.1, "offices": 0.4, "old": 0.45}[kind] + (
        0.35 if main else 0.0
    )
    if kind == "terrace":
        return District(
            kind,
            (5.5, 9.5),
            (9, 12),
            rng.choice([0.0, 1.5, 3.5]),
            (2, 4),
            0.0,
            chosen,
            shops,
            ("gable", "gable", "mansard"),
        )
    if kind == "villas":
        return District(
            kind, (8, 15), (8, 12), rng.uniform(3, 7), (1, 3), rng.uniform(3, 7), chosen, shops, ("gable", "hip", "hip")
        )
    if kind == "blocks":
        return District(
            kind, (18, 34), (11, 14), rng.uniform(2, 7), (3, 7), rng.uniform(4, 12), chosen, shops, ("flat",)
        )
    if kind == "offices":
        return District(
            kind, (14, 30), (12, 17), rng.choice([0.0, 2.0]), (3, 8), rng.uniform(0, 6), chosen, shops, ("flat",)
        )
    return District(
        kind, (6, 14), (10, 14), 0.0, (2, 5), 0.0, chosen, shops, ("gable", "mansard", "hip", "gable", "flat")
    )


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue, saturation, value in 0..1 (hue wraps) -> sRGB."""
    return colorsys.hsv_to_rgb(float(hue) % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1)))


def jittered(colour: Colour, rng: np.random.Generator, amount: float = 0.05) -> Colour:
    """A colour a little off the given one."""
    red, green, blue = np.clip(np.asarray(colour) * rng.normal(1, amount) + rng.normal(0, amount / 3, 3), 0.02, 1)
    return float(red), float(green), float(blue)
