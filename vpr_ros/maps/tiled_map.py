"""A map in tiles, opened as one map.

Whereabouts, statistics and search index are of all places, so rows, ids, scores and beliefs are those of the whole map:
a robot that crosses from tile to tile loses nothing. Only descriptors are of single tiles.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.maps import map_file
from vpr_ros.maps.constants import ATTENTION
from vpr_ros.maps.index import AUTO, Index
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.stored_descriptors import StoredDescriptors
from vpr_ros.maps.tile_files import TileFiles, is_address, open_tile_files
from vpr_ros.maps.tile_keeper import TileKeeper
from vpr_ros.maps.tiles import TileManifest, cells_of, statistics_from

_PIECE = 1024  # places read at a time


class TileDescriptors(StoredDescriptors):
    """Of all places of a map in tiles. Raises MapError for a row whose tile is not ready."""

    def __init__(self, keeper: TileKeeper, count: int) -> None:
        super().__init__(keeper.descriptors, np.arange(count), keeper.size)
        self.keeper = keeper


class TiledPlaces(Places):
    """All places of a map in tiles. Their descriptors are ``TileDescriptors``."""

    @classmethod
    def of(cls, places: Places, keeper: TileKeeper) -> TiledPlaces:
        """places: without descriptors."""
        descriptors: Any = TileDescriptors(keeper, len(places))
        return cls(places.ids, places.drives, places.stamps_ns, places.T_map_camera, descriptors, places.heights_agree)

    @property
    def _keeper(self) -> TileKeeper:
        descriptors: Any = self.descriptors
        keeper: TileKeeper = descriptors.keeper
        return keeper

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """See Places."""
        return self._keeper.readable(rows)

    def attend(self, rows: np.ndarray, belief: np.ndarray, lookalikes: np.ndarray, position: np.ndarray | None) -> None:
        """See Places. The tiles around are loaded: of probable places first, then of those that look like the image."""
        likely = belief > ATTENTION.least_belief
        rows, belief, lookalikes = rows[likely], belief[likely], lookalikes[: ATTENTION.lookalikes]
        lost = max(1.0 - float(belief.sum()), 0.0)
        positions = self.T_map_camera[np.concatenate([rows, lookalikes]), :2, 3]
        weights = np.concatenate([belief, lost * ATTENTION.next_lookalike ** np.arange(1, len(lookalikes) + 1)])
        if position is not None:
            positions, weights = np.concatenate([positions, position[None]]), np.append(weights, lost)
        self._keeper.attend(positions, weights)


class TiledMap(PlaceMap):
    """A map in tiles. It can be read as a ``PlaceMap``, and not be written."""

    def __init__(self, files: TileFiles, manifest: TileManifest, wait: bool, connection: sqlite3.Connection) -> None:
        """connection: of the file of whereabouts."""
        self._manifest, self._files = manifest, files
        super().__init__(Path(files.name.partition("://")[2] or files.name), connection)
        told = manifest.fingerprint, manifest.world, manifest.calibration
        if told != (self.model.fingerprint, self.world, self.calibration.to_dict()):
            raise MapError(f"the manifest of {files.name} is of another map: make the tiles again with `vpr map tile`")
        with self._reading():
            whereabouts = replace(self.whereabouts, heights_agree=not self._has_jumping_heights)
            statistics = statistics_from(
                map_file.statistics(connection), len(whereabouts), self.model.dimension, self.storage.dtype
            )
            tile_of = _tile_of(whereabouts, self.origin, manifest)
        self.keeper = TileKeeper(manifest, files, whereabouts.ids, tile_of, self.origin, self._size, self.storage, wait)
        self._places = TiledPlaces.of(whereabouts, self.keeper).with_statistics(statistics)

    @classmethod
    def open_tiles(cls, location: str | Path, wait: bool = True) -> TiledMap:
        """The map in a folder of tiles, or at an http(s) address.

        wait: whether an image waits for the tiles of all places that it is to be compared with. Else it is compared
        with those that are here, and tiles are fetched meanwhile. Raises MapError, one sentence.
        """
        files = open_tile_files(str(location))
        manifest = files.manifest()
        connection = map_file.connect(files.get(manifest.whole))
        try:
            return cls(files, manifest, wait, connection)
        except BaseException:
            connection.close()
            raise

    @property
    def manifest(self) -> TileManifest:
        """Of the release in use."""
        return self._manifest

    @property
    def places(self) -> Places:
        """See PlaceMap."""
        assert self._places is not None
        return self._places

    def index(self, factory: str = AUTO, mean: np.ndarray | None = None) -> Index:
        """The index of all places that comes with the tiles. Raises ConfigError if another one is asked for."""
        manifest = self._manifest
        if mean is None or factory not in (AUTO, manifest.index_factory):
            raise ConfigError(
                f"{self._files.name} comes with its own index, {manifest.index_factory}, of centred descriptors: leave "
                "search.index at auto and search.mean_centring at true, or use the map in one file"
            )
        return Index.load(self._files.get(manifest.index), self._size, manifest.places)

    def pieces(self, after: int = 0, last: int | None = None) -> Iterator[Places]:
        """See PlaceMap."""
        ids = self.places.ids
        rows = np.flatnonzero((ids > after) & (ids <= (2**63 - 1 if last is None else last)))
        for start in range(0, len(rows), _PIECE):
            yield self.places.subset(rows[start : start + _PIECE])

    def thumbnail(self, place_id: int) -> bytes | None:
        """See PlaceMap; None if the place's tile is not here."""
        with self._reading(), suppress(MapError):
            query = "SELECT thumbnail FROM places WHERE id = ?"
            row = self._file_of(place_id).execute(query, (int(place_id),)).fetchone()
            return row[0] if row and isinstance(row[0], bytes) else None
        return None

    def features(self, place_id: int) -> bytes | None:
        """See PlaceMap; None if the place's tile is not here."""
        with self._reading(), suppress(MapError):
            return map_file.features(self._file_of(place_id), int(place_id))
        return None

    def feature_kind(self) -> str:
        """See PlaceMap."""
        return self._manifest.local_features

    def feature_count(self) -> int:
        """See PlaceMap."""
        return self._manifest.feature_count

    def bytes_by_kind(self) -> dict[str, int]:
        """See PlaceMap: here by kind of file."""
        manifest = self._manifest
        tiles = sum(tile.bytes for tile in manifest.tiles)
        return {"tiles": tiles, "index": manifest.index.bytes, "whereabouts": manifest.whole.bytes}

    @property
    def size_bytes(self) -> int:
        """See PlaceMap: of all files, whether they are here or not."""
        return sum(self.bytes_by_kind().values())

    @property
    def problem(self) -> str:
        """See PlaceMap."""
        return self.keeper.problem

    @property
    def gap(self) -> str:
        """See PlaceMap."""
        return self.keeper.gap

    @property
    def left_out(self) -> str:
        """See PlaceMap."""
        return self.keeper.left_out_sentence

    @property
    def tiling(self) -> dict[str, str]:
        """See PlaceMap."""
        manifest = self._manifest
        return {"tiles": f"{len(manifest.tiles)} of {manifest.cell_m:g} m", "release": manifest.release}

    def status(self) -> dict[str, str]:
        """See PlaceMap."""
        loaded, ready = len(self.keeper.loaded), self.keeper.ready
        counts = f"{loaded} in memory, {ready} checked, {len(self._manifest.tiles)} in all"
        left_out = str(self.keeper.left_out)
        return {"tiles": counts, "release": self._manifest.release, "comparisons left out": left_out}

    def close(self) -> None:
        """See PlaceMap."""
        self.keeper.close()
        super().close()

    def _file_of(self, place_id: int) -> sqlite3.Connection:
        row = int(np.searchsorted(self.places.ids, place_id))
        return self.keeper.connection(min(row, len(self.places) - 1))


def open_map(location: str | Path, wait: bool = True) -> PlaceMap:
    """A map to read: a .vprmap file, a folder of tiles, or the http(s) address of one. wait: see ``open_tiles``."""
    if is_address(str(location)) or os.path.isdir(location):
        return TiledMap.open_tiles(location, wait)
    return PlaceMap.open(Path(location))


def index_of(place_map: PlaceMap, factory: str = AUTO, mean: np.ndarray | None = None) -> Index:
    """The index of a map of either kind, see ``Index.of_map``."""
    return place_map.index(factory, mean) if isinstance(place_map, TiledMap) else Index.of_map(place_map, factory, mean)


def _tile_of(places: Places, origin: np.ndarray, manifest: TileManifest) -> np.ndarray:
    """Number (N,) of each place's tile. Raises ValueError if the manifest has other tiles."""
    cells, cell_of, counts = np.unique(
        cells_of(places.positions, origin, manifest.cell_m), axis=0, return_inverse=True, return_counts=True
    )
    numbers = {tile.cell: (number, tile.places) for number, tile in enumerate(manifest.tiles)}
    found = [numbers.get((cell[0], cell[1]), (-1, 0)) for cell in cells.tolist()]
    if len(found) != len(numbers) or [count for _, count in found] != counts.tolist():
        raise ValueError("its tiles are not those of its places")
    return np.array([number for number, _ in found])[cell_of.reshape(-1)]
