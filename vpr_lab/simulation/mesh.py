"""Painted quads: the geometry of every part of a town before it goes to the graphics card.

A quad has four corners, counter-clockwise seen from outside. Its paint names a layer of the texture array and the two
colours that tint it. Opaque quads and cut-outs (leaves, railings, people: the layer's glass channel is their opacity)
are kept apart, because only the latter need a discard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

VERTEX = np.dtype(
    [
        ("position", "<f4", 3),
        ("uv", "<f4", 2),
        ("layer", "<f4"),
        ("normal", "u1", 4),
        ("colour", "u1", 4),
        ("second", "u1", 4),
    ]
)
VERTEX_FORMAT = "3f4 2f4 1f4 4f1 4f1 4f1"
VERTEX_NAMES = ("in_position", "in_uv", "in_layer", "in_normal", "in_colour", "in_second")

PLAIN, FACADE, FOLIAGE, EMISSIVE, GLOSSY, ROOF, BRANCH = range(7)


@dataclass(frozen=True)
class Paint:
    """What a quad looks like.

    layer: of the texture array. colour, second: sRGB 0..1. kind: one of the constants above. seed: 0..255, varies lit
    windows and weathering. trim: grey of what neither colour tints, 0..1.
    """

    layer: int
    colour: Colour = (1.0, 1.0, 1.0)
    second: Colour = (0.3, 0.3, 0.3)
    kind: int = PLAIN
    seed: int = 0
    trim: float = 0.85


@dataclass(frozen=True)
class Placement:
    """A frame in the town: x along a front, y to its left (into the lot), z up; yaw counter-clockwise from east."""

    x: float
    y: float
    yaw: float
    z: float = 0.0

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) local metres -> (..., 3) map metres."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        out = np.empty(points.shape)
        out[..., 0] = self.x + cosine * points[..., 0] - sine * points[..., 1]
        out[..., 1] = self.y + sine * points[..., 0] + cosine * points[..., 1]
        out[..., 2] = self.z + points[..., 2]
        return out

    def moved(self, x: float, y: float, z: float = 0.0, turn: float = 0.0) -> Placement:
        """The frame at local (x, y, z), turned by turn radians."""
        origin = self.apply(np.array([x, y, z]))
        return Placement(float(origin[0]), float(origin[1]), self.yaw + turn, float(origin[2]))


# Faces of the unit box as corner indices, counter-clockwise from outside: front (-y), right, back, left, top, bottom.
_BOX = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float)
_FACES = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7], [3, 2, 1, 0]])
_UNIT_UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of (N, 3) vectors; ``np.cross`` spends most of its time on questions that a town never asks."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), axis=-1)


class Mesh:
    """Collects quads; `opaque()` and `cutout()` give them as (4 N,) arrays of VERTEX."""

    def __init__(self) -> None:
        self._parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def quads(
        self, corners: np.ndarray, uv: np.ndarray, paint: Paint, normals: np.ndarray | None = None, cutout: bool = False
    ) -> None:
        """corners: (N, 4, 3) map metres; uv: (N, 4, 2) or (4, 2); normals: (N, 4, 3) or None for flat shading."""
        corners = np.asarray(corners, float).reshape(-1, 4, 3)
        if normals is None:
            normals = _cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])[:, None]
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        vertices = np.zeros(corners.shape[:2], VERTEX)
        vertices["position"] = corners
        vertices["uv"] = uv
        vertices["layer"] = paint.layer
        vertices["normal"][..., :3] = np.round(128 + 127 * normals / np.maximum(length, 1e-9))
        vertices["normal"][..., 3] = round(255 * paint.trim)
        vertices["colour"][..., :3] = np.round(255 * np.clip(paint.colour, 0, 1))
        vertices["colour"][..., 3] = paint.seed % 256
        vertices["second"][..., :3] = np.round(255 * np.clip(paint.second, 0, 1))
        vertices["second"][..., 3] = paint.kind
        self._parts[int(cutout)].append(vertices.reshape(-1))

    def wall(
        self,
        place: Placement,
        start: tuple[float, float],
        end: tuple[float, float],
        bottom: float,
        top: float,
        repeat: tuple[float, float],
        paint: Paint,
        cutout: bool = False,
    ) -> None:
        """A vertical quad from start to end (local x, y), seen from its right; the layer repeats (across, up) times."""
        (x0, y0), (x1, y1) = start, end
        corners = np.array([[x0, y0, bottom], [x1, y1, bottom], [x1, y1, top], [x0, y0, top]])
        self.quads(place.apply(corners)[None], _UNIT_UV * np.asarray(repeat), paint, cutout=cutout)

    def box(
        self,
        place: Placement,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        paint: Paint,
        tile_m: float = 3.0,
        faces: tuple[int, ...] = (0, 1, 2, 3, 4),
    ) -> None:
        """A box between two local corners; the layer repeats every tile_m metres. faces: 0..5 as in the list above."""
        size = np.subtract(high, low)
        chosen = _FACES[list(faces)]
        corners = place.apply(np.asarray(low) + _BOX[chosen] * size)
        across = [size[0], size[1], size[0], size[1], size[0], size[0]]
        up = [size[2], size[2], size[2], size[2], size[1], size[1]]
        scale = np.array([[across[face], up[face]] for face in faces])[:, None] / tile_m
        self.quads(corners, _UNIT_UV * scale, paint)

    def cylinder(
        self, place: Placement, radius: float, bottom: float, top: float, paint: Paint, sides: int = 6
    ) -> None:
        """An upright prism round the frame's origin, without caps; smooth normals. Tapers to 0.75 of its radius."""
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides + 1)], 1)
        low, high = ring * radius + [0, 0, bottom], ring * radius * 0.75 + [0, 0, top]
        corners = np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1)
        normals = np.stack([ring[:-1], ring[1:], ring[1:], ring[:-1]], 1)
        turned = Placement(0, 0, place.yaw).apply(normals)
        uv = np.array([[0, 0], [1, 0], [1, (top - bottom)], [0, (top - bottom)]]) * [1 / sides, 1.0]
        self.quads(place.apply(corners), uv, paint, normals=turned)

    def extend(self, other: Mesh) -> None:
        """Take over everything of another mesh."""
        for mine, theirs in zip(self._parts, other._parts, strict=True):
            mine.extend(theirs)

    def opaque(self) -> np.ndarray:
        """(4 N,) VERTEX."""
        return _joined(self._parts[0])

    def cutout(self) -> np.ndarray:
        """(4 N,) VERTEX."""
        return _joined(self._parts[1])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, VERTEX)
