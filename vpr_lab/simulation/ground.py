"""The ground as a picture from above, and a field of lamp light and open sky over it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vpr_lab.simulation.lots import EXTENT_M, to_pixels
from vpr_lab.simulation.streets import Street, Streets

GROUND_SIZE, FIELD_SIZE = 4096, 1024
_PER_M = GROUND_SIZE / EXTENT_M
_SHIFT = 4


def paint_ground(
    streets: Streets,
    cobbled: list[bool],
    plazas: list[np.ndarray],
    paths: list[np.ndarray],
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    """(GROUND_SIZE, GROUND_SIZE, 4) uint8 weights: road paint, pavement, grass, cobbles; what is left is asphalt.

    Row 0 is the southern edge. cobbled, rngs: per street. plazas, paths: (N, 2) polygons and lines of paving in the
    parks.
    """
    pavement, road, setts, paint = (_blank() for _ in range(4))
    for plaza in plazas:
        cv2.fillPoly(setts, [_fixed(plaza)], 255, cv2.LINE_AA, _SHIFT)
    for path in paths:
        cv2.polylines(pavement, [_fixed(path)], False, 255, round(2.5 * _PER_M), cv2.LINE_AA, _SHIFT)
    for street in streets.streets:
        cv2.polylines(
            pavement, [_fixed(street.line)], False, 255, round(2 * street.corridor_m * _PER_M), cv2.LINE_AA, _SHIFT
        )
    for street in streets.streets:
        cv2.polylines(road, [_fixed(street.line)], False, 255, round(street.road_m * _PER_M), cv2.LINE_AA, _SHIFT)
    setts = cv2.min(setts, cv2.bitwise_not(cv2.max(pavement, road)))
    for street, is_cobbled, rng in zip(streets.streets, cobbled, rngs, strict=True):
        if is_cobbled:
            cv2.polylines(
                setts, [_fixed(street.line[4:-4])], False, 255, round(street.road_m * _PER_M), cv2.LINE_AA, _SHIFT
            )
        else:
            _markings(paint, street, rng)
    grass = cv2.bitwise_not(cv2.max(cv2.max(pavement, road), setts))
    pavement = cv2.min(pavement, cv2.bitwise_not(cv2.max(road, setts)))
    return np.stack([cv2.min(paint, road), pavement, grass, setts], -1)


def _blank() -> np.ndarray:
    return np.zeros((GROUND_SIZE, GROUND_SIZE), np.uint8)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(to_pixels(points, _PER_M) * 2**_SHIFT).astype(np.int32)


def _markings(paint: np.ndarray, street: Street, rng: np.random.Generator) -> None:
    """Dashes, edge lines, zebra crossings and parking bays of one street."""
    line, half = street.line, street.road_m / 2
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    worn = int(rng.integers(120, 256))

    def stroke(points: np.ndarray, width_m: float, value: int = worn) -> None:
        cv2.polylines(paint, [_fixed(points)], False, value, max(1, round(width_m * _PER_M)), cv2.LINE_AA, _SHIFT)

    dash, gap = (3, 6) if street.main else (2, 4)
    if street.main or rng.random() < 0.4:
        for i in range(10, len(line) - 12, dash + gap):
            stroke(line[i : i + dash + 1], 0.14)
    if street.main and rng.random() < 0.6:
        for side in (-1, 1):
            stroke(line[9:-9] + side * (half - 0.3) * normal[9:-9], 0.12)
    for index in (9, len(line) - 10):
        if rng.random() < (0.7 if street.main else 0.35):
            for across in np.arange(-half + 0.4, half - 0.2, 1.0):
                centre = line[index] + across * normal[index]
                stroke(np.stack([centre - 1.4 * tangent[index], centre + 1.4 * tangent[index]]), 0.5)
        elif rng.random() < 0.5:
            stroke(np.stack([line[index] - half * normal[index], line[index] + half * normal[index]]), 0.3)
    if rng.random() < 0.3:
        side = rng.choice([-1, 1])
        for i in range(14, len(line) - 14, 6):
            edge = line[i] + side * half * normal[i]
            stroke(np.stack([edge, edge - side * 1.9 * normal[i]]), 0.1)


def light_field(lamps: np.ndarray, footprints: list[np.ndarray], heights: list[float]) -> np.ndarray:
    """(FIELD_SIZE, FIELD_SIZE, 4) float32: lamp light at 1 m height, its direction x and y (weighted), open sky 0..1.

    lamps: (N, 3) positions. footprints: (4, 2) polygons of buildings with heights in metres.
    """
    per_m = FIELD_SIZE / EXTENT_M
    field = np.zeros((FIELD_SIZE, FIELD_SIZE, 4), np.float32)
    reach = 22.0
    for lamp in lamps:
        centre = to_pixels(lamp[:2], per_m)
        low = np.maximum(np.floor(centre - reach * per_m).astype(int), 0)
        high = np.minimum(np.ceil(centre + reach * per_m).astype(int) + 1, FIELD_SIZE)
        if (high <= low).any():
            continue
        rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
        dx, dy = (centre[0] - columns) / per_m, (centre[1] - rows) / per_m
        flat = dx * dx + dy * dy
        height = lamp[2] - 1.0
        light = height**2 / (flat + height**2) * np.clip(1 - flat / reach**2, 0, 1) ** 2
        distance = np.sqrt(flat + height**2)
        field[low[1] : high[1], low[0] : high[0], :3] += np.stack(
            [light, light * dx / distance, light * dy / distance], -1
        )
    blocked = np.zeros((FIELD_SIZE, FIELD_SIZE), np.float32)
    for polygon, height in zip(footprints, heights, strict=True):
        cv2.fillPoly(blocked, [np.round(to_pixels(polygon, per_m)).astype(np.int32)], min(height / 14.0, 1.6))
    near, wide = (cv2.GaussianBlur(blocked, (0, 0), sigma * per_m) for sigma in (2.5, 9.0))
    field[..., 3] = np.clip(1.0 - 0.35 * near - 0.55 * wide, 0.25, 1.0)
    return field
