"""Brings the tiles that are needed here, and holds the descriptors of those around the robot."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import MapError, brief
from vpr_ros.maps import map_file
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.storage import Storage
from vpr_ros.maps.tile_files import FolderTiles, PassingError, TileFiles
from vpr_ros.maps.tiles import Tile, TileManifest, cells_of

logger = logging.getLogger(__name__)

_PIECE = 64  # places read at a time, so that an image never waits long
_COLUMN = 2**32  # a cell as one number: its column, and its row in it


class TileKeeper:
    """The tiles of one map. Its own thread fetches, checks and loads them, so that images need not wait.

    A tile is ready once it is on this machine and its hash was checked. Then any of its places can be read: from memory
    if the tile is loaded, else from its file. Answers are the same either way. One caller at a time, beside the thread.
    """

    def __init__(
        self,
        manifest: TileManifest,
        files: TileFiles,
        ids: np.ndarray,
        tile_of: np.ndarray,
        origin: np.ndarray,
        size: tuple[int, int],
        storage: Storage,
        wait: bool,
    ) -> None:
        """ids, tile_of: (N,) of all places of the map, ascending, and the number of each one's tile.

        origin: (3,) of the map. size: (V, D) of a place's descriptors. wait: whether ``readable`` fetches
        tiles and waits for them.
        """
        self.manifest = manifest
        self.size, self.storage = size, storage
        self._files = files
        self._ids, self._tile_of, self._origin = ids, tile_of, origin
        self._numbers = {tile.cell[0] * _COLUMN + tile.cell[1]: number for number, tile in enumerate(manifest.tiles)}
        order = np.argsort(tile_of, kind="stable")
        self._rows_of = np.split(order, np.flatnonzero(np.diff(tile_of[order])) + 1)
        self._wait = wait
        self._ready: dict[int, Path] = {}
        self._is_ready = np.zeros(len(manifest.tiles), dtype=bool)
        self._record = storage.record(size[1])
        self._loaded: dict[int, np.ndarray] = {}  # records of tiles; replaced whole: the reader takes no lock
        self._open: OrderedDict[int, sqlite3.Connection] = OrderedDict()
        self._failed: dict[int, tuple[float, str]] = {}  # when and why a tile could not be had
        self._passing: set[int] = set()  # those that the server may have later
        self._patience_s = TILES.patience_s
        self._left_out = 0
        self._why = ""  # the first of those that failed
        self._release_problem = ""
        self._wanted: tuple[int, ...] = ()
        self._preparing = threading.Lock()
        self._news = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="tiles", daemon=True)
        self._thread.start()

    @property
    def loaded(self) -> tuple[int, ...]:
        """Numbers of the tiles in memory, at most ``TILES.in_memory``."""
        return tuple(sorted(self._loaded))

    @property
    def ready(self) -> int:
        """How many tiles are on this machine and checked."""
        return len(self._ready)

    @property
    def wanted(self) -> tuple[int, ...]:
        """Numbers of the tiles that should be in memory now, those that matter most first."""
        return self._wanted

    @property
    def idle(self) -> bool:
        """Whether all that is wanted is loaded, and all tiles that are on this machine are checked."""
        known = self._ready.keys() | self._failed.keys()
        here = {number for number, tile in enumerate(self.manifest.tiles) if self._files.is_here(tile)}
        return set(self._wanted) <= self._loaded.keys() | self._failed.keys() and here <= known

    @property
    def left_out(self) -> int:
        """How many places were not compared with an image, because their tiles were not ready."""
        return self._left_out

    @property
    def left_out_sentence(self) -> str:
        """That number and, where a tile failed, why; empty if none was left out."""
        if not self._left_out:
            return ""
        why = f": {self._why}" if self._why else ": their tiles were not here yet"
        return f"{self._left_out} comparisons with places were left out{why}"

    @property
    def problem(self) -> str:
        """One sentence if there is a newer release, which may be why a tile is gone, or a wanted tile cannot be had."""
        return self._release_problem or self.gap

    @property
    def gap(self) -> str:
        """One sentence if a wanted tile cannot be had; else empty."""
        sentences = (self._failed.get(number, (0.0, ""))[1] for number in self._wanted)
        failed = list(filter(None, sentences))
        more = f"; {len(failed) - 1} more of the tiles around are not here" if len(failed) > 1 else ""
        return f"{failed[0]}{more}" if failed else ""

    def attend(self, positions: np.ndarray, weights: np.ndarray) -> None:
        """Have the tiles around positions (K, 2) loaded, those with most of the weights (K,) first.

        At most ``TILES.in_memory``; others make way for them. A tile that positions lie in comes before those that are
        only within reach of them.
        """
        reach = min(TILES.reach_m, self.manifest.cell_m / 2)
        offsets = reach * np.array([(x, y) for x in (0, -1, 1) for y in (0, -1, 1)])
        points = (positions[:, None] + offsets).reshape(-1, 2)
        shares = (weights[:, None] * np.where(np.arange(len(offsets)), TILES.border, 1.0)).reshape(-1)
        cells = cells_of(points, self._origin, self.manifest.cell_m)
        cells, cell_of = np.unique(cells[:, 0] * _COLUMN + cells[:, 1], return_inverse=True)
        found: dict[int, float] = {}
        for cell, weight in zip(cells.tolist(), np.bincount(cell_of, shares).tolist(), strict=True):
            number = self._numbers.get(cell)
            if number is not None and weight > TILES.least_weight:
                found[number] = weight
        wanted = tuple(sorted(found, key=lambda number: (-found[number], number))[: TILES.in_memory])
        if wanted != self._wanted:
            self._wanted = wanted
            if any(number not in self._loaded for number in wanted):
                self._news.set()

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Those of rows (K,) of places whose tiles are ready, in that order; the others are counted."""
        if self._wait:
            for number in np.unique(self._tile_of[rows[~self._is_ready[self._tile_of[rows]]]]).tolist():
                self._wait_to_have(number)
        here = self._is_ready[self._tile_of[rows]]
        if here.all():
            return rows
        self._left_out += int(len(rows) - here.sum())
        missing = np.unique(self._tile_of[rows[~here]]).tolist()
        self._why = self._why or next((self._failed[number][1] for number in missing if number in self._failed), "")
        return rows[here]

    def _wait_to_have(self, number: int) -> None:
        """Have a tile here, and wait for a server that is busy or down, once for all tiles."""
        while not self._prepare(number) and number in self._passing and self._patience_s > 0:
            pause_s = min(TILES.pause_s, self._patience_s)
            time.sleep(pause_s)
            self._patience_s -= pause_s
            self._failed[number] = 0.0, self._failed[number][1]  # try again now

    def descriptors(self, rows: np.ndarray) -> np.ndarray:
        """Descriptors (K, V, D) of places at rows (K,). Raises MapError if a tile is not ready."""
        found = np.empty((len(rows), self.size[0]), self._record)
        loaded, tiles = self._loaded, self._tile_of[rows]
        for number in np.unique(tiles).tolist():
            at = np.flatnonzero(tiles == number)
            block = loaded.get(number)
            if block is not None:
                found[at] = block[np.searchsorted(self._rows_of[number], rows[at])]
            else:
                found[at] = self._from_file(number, self._ids[rows[at]])
        return self.storage.decoded(found, self.size[1])

    def connection(self, row: int) -> sqlite3.Connection:
        """The file of the tile that a place at a row is in. Raises MapError if it is not ready."""
        return self._connection(int(self._tile_of[row]))

    def close(self) -> None:
        """Stop the thread, which may still end a transfer, and close the files."""
        self._stopped = True
        self._news.set()
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        if self._left_out:
            logger.log(logging.WARNING if self._wait else logging.INFO, "%s", self.left_out_sentence)

    def _run(self) -> None:
        """The thread: load what is wanted, then check what else is here; look for a new release now and then."""
        looked_s = time.monotonic()
        while not self._stopped:
            self._news.clear()
            for number in self._wanted:
                if number not in self._loaded and self._wanted_now(number):
                    self._load(number)
            self._check_rest()
            if time.monotonic() - looked_s > TILES.release_s:
                looked_s = time.monotonic()
                self._look_for_a_release()
            self._news.wait(TILES.retry_s)

    def _wanted_now(self, number: int) -> bool:
        return number in self._wanted and not self._stopped

    def _check_rest(self) -> None:
        """Make the other tiles ready that are on this machine, until there is something better to do."""
        for number, tile in enumerate(self.manifest.tiles):
            if self._news.is_set():
                return
            if number not in self._ready and number not in self._failed and self._files.is_here(tile):
                self._prepare(number)

    def _load(self, number: int) -> None:
        """Read the descriptors of a tile into memory, after those that are wanted least have made way."""
        path = self._prepare(number)
        if path is None:
            return
        wanted = self._wanted
        kept = sorted(self._loaded, key=lambda other: other not in wanted)[: TILES.in_memory - 1]
        self._loaded = {other: self._loaded[other] for other in kept}
        try:
            with closing(map_file.connect(path)) as connection:
                ids = self._ids[self._rows_of[number]]
                block = np.empty((len(ids), self.size[0]), self._record)
                for start in range(0, len(ids), _PIECE):
                    part = slice(start, start + _PIECE)
                    block[part] = map_file.records(connection, ids[part], self.size, self.storage)
        except (MapError, sqlite3.Error, ValueError, TypeError) as error:
            self._fail(number, self._damaged(number, error))
            return
        self._loaded = {**self._loaded, number: block}

    def _prepare(self, number: int) -> Path | None:
        """Have a tile on this machine, and check it. None if it cannot be had, or failed a moment ago."""
        with self._preparing:
            if (ready := self._ready.get(number)) is not None:
                return ready
            if number in self._failed and time.monotonic() - self._failed[number][0] < TILES.retry_s:
                return None
            tile = self.manifest.tiles[number]
            try:
                path = self._files.get(tile)
                self._check(path, number, tile)
            except MapError as error:
                self._fail(number, str(error))
                if isinstance(error, PassingError):
                    self._passing.add(number)
                return None
            except OSError as error:
                self._fail(number, f"{self._files.name}: tile {tile.file} cannot be read ({brief(error)})")
                return None
            if self._failed.pop(number, None):
                logger.info("tile %s is here now", tile.file)
            self._passing.discard(number)
            self._patience_s = TILES.patience_s
            self._ready[number] = path
            self._is_ready[number] = True
            return path

    def _check(self, path: Path, number: int, tile: Tile) -> None:
        """Raises MapError if a tile is of another model or has other places than the whole map says."""
        try:
            with PlaceMap.open(path) as opened:
                if opened.model.fingerprint != self.manifest.fingerprint or opened.storage != self.storage:
                    raise ValueError("it is of another model")
                if (opened.model.views, opened.model.dimension) != self.size:
                    raise ValueError("its descriptors have another size")
            with closing(map_file.connect(path)) as connection:
                if not np.array_equal(map_file.place_ids(connection), self._ids[self._rows_of[number]]):
                    raise ValueError("it has other places than the whole map")
        except (MapError, sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            raise MapError(self._damaged(number, error)) from error

    def _damaged(self, number: int, error: BaseException) -> str:
        return (
            f"tile {self.manifest.tiles[number].file} of {self._files.name} cannot be used ({brief(error)}): "
            "make the tiles again with `vpr map tile`"
        )

    def _fail(self, number: int, sentence: str) -> None:
        """Note why a tile cannot be had, and say it once."""
        if self._failed.get(number, (0.0, ""))[1] != sentence:
            logger.warning("%s; the tiles that are here are used", sentence)
        self._failed[number] = time.monotonic(), sentence
        self._is_ready[number] = False
        self._ready.pop(number, None)

    def _from_file(self, number: int, ids: np.ndarray) -> np.ndarray:
        try:
            return map_file.records(self._connection(number), ids, self.size, self.storage)
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._fail(number, self._damaged(number, error))
            raise MapError(self._damaged(number, error)) from error

    def _connection(self, number: int) -> sqlite3.Connection:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path = self._ready.get(number) or self._wait_for(number)
        while len(self._open) >= TILES.open_files:
            self._open.popitem(last=False)[1].close()
        try:
            connection = map_file.connect(path)
        except MapError as error:  # deleted meanwhile
            if isinstance(self._files, FolderTiles):  # a new release has removed it; no server is asked for that
                self._look_for_a_release()
            self._fail(number, self._release_problem or self._damaged(number, error))
            raise
        connection.execute("PRAGMA cache_size = -128")  # KiB: many are open
        self._open[number] = connection
        return connection

    def _wait_for(self, number: int) -> Path:
        """Raises MapError if a tile is not ready, and cannot be made so, or must not be waited for."""
        path = self._prepare(number) if self._wait else None
        if path is None:
            why = self._failed.get(number, (0.0, f"tile {self.manifest.tiles[number].file} is not here yet"))[1]
            raise MapError(why)
        return path

    def _look_for_a_release(self) -> None:
        """Note if another release has replaced the one in use."""
        try:
            release = self._files.manifest(fresh=True).release
        except MapError:
            return  # said when a tile is needed
        if release == self.manifest.release:
            self._release_problem = ""
        elif not self._release_problem:
            self._release_problem = (
                f"{self._files.name} has release {release} now, and {self.manifest.release} is in use: "
                "load the map again for the new one"
            )
            logger.warning("%s", self._release_problem)
