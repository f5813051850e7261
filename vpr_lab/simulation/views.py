"""Databases of views rendered from a town or a user's mesh, as depth, edges and classes.

A database is a folder of memory-mapped arrays: ``depth.npy`` (V, S, S) float16 metres along the optical axis (0: sky),
``segments.npy`` and ``silhouettes.npy`` (V, S, S) uint8, and ``poses.npz`` with ``T_map_camera`` (V, 4, 4), the world's
name and how the views were rendered. It appears whole or not at all. Source: CrossLocate (Tomesek et al., WACV 2022).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_lab.simulation.streets import Street
from vpr_lab.simulation.town import Town
from vpr_lab.simulation.triangles import Triangles
from vpr_lab.simulation.view_renderer import ViewRenderer
from vpr_ros.base import config, geometry
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError, DriveError

_ARRAYS = ("depth", "segments", "silhouettes")


@dataclass(frozen=True)
class ViewSettings:
    """Which views of a world are rendered, and how."""

    every_m: float = option(10.0, "distance between positions along a street, or over a mesh", "m", low=0.1)
    across_m: tuple[float, ...] = option((0.0,), "offsets from the middle of a street, left is positive", "m")
    height_m: float = option(1.6, "of the camera over the ground", "m", low=0.01)
    views: int = option(12, "views at each position, evenly spread in yaw; the first looks east", low=1, high=360)
    fov_deg: float = option(60.0, "field of view, both ways", "deg", low=5.0, high=150.0)
    size_px: int = option(224, "width and height of a view", "px", low=16, high=2048)
    far_m: float = option(1200.0, "what is farther away is sky", "m", low=1.0, high=60000.0)
    edge: float = option(0.05, "minimum bend of the inverse depth at a silhouette", low=0.001, high=1.0)


@dataclass(frozen=True, eq=False)
class ViewDatabase:
    """Rendered views of one world. The arrays are described above; silhouettes are 1 at edges, segments are Segment."""

    world: str
    settings: ViewSettings
    depth: np.ndarray
    segments: np.ndarray
    silhouettes: np.ndarray
    T_map_camera: np.ndarray

    def __len__(self) -> int:
        return len(self.T_map_camera)

    @property
    def position(self) -> np.ndarray:
        """(V, 3) map metres."""
        return np.asarray(self.T_map_camera[:, :3, 3])

    @property
    def heading(self) -> np.ndarray:
        """(V,) yaw, radians counter-clockwise from east."""
        return geometry.heading(self.T_map_camera)


def render_views(
    world: Town | Triangles,
    path: Path,
    settings: ViewSettings | None = None,
    positions: np.ndarray | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ViewDatabase:
    """Render a world's views into a folder and open it; an existing one is opened.

    positions: (P, 3) of cameras, map metres; None takes the middle of a town's streets, or a grid over the ground of a
    mesh. on_progress: (positions done, positions in all). Raises ConfigError if the folder was rendered with other
    settings, from other positions or of another world, or if there is no position;
    MissingDependencyError if the machine cannot draw.
    """
    settings = settings or ViewSettings()
    if path.is_dir():
        found = load_views(path)
        moved = positions is not None and not np.array_equal(found.position[:: settings.views], positions)
        if moved or (found.world, found.settings) != (world.world, settings):
            raise ConfigError(f"{path} holds other views, of {found.world}: delete it, or name another folder")
        return found
    triangles = Triangles.of_town(world) if isinstance(world, Town) else world
    renderer = ViewRenderer(triangles, settings.size_px, settings.fov_deg, settings.far_m)
    try:
        if positions is None:
            positions = street_positions(world, settings) if isinstance(world, Town) else _over(renderer, settings)
        if len(positions) == 0:
            raise ConfigError(f"{world.world} has no place to render views from: give positions")
        part = path.with_name(path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _render(renderer, part, settings, np.asarray(positions, float), on_progress)
    finally:
        renderer.close()
    part.rename(path)
    return load_views(path)


def load_views(path: Path) -> ViewDatabase:
    """Open a database of views. Raises DriveError if there is none."""
    try:
        depth, segments, edges = (np.load(path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        with np.load(path / "poses.npz") as poses:
            T_map_camera, world, settings = poses["T_map_camera"], str(poses["world"]), str(poses["settings"])
    except (OSError, ValueError, KeyError) as error:
        raise DriveError(f"{path} is not a database of rendered views: render one first") from error
    how = config.from_dict(ViewSettings, json.loads(settings), str(path))
    return ViewDatabase(world, how, depth, segments, edges, T_map_camera)


def silhouettes(depth: np.ndarray, edge: float = 0.05) -> np.ndarray:
    """Edges of surfaces and the skyline: (H, W) metres, 0 for the sky -> (H, W) uint8, 1 at an edge.

    On a plane the inverse depth is linear across the image; an edge is where its second difference exceeds the
    given share of its largest value among the three pixels, so that the ground's far end is not full of edges.
    """
    nearness = np.divide(1.0, depth, out=np.zeros(depth.shape, np.float64), where=depth > 0)
    edges = np.zeros(depth.shape, np.uint8)
    for w, out in ((nearness, edges), (nearness.T, edges.T)):
        before, here, after = w[:-2], w[1:-1], w[2:]
        bend, largest = np.abs(before - 2 * here + after), np.maximum(np.maximum(before, here), after)
        out[1:-1] |= (bend > edge * largest).astype(np.uint8)
    return edges


def view_poses(position: np.ndarray, views: int = 12) -> np.ndarray:
    """(views, 4, 4) T_map_camera of level cameras at a (3,) position, evenly spread in yaw; the first looks east."""
    yaws = 2 * np.pi * np.arange(views) / views
    return np.stack(
        [geometry.transform(geometry.matrix_from_rpy(0, 0, yaw) @ geometry.R_BODY_OPTICAL, position) for yaw in yaws]
    )


def street_positions(town: Town, settings: ViewSettings) -> np.ndarray:
    """(P, 3) map metres: along every street of a town, half a step from its crossings."""
    points = [
        along_street(street, np.arange(settings.every_m / 2, street.length_m, settings.every_m), across)
        for street in town.streets.streets
        for across in settings.across_m
    ]
    flat = np.concatenate(points)
    return np.column_stack([flat, np.full(len(flat), settings.height_m)])


def along_street(street: Street, along_m: np.ndarray, across_m: np.ndarray | float) -> np.ndarray:
    """(N, 2) map metres at distances from a street's start, and to the left of its middle."""
    steps = np.linalg.norm(np.diff(street.line, axis=0), axis=1)
    driven = np.concatenate([[0.0], np.cumsum(steps)])
    tangent = np.gradient(street.line, driven, axis=0)
    x, y, dx, dy = (np.interp(along_m, driven, column) for column in (*street.line.T, *tangent.T))
    length = np.hypot(dx, dy)
    return np.stack([x - across_m * dy / length, y + across_m * dx / length], -1)


def _over(renderer: ViewRenderer, settings: ViewSettings) -> np.ndarray:
    return renderer.surface(settings.every_m) + np.array([0.0, 0.0, settings.height_m])


def _render(
    renderer: ViewRenderer,
    part: Path,
    settings: ViewSettings,
    positions: np.ndarray,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    shape = (len(positions) * settings.views, settings.size_px, settings.size_px)
    depth = np.lib.format.open_memmap(part / "depth.npy", "w+", np.float16, shape)
    segments = np.lib.format.open_memmap(part / "segments.npy", "w+", np.uint8, shape)
    edges = np.lib.format.open_memmap(part / "silhouettes.npy", "w+", np.uint8, shape)
    poses = np.concatenate([view_poses(position, settings.views) for position in positions])
    for row, T_map_camera in enumerate(poses):
        metres, segments[row] = renderer.render(T_map_camera)
        depth[row], edges[row] = metres, silhouettes(metres, settings.edge)
        if on_progress and (row + 1) % settings.views == 0:
            on_progress((row + 1) // settings.views, len(positions))
    for array in (depth, segments, edges):
        array.flush()
    described = json.dumps(config.to_dict(settings))
    np.savez(part / "poses.npz", T_map_camera=poses, world=renderer.triangles.world, settings=described)
