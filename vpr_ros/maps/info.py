"""A summary of a map's content; descriptors are not read for it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from vpr_ros.base.errors import MapError
from vpr_ros.maps.place_map import PlaceMap


def _calibrated_on(place_map: PlaceMap) -> str:
    """The drives that the map's calibration is from, or why it cannot be used."""
    try:
        return place_map.calibration.source
    except MapError as error:
        return str(error)


def map_info(place_map: PlaceMap) -> dict[str, Any]:
    """What ``vpr map info`` prints: name -> value."""
    places, kind = place_map.whereabouts, place_map.feature_kind()
    names, counts = np.unique(places.drives, return_counts=True)
    extent = np.ptp(places.positions, axis=0) if len(places) else np.zeros(3)
    return {
        "places": len(places),
        "drives": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "spacing_m": round(places.spacing, 2),
        "extent_m": [round(float(value), 1) for value in extent],
        "world": place_map.world,
        "poses": "raw odometry" if place_map.is_odometry else "of the world",
        "origin": place_map.origin.tolist(),
        "model": place_map.model.name,
        "fingerprint": place_map.model.fingerprint,
        "dimension": place_map.model.dimension,
        "views": place_map.model.views,
        "vocabulary": place_map.model.vocabulary or "none of its own",
        "local_features": f"{kind}, of {place_map.feature_count()} places" if kind else "none",
        "refreshed": asdict(place_map.refreshed) if place_map.refreshed else "never",
        "calibrated_on": _calibrated_on(place_map),
        "descriptors": place_map.storage.descriptors,
        "thumbnails": "yes" if place_map.storage.thumbnails else "none",
        "bytes": place_map.bytes_by_kind(),
        "size_MB": round(place_map.size_bytes / 1e6, 2),
        **place_map.tiling,
    }
