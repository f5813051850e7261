"""Latitude and longitude to UTM metres, and from one UTM zone to another."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.base.world import utm_of, utm_world

if TYPE_CHECKING:
    import pyproj

logger = logging.getLogger(__name__)

_FURTHEST_DEG = 15.0  # of longitude at the equator from a zone's middle: two zones further lengths are 3 % wrong
_EAST_M = (100_000.0, 900_000.0)  # eastings of a UTM zone, with some overlap into its neighbours
_NORTH_M = (0.0, 10_000_000.0)
_STEP_M = 10.0  # eastward, to measure the rotation between zones
_STEP_DEG = 1e-4  # northward, to measure that of a zone's grid


def utm_zone(latitude: float, longitude: float) -> int:
    """UTM zone (1 to 60) of a position in degrees, with the exceptions for south-west Norway and Svalbard.

    As in NGA.SIG.0012, the utm package and GeographicLib, so that positions agree with other tools.
    """
    longitude = (longitude + 180) % 360 - 180
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        return 32
    if 72 <= latitude <= 84 and 0 <= longitude < 42:
        return 31 + 2 * int((longitude + 3) // 12)
    return int((longitude + 180) // 6) % 60 + 1


def utm_from_latlon(
    latitude: np.ndarray, longitude: np.ndarray, altitude: np.ndarray, world: str = ""
) -> tuple[np.ndarray, str]:
    """WGS84 degrees and metres, each (N,) -> ((N, 3) float64 east, north, up in metres; the world, "utm 30 north").

    An altitude that is NaN is that of its neighbours, 0 if none is known. All positions are converted to one zone, so
    that a drive across a zone's edge stays whole: that of world if it names one, else that of the median position.
    Warns of fixes in several zones. Raises DriveError for positions too far from the zone.
    """
    # Relative to the first, so that the median of a track across the antimeridian is on the track.
    ahead = longitude[0] + (longitude - longitude[0] + 180) % 360 - 180
    zone = utm_of(world) or (utm_zone(float(np.median(latitude)), float(np.median(ahead))), np.median(latitude) >= 0)
    east, north = _projection(*zone).transform((ahead + 180) % 360 - 180, latitude)
    away_deg = np.abs((longitude - (6 * zone[0] - 183) + 180) % 360 - 180)
    if zone[1] != bool(np.median(latitude) >= 0):
        there, here = ("north", "south")[:: 1 if zone[1] else -1]
        logger.warning(
            "the positions lie %s of the equator, and world '%s' is of the %s: set world to '%s' if that is not meant",
            here, utm_world(*zone), there, utm_world(zone[0], not zone[1]),
        )  # fmt: skip
    if not np.isfinite(east).all() or np.median(away_deg * np.cos(np.radians(latitude))) > _FURTHEST_DEG:
        raise DriveError(f"the positions are too far from '{utm_world(*zone)}': set world to another zone")
    _warn_of_zones(latitude, longitude, utm_world(*zone))
    return np.column_stack([east, north, _filled(altitude)]), utm_world(*zone)


def _filled(altitude: np.ndarray) -> np.ndarray:
    """Altitudes (N,), those that are not finite interpolated by their rows; 0 if none is finite."""
    known = np.flatnonzero(np.isfinite(altitude))
    return np.interp(np.arange(len(altitude)), known, altitude[known]) if len(known) else np.zeros(len(altitude))


def _warn_of_zones(latitude: np.ndarray, longitude: np.ndarray, world: str) -> None:
    zones = sorted({utm_zone(float(a), float(b)) for a, b in zip(latitude, longitude, strict=True)})
    if len(zones) > 1:
        named = ", ".join(map(str, zones))
        logger.warning("positions lie in UTM zones %s: all are converted to '%s'", named, world)


def warn_unless_utm(name: str, position: np.ndarray, world: str) -> None:
    """Warn if a position (2 or more,) of a drive cannot be in the UTM coordinates that its world is said to have."""
    east, north = position[:2]
    if not (_EAST_M[0] <= east <= _EAST_M[1] and _NORTH_M[0] <= north <= _NORTH_M[1]):
        logger.warning(
            "drive %s: its poses do not look like UTM coordinates, as the first is %.1f m east and %.1f m north; they "
            "are not converted, and world '%s' is only a name for their frame",
            name, east, north, world,
        )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _projection(number: int, northern: bool) -> pyproj.Transformer:
    import pyproj

    return pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{(32600 if northern else 32700) + number}", always_xy=True)


def on_grid(T: np.ndarray, world: str) -> np.ndarray:
    """Poses (N, 4, 4) in a world of UTM coordinates, turned about up from true north to that of its grid.

    The two differ by the grid convergence, up to three degrees and, near the poles, more. Poses of other worlds are
    returned as they are.
    """
    zone = utm_of(world)
    if zone is None:
        return T
    projection = _projection(*zone)
    longitude, latitude = projection.transform(T[:, 0, 3], T[:, 1, 3], direction="INVERSE")
    east, north = projection.transform(longitude, latitude + _STEP_DEG)
    known = np.isfinite([longitude, latitude, east, north]).all(axis=0)  # else it is far from the zone
    turn = np.zeros(len(T))
    turn[known] = np.arctan2(-(east - T[:, 0, 3])[known], (north - T[:, 1, 3])[known])
    turned = T.copy()
    for pose, angle in zip(turned, turn, strict=True):
        pose[:3, :3] = matrix_from_rpy(0.0, 0.0, float(angle)) @ pose[:3, :3]
    return turned


def zone_change(world: str, wanted: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function that converts (4, 4) poses from one UTM zone to another: positions, and headings by grid convergence.

    world, wanted: names of worlds of UTM coordinates. The function raises DriveError for a position too far from the
    wanted zone.
    """
    zones = utm_of(world), utm_of(wanted)
    assert zones[0] is not None and zones[1] is not None  # see above
    there, here = _projection(*zones[0]), _projection(*zones[1])

    def change(T: np.ndarray) -> np.ndarray:
        ends = T[0, 3] + np.array([0.0, _STEP_M]), np.full(2, T[1, 3])
        east, north = here.transform(*there.transform(*ends, direction="INVERSE"))
        if not np.isfinite([east, north]).all():
            raise DriveError(f"a position in '{world}' is too far from '{wanted}': set world to another zone")
        turn = matrix_from_rpy(0.0, 0.0, float(np.arctan2(north[1] - north[0], east[1] - east[0])))
        return transform(turn @ T[:3, :3], np.array([east[0], north[0], T[2, 3]]))

    return change
