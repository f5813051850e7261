"""A world as triangles with a class each, from a simulated town or a user's mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vpr_lab.simulation.lots import EXTENT_M
from vpr_lab.simulation.mesh import BRANCH, FACADE, FOLIAGE, ROOF, VERTEX
from vpr_lab.simulation.town import Town
from vpr_ros.base.errors import ConfigError, MissingDependencyError

SOLID = -1.0
_GROUND_HALF_M = 3000.0
_RASTER_PER_M, _ANNEX_M = 2, 1.5  # steps, bays and gutters stand out of a building's footprint
_TRIANGLE = np.dtype([("position", "<f4", 3), ("uv", "<f4", 2), ("layer", "<f4"), ("segment", "<f4")])


class Segment(IntEnum):
    """What a pixel of a rendered view shows."""

    SKY = 0
    GROUND = 1
    BUILDING = 2
    VEGETATION = 3
    THING = 4


@dataclass(frozen=True, eq=False)
class Triangles:
    """A world to render views of, without colours.

    world: the name of the frame its poses live in. corners: (3 N,) of position (map metres less origin), uv and layer
    (of masks; SOLID for none) and segment. origin: (3,) map metres, so that float32 is exact enough far from zero.
    masks: (L, S, S) uint8 opacities of leaves and railings.
    """

    world: str
    corners: np.ndarray
    origin: np.ndarray
    masks: np.ndarray

    @property
    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner, map metres."""
        position = self.corners["position"]
        return np.stack([position.min(0), position.max(0)]).astype(float) + self.origin

    @classmethod
    def of_town(cls, town: Town) -> Triangles:
        """Everything that stands in a town, in full leaf, on level ground; no traffic.

        Trees and hedges are vegetation; walls, roofs and all within 1.5 m of a building's footprint are building.
        """
        parts = [_ground()]
        for cells, has_mask in ((town.opaque, False), (town.cutout, True)):
            part = np.zeros((len(cells.vertices) // 4, 4), _TRIANGLE)
            quads = cells.vertices.reshape(-1, 4)
            part["position"], part["uv"] = quads["position"], quads["uv"]
            part["layer"] = quads["layer"] if has_mask else SOLID
            part["segment"] = _town_segments(quads, town.footprints)[:, None]
            parts.append(part[:, [0, 1, 2, 0, 2, 3]].reshape(-1))
        return cls(town.world, np.concatenate(parts), np.zeros(3), town.textures.pixels[..., 2])

    @classmethod
    def of_mesh(cls, path: Path, up: str | None = None, world: str | None = None) -> Triangles:
        """A user's glTF, OBJ or any other mesh that trimesh reads; metres.

        up: the axis that points up, "y" or "z"; None takes y for glTF, as its specification says, and z for others.
        With y up, its x, y, z become the map's x, -z, y. world: the name of its frame, by which photographs are known
        to belong to it; None takes the file's name. A part whose name holds the name of a Segment ("building_7") is of
        that class; of other parts, faces within 45 degrees of level are ground and steeper ones building.
        Raises MissingDependencyError without trimesh, ConfigError for a file that holds no triangles.
        """
        up = up or ("y" if path.suffix.lower() in (".gltf", ".glb") else "z")
        if up not in ("y", "z"):
            raise ConfigError(f"the axis that points up in {path} is 'y' or 'z', not {up!r}")
        parts = [(name, corners) for name, corners in _mesh_parts(path) if len(corners)]
        if not parts:
            raise ConfigError(f"{path} has no triangles: give a mesh, not points or lines")
        corners = np.concatenate([part for _, part in parts])
        if up == "y":
            corners = np.stack([corners[..., 0], -corners[..., 2], corners[..., 1]], -1)
        origin = np.round((corners.min((0, 1)) + corners.max((0, 1))) / 2)
        triangles = np.zeros(corners.shape[:2], _TRIANGLE)
        triangles["position"], triangles["layer"] = corners - origin, SOLID
        names = np.repeat([name for name, _ in parts], [len(part) for _, part in parts])
        triangles["segment"] = _mesh_segments(corners, names)[:, None]
        return cls(world or path.stem, triangles.reshape(-1), origin, np.full((1, 1, 1), 255, np.uint8))


def _ground() -> np.ndarray:
    corners = np.zeros(6, _TRIANGLE)
    corners["position"][:, :2] = _GROUND_HALF_M * np.array([[-1, -1], [1, -1], [1, 1], [-1, -1], [1, 1], [-1, 1]])
    corners["layer"], corners["segment"] = SOLID, Segment.GROUND
    return corners


def _town_segments(quads: np.ndarray, footprints: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) classes of (N, 4) VERTEX, by what they are painted as and where they stand."""
    assert quads.dtype == VERTEX
    kind = quads["second"][:, 0, 3]
    size = EXTENT_M * _RASTER_PER_M
    mask = np.zeros((round(size), round(size)), np.uint8)
    corners = (np.asarray(footprints).reshape(-1, 4, 2) + EXTENT_M / 2) * _RASTER_PER_M
    cv2.fillPoly(mask, list(np.round(corners).astype(np.int32)), 1)
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=round(_ANNEX_M * _RASTER_PER_M))
    cell = ((quads["position"][..., :2].mean(1) + EXTENT_M / 2) * _RASTER_PER_M).astype(int).clip(0, len(mask) - 1)
    segments = np.where(near[cell[:, 1], cell[:, 0]] > 0, Segment.BUILDING, Segment.THING)
    segments[np.isin(kind, (FACADE, ROOF))] = Segment.BUILDING
    segments[np.isin(kind, (FOLIAGE, BRANCH))] = Segment.VEGETATION
    return segments


def _mesh_parts(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names, lower case, and (N, 3, 3) float64 corners of a file's parts, each where its scene puts it."""
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependencyError(f"reading the mesh {path} needs trimesh: pip install trimesh") from error
    if not path.is_file():
        raise ConfigError(f"there is no mesh {path}")
    try:
        scene: Any = trimesh.load_scene(path, process=False, split_objects=True)
    except Exception as error:  # each format's reader raises kinds of its own
        raise ConfigError(f"{path} cannot be read as a mesh: {' '.join(str(error).split())}") from error
    for node in scene.graph.nodes_geometry:
        T, name = scene.graph[node]
        part = scene.geometry[name]
        if hasattr(part, "triangles"):
            material = getattr(getattr(part.visual, "material", None), "name", None)
            named = f"{node} {name} {material}".replace(path.name, "")  # a nameless part is called like its file
            yield named.lower(), trimesh.transform_points(part.triangles.reshape(-1, 3), T).reshape(-1, 3, 3)


def _mesh_segments(corners: np.ndarray, names: np.ndarray) -> np.ndarray:
    """(N,) classes of (N, 3, 3) corners by their parts' names or, if the names say nothing, by their slope."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    level = np.abs(normal[:, 2]) > np.hypot(normal[:, 0], normal[:, 1])
    segments = np.where(level, Segment.GROUND, Segment.BUILDING)
    for segment in Segment:
        if segment is not Segment.SKY:
            segments[np.char.find(names, segment.name.lower()) >= 0] = segment
    return segments
