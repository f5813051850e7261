"""Latitude and longitude to metres, and a heading from a track of positions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyproj

_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # eight degrees each, from 80 degrees south


def utm_zone(latitude: float, longitude: float) -> str:
    """Zone number and band letter of a position in degrees, such as "30U"; without Norway's exceptions."""
    number = int((longitude + 180) // 6) % 60 + 1
    return f"{number}{_BANDS[int(np.clip((latitude + 80) // 8, 0, len(_BANDS) - 1))]}"


def utm_from_latlon(
    latitude: np.ndarray, longitude: np.ndarray, altitude: np.ndarray, zone: str | None = None
) -> tuple[np.ndarray, str]:
    """WGS84 degrees and metres, each (N,) -> ((N, 3) float64 east, north, up in metres; the zone).

    All positions go into one zone (the first position's unless given), so that a drive across a zone's edge stays
    whole.
    """
    zone = zone or utm_zone(float(latitude[0]), float(longitude[0]))
    east, north = _projection(int(zone[:-1]), zone[-1] >= "N").transform(longitude, latitude)
    return np.column_stack([east, north, altitude]).astype(float), zone


@functools.lru_cache(maxsize=8)
def _projection(number: int, northern: bool) -> pyproj.Transformer:
    import pyproj

    return pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{(32600 if northern else 32700) + number}", always_xy=True)


def headings_from_track(positions: np.ndarray, min_step_m: float = 1.0) -> np.ndarray | None:
    """Course over ground of (N, 2 or more) positions -> (N,) yaw in radians, counter-clockwise from east.

    Between positions at least min_step_m apart, so that standing still does not spin; a vehicle that reverses looks
    turned round. None where the track never gets that far.
    """
    kept = [0]
    for i in range(1, len(positions)):
        if np.linalg.norm(positions[i, :2] - positions[kept[-1], :2]) >= min_step_m:
            kept.append(i)
    if len(kept) < 2:
        return None
    steps = np.diff(positions[kept, :2], axis=0)
    courses = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    midway = (np.array(kept[:-1]) + np.array(kept[1:])) / 2
    return np.interp(np.arange(len(positions)), midway, courses)
