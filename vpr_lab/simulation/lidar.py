"""A 2D lidar in the town, by casting rays: it sees the ground and the buildings as blocks, nothing else."""

from __future__ import annotations

import numpy as np

from vpr_lab.simulation.town import Town

ANGLES = np.radians(np.arange(-135.0, 135.01, 0.5))
RANGE_M = 50.0


def scan(town: Town, T_map_lidar: np.ndarray) -> np.ndarray:
    """One sweep in the lidar's x-y plane, as an LMS-151 makes it.

    T_map_lidar: (4, 4). Returns (N, 3) float64 x, y in metres in the lidar's frame and reflectance 0..1, of the rays
    that hit something within RANGE_M.
    """
    rays = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
    directions = rays @ T_map_lidar[:3, :2].T
    origin = T_map_lidar[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(directions[:, 2] < 0, -origin[2] / directions[:, 2], np.inf)
        walls = _nearest_wall(town, origin, directions)
    distance = np.minimum(ground, walls)
    hit = distance < RANGE_M
    reflectance = np.where(walls < ground, 0.6, 0.3)[hit]
    return np.column_stack([rays[hit] * distance[hit, None], reflectance])


def _nearest_wall(town: Town, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(N,) distance along each ray to the nearest building's wall, infinite without one."""
    corners = np.array(town.footprints)
    near = np.linalg.norm(corners.mean(1) - origin[:2], axis=1) < RANGE_M + 25
    if not near.any():
        return np.full(len(directions), np.inf)
    starts = corners[near].reshape(-1, 2)
    edges = (np.roll(corners[near], -1, axis=1) - corners[near]).reshape(-1, 2)
    tops = np.repeat(np.array(town.heights)[near], 4)
    offset = starts - origin[:2]
    across = directions[:, :1] * edges[:, 1] - directions[:, 1:2] * edges[:, 0]
    distance = (offset[:, 0] * edges[:, 1] - offset[:, 1] * edges[:, 0]) / across
    along = (offset[:, 0] * directions[:, 1:2] - offset[:, 1] * directions[:, :1]) / across
    height = origin[2] + distance * directions[:, 2:3]
    hit = (distance > 0) & (along >= 0) & (along <= 1) & (height >= 0) & (height <= tops)
    return np.where(hit, distance, np.inf).min(axis=1)
