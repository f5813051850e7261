"""A cache of where and when the places of a large map were seen: SQLite takes seconds to read a million rows."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.files import written_whole
from vpr_ros.maps.map_file import PLACES_CACHE
from vpr_ros.maps.places import Places


def cache_path(map_path: Path) -> Path:
    """Path of the cache of a map."""
    return map_path.with_name(map_path.name + PLACES_CACHE)


def read(path: Path, key: dict[str, Any], count: int) -> Places | None:
    """The places of a cache, with descriptors (N, 0, 0); None if it is missing, of another key, or damaged.

    key: plain data. count: of places.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            if header["key"] != key:
                return None
            names, codes = np.array(header["names"], object), stored["drives"]
            T_map_camera = np.zeros((count, 4, 4))
            T_map_camera[:, :3], T_map_camera[:, 3, 3] = stored["poses"], 1.0
            ids, stamps_ns = stored["ids"], stored["stamps_ns"]
        for array, kind in ((ids, np.int64), (stamps_ns, np.int64), (codes, np.uint32)):
            if array.shape != (count,) or array.dtype != kind:
                return None
        if np.isfinite(T_map_camera).all():
            return Places(ids, names[codes], stamps_ns, T_map_camera, np.zeros((count, 0, 0)))
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, MemoryError, zipfile.BadZipFile):
        pass
    return None


def write(path: Path, key: dict[str, Any], places: Places) -> None:
    """Write the cache; no error if its folder cannot be written to."""
    names, codes = np.unique(places.drives.astype(str), return_inverse=True)
    header = json.dumps({"key": key, "names": names.tolist()})
    with suppress(OSError), written_whole(path) as part, part.open("wb") as file:
        np.savez(
            file,
            header=np.array(header),
            ids=places.ids,
            drives=codes.astype(np.uint32),
            stamps_ns=places.stamps_ns,
            poses=places.T_map_camera[:, :3],
        )
