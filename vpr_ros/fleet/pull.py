"""Tiles of a release in a folder, which a later pull brings to another release, or adds tiles of another area to.

Tiles are whole: an area brings all places of the tiles that it touches. So a folder's tiles are its area. Those whose
places are the same in the lake stay, and are not fetched again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from vpr_ros.base.errors import MapError, brief
from vpr_ros.fleet.constants import LAKE
from vpr_ros.fleet.lake import Box, Head, Lake, Release, new_map
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places, origin_near
from vpr_ros.maps.tile_files import FolderTiles
from vpr_ros.maps.tiles import (
    MAKING,
    Progress,
    Tile,
    TileManifest,
    alone_in,
    cells_of,
    check_side,
    earlier_tiles,
    write_tiles,
)

logger = logging.getLogger(__name__)

Cell = tuple[int, int]  # see tiles.Tile


@dataclass(frozen=True)
class Pulled:
    """The result. Numbers of tiles: kept, not to be fetched again; added; replaced; removed. fetched: places."""

    manifest: TileManifest
    kept: int
    added: int
    replaced: int
    removed: int
    fetched: int


def pull_tiles(
    lake: Lake,
    folder: Path,
    release: Release,
    box: Box | None = None,
    cell_m: float = 0.0,
    on_progress: Progress | None = None,
) -> Pulled:
    """Write the tiles of a release that a box touches to a folder, and bring those that it has to that release.

    box: None takes all. cell_m: side of a tile; 0: as the folder has, 1 km for a new one. A kill leaves the tiles as
    they were. Raises MapError if the box has no places, if the folder holds something else or tiles of another map or
    side, if it cannot be written, or if another process pulls to it.
    """
    try:
        with alone_in(folder), TemporaryDirectory(dir=folder, prefix=MAKING) as making:
            return _pull(lake, folder, release, box, cell_m, Path(making) / "release.vprmap", on_progress)
    except OSError as error:
        raise MapError(f"cannot write tiles to {folder} ({brief(error)}): give another folder") from error


def _pull(
    lake: Lake,
    folder: Path,
    release: Release,
    box: Box | None,
    cell_m: float,
    path: Path,
    on_progress: Progress | None,
) -> Pulled:
    """path: of a map that is made of the tiles that stay and of what is fetched, and is then cut."""
    before = earlier_tiles(folder)
    old = before.tiles if before else ()
    side = cell_m or (before.cell_m if before else TILES.cell_m)
    check_side(side)
    if before and before.cell_m != side:
        raise MapError(f"{folder} has tiles of {before.cell_m:g} m: leave out --cell, or give a new folder")
    known = _Known.read(folder, before, release.head) if before else None
    boxes = _boxes(box, [tile.cell for tile in old], side)
    wanted = lake.whereabouts(release, boxes)
    if not (_inside(wanted.positions, boxes[0]).any() if boxes else len(wanted)):
        raise MapError(f"release {release.number} of {lake.uri} has no places there: give a larger box")
    cells = [(east, north) for east, north in cells_of(wanted.positions, np.zeros(3), side).tolist()]
    kept = known.unchanged(wanted, cells) if known else []
    calibration = Calibration.from_dict(release.calibration).to_dict()
    if before and len(kept) == len(set(cells)) == len(old) and before.calibration == calibration:
        return Pulled(before, len(kept), 0, 0, 0, 0)
    if kept:
        boxes = [_box(cell, side) for cell in sorted({*cells} - {tile.cell for tile in kept})]
    ids = _Ids(known.places if known else None)
    origin = known.origin if known else origin_near(wanted.positions[0])
    fetched = 0
    with new_map(path, release, origin) as made:
        made.begin_scratch()
        for tile in kept:
            made.add_tile(folder / tile.file)
        if len(kept) < len(set(cells)):
            for rows in lake.rows(release, boxes):
                rows.add_to(made, ids.of(rows.places))
                fetched += len(rows)
        manifest = write_tiles(made, folder, side, on_progress=on_progress, pulled=True)
    hashes = {tile.cell: tile.sha256 for tile in old}
    new = {tile.cell: tile.sha256 for tile in manifest.tiles}
    stay = sum(hashes.get(cell) == sha256 for cell, sha256 in new.items())
    added = len(new.keys() - hashes.keys())
    return Pulled(manifest, stay, added, len(new) - stay - added, len(hashes.keys() - new.keys()), fetched)


@dataclass(frozen=True, eq=False)
class _Known:
    """What a folder has. places: poses of the world, without descriptors. origin: (3,) of its map."""

    folder: Path
    tiles: tuple[Tile, ...]
    places: Places
    origin: np.ndarray

    @classmethod
    def read(cls, folder: Path, manifest: TileManifest, head: Head) -> _Known | None:
        """None if it is damaged. Raises MapError if it is of another map."""
        try:
            with PlaceMap.open(FolderTiles(folder).get(manifest.whole)) as whole:
                its_head, places, origin = Head.of(whole), whole.whereabouts, whole.origin
        except MapError as error:
            logger.warning("%s; all tiles are pulled again", brief(error))
            return None
        if its_head != head:
            raise MapError(f"{folder} has tiles of another map than the lake: give a new folder")
        places.T_map_camera[:, :3, 3] += origin
        return cls(folder, manifest.tiles, places, origin)

    def unchanged(self, wanted: Places, cells: Sequence[Cell]) -> list[Tile]:
        """The tiles that have exactly the places that are wanted in their cell. cells: of each place."""
        rows = {key: row for row, key in enumerate(_keys(self.places))}
        at = np.array([rows.get(key, -1) for key in _keys(wanted)])
        moved = np.abs(self.places.T_map_camera[at] - wanted.T_map_camera).max(axis=(1, 2))
        same = (at >= 0) & (moved < LAKE.same_pose)
        alike, all_ = Counter(cell for cell, one in zip(cells, same, strict=True) if one), Counter(cells)
        return [
            tile for tile in self.tiles if alike[tile.cell] == all_[tile.cell] == tile.places and self._is_intact(tile)
        ]

    def _is_intact(self, tile: Tile) -> bool:
        try:
            FolderTiles(self.folder).get(tile)
        except MapError as error:
            logger.warning("%s; this tile is pulled again", brief(error))
            return False
        return True


class _Ids:
    """Ids of places: a place of the folder keeps its own, the others follow."""

    def __init__(self, known: Places | None) -> None:
        self._known = {} if known is None else dict(zip(_keys(known), known.ids.tolist(), strict=True))
        self._last = max(self._known.values(), default=0)

    def of(self, places: Places) -> np.ndarray:
        """Ids (N,) of places that a map gets."""
        ids = [self._known.get(key, 0) for key in _keys(places)]
        for row, place_id in enumerate(ids):
            if not place_id:
                self._last += 1
                ids[row] = self._last
        return np.array(ids, np.int64)


def _keys(places: Places) -> list[tuple[str, int]]:
    """Drive and stamp of each place, which no other place has."""
    return list(zip(map(str, places.drives), places.stamps_ns.tolist(), strict=True))


def _boxes(area: Box | None, cells: Sequence[Cell], side: float) -> list[Box]:
    """First all tiles that an area touches, as one box, then those of cells beyond it. Empty without an area: all."""
    if area is None:
        return []
    west, south, east, north = (int(k) for k in np.floor(np.array(area, float) / side))
    beyond = [cell for cell in cells if not (west <= cell[0] <= east and south <= cell[1] <= north)]
    return [_box((west, south), side, (east, north)), *(_box(cell, side) for cell in beyond)]


def _box(cell: Cell, side: float, last: Cell | None = None) -> Box:
    """The box of a cell, or of those up to another one. Its edges in the east and north are of the next cells."""
    first, after = np.array(cell, float) * side, (np.array(last or cell, float) + 1.0) * side
    (west, south), (east, north) = first.tolist(), np.nextafter(after, -np.inf).tolist()
    return west, south, east, north


def _inside(positions: np.ndarray, box: Box) -> np.ndarray:
    """Which of positions (N, 3) lie in a box, metres of the world."""
    west, south, east, north = box
    x, y = positions[:, 0], positions[:, 1]
    return np.asarray((x >= west) & (x <= east) & (y >= south) & (y <= north))
