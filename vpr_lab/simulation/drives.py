"""Drives through a simulated town: lazily rendered, with exact poses, drifting odometry and depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.routes import STEP_M, Route
from vpr_lab.simulation.town import Town
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.geometry import inverse, matrix_from_rpy, transform
from vpr_ros.base.records import DriveFrame

_FIRST_STAMP_NS, _DAY_NS = 1_700_000_000_000_000_000, 86_400_000_000_000
_NEXT_TRAFFIC = 100_003  # between the seeds of one drive's traffics


@dataclass(frozen=True)
class Motion:
    """How the car is driven.

    every_m: metres between images. speed_mps: sets the stamps. start_m, length_m: the part of the lap driven
    (length_m 0 is the whole lap). offset_m: left of the lane's middle, all along. lateral_m, heading_deg: largest
    smooth deviations from there. tilt_deg: of roll and pitch. odometry_scale: deviation of its constant scale error;
    odometry_turn_deg: deviation of its heading after one metre, growing with the root of the distance. traffic_m:
    metres after which vehicles and people are others, so that a street seen twice has other cars; 0: never.
    """

    every_m: float = 2.0
    speed_mps: float = 8.0
    start_m: float = 0.0
    length_m: float = 0.0
    offset_m: float = 0.0
    lateral_m: float = 0.7
    heading_deg: float = 2.0
    tilt_deg: float = 0.5
    odometry_scale: float = 0.015
    odometry_turn_deg: float = 0.06
    traffic_m: float = 0.0


class SimulatedDrive:
    """One trip along a route of a town in one condition; implements the Drive protocol.

    route: a Route or its name. reverse: drive it the other way round. seed: of motion, traffic, odometry and noise;
    equal arguments give equal frames. renderer: shared between drives of one town to save time and memory; it must
    show this town, and the camera is its. Images are rendered when a frame is read, depth with them. Raises
    ConfigError for an unknown route.
    """

    def __init__(
        self,
        town: Town,
        condition: Condition,
        route: Route | str = "reference",
        camera: Camera | None = None,
        name: str | None = None,
        seed: int = 0,
        motion: Motion | None = None,
        reverse: bool = False,
        renderer: Renderer | None = None,
    ) -> None:
        if renderer is not None and renderer.town is not town:
            raise ConfigError("the renderer shows another town than the drive's: make it with Renderer(town, camera)")
        self.town, self.seed = town, seed
        self.condition = replace(condition, seed=condition.seed + 1009 * seed)
        self.camera = renderer.camera if renderer is not None else camera or Camera()
        self.route = town.route(route, reverse) if isinstance(route, str) else route
        self.name = name or f"{condition.name}-{self.route.name}-{seed}"
        self.world = town.world
        self.motion = motion or Motion()
        self._renderer, self._owns_renderer = renderer, False
        self._last: tuple[int, np.ndarray, np.ndarray] | None = None
        rng = np.random.default_rng([town.seed, seed, 41])
        self.stamps_ns, self.T_map_camera, T_map_body, T_body_camera = _trajectory(
            self.route, self.camera, self.motion, seed, rng
        )
        self.T_odom_camera = _odometry(T_map_body, self.motion, rng) @ T_body_camera

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __iter__(self) -> Iterator[DriveFrame]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: int) -> DriveFrame:
        return DriveFrame(
            stamp_ns=int(self.stamps_ns[index]),
            read=partial(self._image, index),
            T_map_camera=self.T_map_camera[index].copy(),
            T_odom_camera=self.T_odom_camera[index].copy(),
            read_depth=partial(self._depth, index),
            intrinsics=self.camera.intrinsics,
        )

    def close(self) -> None:
        """Free the renderer if the drive made it itself."""
        if self._renderer is not None and self._owns_renderer:
            self._renderer.close()
            self._renderer = None

    def _image(self, index: int) -> np.ndarray:
        return self._rendered(index)[1].copy()

    def _depth(self, index: int) -> np.ndarray:
        return self._rendered(index)[2].copy()

    def _condition_of(self, index: int) -> Condition:
        """The weather of one image: the drive's own."""
        return self.condition

    def _traffic_of(self, index: int) -> int:
        """How often the traffic has changed before an image."""
        motion = self.motion
        return int(index * motion.every_m // motion.traffic_m) if motion.traffic_m else 0

    def _rendered(self, index: int) -> tuple[int, np.ndarray, np.ndarray]:
        if self._last is None or self._last[0] != index:
            if self._renderer is None:
                self._renderer, self._owns_renderer = Renderer(self.town, self.camera), True
            condition, traffic = self._condition_of(index), self.seed + _NEXT_TRAFFIC * self._traffic_of(index)
            self._last = (index, *self._renderer.render(self.T_map_camera[index], condition, traffic, noise_seed=index))
        return self._last


def _trajectory(
    route: Route, camera: Camera, motion: Motion, seed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(N,) stamps, (N, 4, 4) T_map_camera, T_map_body (level, on the ground), T_body_camera (with the car's tilt)."""
    length = motion.length_m or route.length_m
    driven = np.arange(0.0, length, motion.every_m)
    along = (motion.start_m + driven) / STEP_M
    before = np.floor(along).astype(int)
    fraction = (along - before)[:, None]
    points, headings = route.points, route.headings
    first, second = before % len(points), (before + 1) % len(points)
    position = (1 - fraction) * points[first] + fraction * points[second]
    turn = (headings[second] - headings[first] + np.pi) % (2 * np.pi) - np.pi
    yaw = headings[first] + fraction[:, 0] * turn
    lateral, heading, roll, pitch = (_sway(driven, rng) for _ in range(4))
    position += (motion.offset_m + motion.lateral_m * lateral)[:, None] * np.stack([-np.sin(yaw), np.cos(yaw)], 1)
    yaw = yaw + np.radians(motion.heading_deg) * heading
    tilt = np.radians(motion.tilt_deg)
    T_map_body = np.stack(
        [transform(matrix_from_rpy(0, 0, y), np.array([*p, 0.0])) for y, p in zip(yaw, position, strict=True)]
    )
    T_body_camera = np.stack(
        [
            transform(matrix_from_rpy(tilt * r, tilt * p, 0), np.zeros(3)) @ camera.T_body_camera
            for r, p in zip(roll, pitch, strict=True)
        ]
    )
    stamps_ns = (
        _FIRST_STAMP_NS + seed * 86_400_000_000_000 + 1000 * np.round(driven / motion.speed_mps * 1e6).astype(np.int64)
    )
    return stamps_ns, T_map_body @ T_body_camera, T_map_body, T_body_camera


def _sway(driven: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) smooth in -1..1: four waves of 20 to 150 m."""
    waves, phases, weights = rng.uniform(20, 150, 4), rng.uniform(0, 2 * np.pi, 4), rng.dirichlet(np.ones(4))
    return np.sin(2 * np.pi * driven[:, None] / waves + phases) @ weights


def _odometry(T_map_body: np.ndarray, motion: Motion, rng: np.random.Generator) -> np.ndarray:
    """(N, 4, 4) T_odom_body: true steps, scaled and turned a little each, summed up from the first pose."""
    scale = 1 + motion.odometry_scale * rng.standard_normal()
    steps = inverse(T_map_body[:-1]) @ T_map_body[1:]
    length = np.linalg.norm(steps[:, :3, 3], axis=1)
    turns = np.radians(motion.odometry_turn_deg) * np.sqrt(length) * rng.standard_normal(len(steps))
    slip = 1 + 0.02 * rng.standard_normal(len(steps))
    out = np.empty_like(T_map_body)
    out[0] = np.eye(4)
    for i, step in enumerate(steps):
        noisy = step.copy()
        noisy[:3, 3] *= scale * slip[i]
        noisy[:3, :3] = matrix_from_rpy(0, 0, turns[i]) @ step[:3, :3]
        out[i + 1] = out[i] @ noisy
    return out
