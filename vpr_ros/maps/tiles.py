"""Tiles: a map cut along a square grid into ordinary maps, with a manifest and what is of the whole map.

A folder of tiles holds ``manifest.json``, the tiles, the whereabouts of all places with statistics of the whole map (a
SQLite file), and a search index of all places. The name of each file but the manifest has its hash in it. So a new
release never changes a file that a robot is reading, and the manifest, written last, is the release.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vpr_ros.base.errors import MapError, brief
from vpr_ros.base.files import write_json
from vpr_ros.maps import map_file
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import map_mean
from vpr_ros.maps.constants import STATISTICS, TILES
from vpr_ros.maps.index import AUTO, Index, chosen_factory
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import WHOLE_MAP, Places

logger = logging.getLogger(__name__)

MANIFEST = map_file.MANIFEST
LARGEST_MANIFEST = 64 << 20  # bytes
_FORMAT = 1
_PIECE = 1 << 20  # bytes hashed at a time
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_TILES = 100_000
_LARGEST = 1e9  # metres
_LARGEST_STATISTIC = 100.0  # of unit descriptors none exceeds 1
MAKING = "making-"  # begins the folder of files that are not finished

Progress = Callable[[int, int], None]  # tiles written, tiles in all


@dataclass(frozen=True)
class TileFile:
    """A file of a folder of tiles, by its name there. bytes: its size. sha256: of its content, in hex."""

    file: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not (isinstance(self.file, str) and _NAME.fullmatch(self.file)):
            raise ValueError(f"a file is called {str(self.file)[:60]!r}")
        if not (isinstance(self.sha256, str) and _HASH.fullmatch(self.sha256)):
            raise ValueError(f"the hash of {self.file} is {str(self.sha256)[:80]!r}")
        _check_count(self.bytes, f"the size of {self.file}", TILES.largest_file)


@dataclass(frozen=True)
class Tile(TileFile):
    """A tile. cell: its number eastwards and northwards. bounds: west, south, east, north, metres in the map."""

    cell: tuple[int, int]
    bounds: tuple[float, float, float, float]
    places: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "cell", tuple(self.cell))
        object.__setattr__(self, "bounds", tuple(self.bounds))
        if len(self.cell) != 2 or not all(type(k) is int and abs(k) < _LARGEST for k in self.cell):
            raise ValueError(f"the cell of {self.file} is {self.cell!r}")
        if len(self.bounds) != 4 or not all(_is_number(value) and abs(value) < 1e10 for value in self.bounds):
            raise ValueError(f"the bounds of {self.file} are {self.bounds!r}")
        _check_count(self.places, f"the number of places in {self.file}")


@dataclass(frozen=True)
class TileManifest:
    """What a folder of tiles holds.

    revision: of the map that was cut. fingerprint: of its model. index_factory: see ``index.Index.build``.
    local_features: their kind, or empty; feature_count: places that have some.
    """

    revision: int
    model: str
    fingerprint: str
    calibration: dict[str, Any]
    world: str
    cell_m: float
    places: int
    whole: TileFile
    index: TileFile
    index_factory: str
    tiles: tuple[Tile, ...]
    local_features: str = ""
    feature_count: int = 0
    format: int = field(default=_FORMAT)

    def __post_init__(self) -> None:
        texts = (self.model, self.fingerprint, self.world, self.index_factory, self.local_features)
        if not all(isinstance(text, str) and len(text) < 1000 for text in texts):
            raise ValueError("a name is no text, or too long")
        if not isinstance(self.calibration, dict):
            raise ValueError("its calibration is no table")
        for name in ("revision", "places", "feature_count"):
            _check_count(getattr(self, name), name)
        if not (_is_number(self.cell_m) and TILES.smallest_m <= self.cell_m <= TILES.largest_m):
            raise ValueError(f"its cells measure {self.cell_m!r} m")
        if not 0 < len(self.tiles) <= _MOST_TILES or len({tile.cell for tile in self.tiles}) < len(self.tiles):
            raise ValueError(f"{len(self.tiles)} tiles, or two of one cell")
        if sum(tile.places for tile in self.tiles) != self.places:
            raise ValueError("its tiles have not as many places as the map")

    @property
    def release(self) -> str:
        """Short name of this content, for people: the map's revision, and a part of a hash."""
        content = json.dumps(self.to_dict(), sort_keys=True).encode()
        return f"{self.revision}-{hashlib.sha256(content).hexdigest()[:8]}"

    @property
    def files(self) -> list[TileFile]:
        """All files but the manifest."""
        return [self.whole, self.index, *self.tiles]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> TileManifest:
        """Read a manifest. Raises MapError if it is not one, with where it is from."""
        try:
            found = json.loads(data)
            if found["format"] != _FORMAT:
                raise MapError(
                    f"the tiles at {where} have format {found['format']!r}, and this version reads {_FORMAT}: "
                    "make them again with `vpr map tile`, or use another version"
                )
            whole, index = (TileFile(**found[name]) for name in ("whole", "index"))
            tiles = tuple(Tile(**tile) for tile in found["tiles"])
            return cls(**{**found, "whole": whole, "index": index, "tiles": tiles})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise MapError(
                f"the {MANIFEST} at {where} cannot be read ({brief(error)}): is this the place of the tiles? "
                "If so, make them again with `vpr map tile`"
            ) from error


def cells_of(positions: np.ndarray, origin: np.ndarray, cell_m: float) -> np.ndarray:
    """Cells (N, 2) int64, counted in the world, of positions (N, 2 or 3) in a map with this origin (3,)."""
    return np.asarray(np.floor((positions[:, :2] + origin[:2]) / cell_m).astype(np.int64))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def write_tiles(
    place_map: PlaceMap,
    folder: Path,
    cell_m: float = TILES.cell_m,
    factory: str = AUTO,
    on_progress: Progress | None = None,
    pulled: bool = False,
) -> TileManifest:
    """Cut a map into tiles, in a new folder or in one that has an earlier release of tiles.

    factory: of the index of all places. pulled: whether the map is a temporary one, of a lake. Then its tiles leave the
    calibration to the manifest, so that a release which only calibrates anew has the same tiles.

    A kill leaves the earlier release as it was. Its files stay for robots that use it; those of the release before it
    are removed. Raises MapError if the map has no places or is changed meanwhile, or if the folder holds something else
    or cannot be written; ConfigError for a bad factory.
    """
    check_side(cell_m)
    try:
        with nullcontext() if pulled else alone_in(folder):  # whoever pulls has the folder for itself
            return _release(place_map, folder, cell_m, factory, on_progress, pulled)
    except OSError as error:
        raise MapError(f"cannot write tiles to {folder}: {error}") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """A block in which no other process makes tiles in a folder, which is made if need be. Raises MapError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MapError(f"another process makes tiles in {folder}: wait for it") from error
        except OSError as error:  # of a network's file system
            logger.warning(
                "%s cannot be locked (%s): let one process at a time make tiles in it", folder, error.strerror
            )
        yield
    finally:
        os.close(opened)


def _release(
    place_map: PlaceMap, folder: Path, cell_m: float, factory: str, on_progress: Progress | None, pulled: bool
) -> TileManifest:
    """See ``write_tiles``."""
    before, is_new = earlier_tiles(folder), not (folder / MANIFEST).exists()
    revision, places = place_map.revision, place_map.places
    if not len(places):
        raise MapError(f"{place_map.path} has no places: add a drive to it with `vpr map add`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
        with TemporaryDirectory(dir=folder, prefix=MAKING) as making:
            part = Path(making) / "part"
            index = Index.of_map(place_map, factory, map_mean(places), cache=not pulled)
            index.save(part)
            index_file = _taken(part, folder, "index", ".faiss")
            map_file.extract_whereabouts(place_map.path, part, statistics_bytes(places))
            whole = _taken(part, folder, "whole", ".sqlite")
            changed = {"calibration": json.dumps(Calibration().to_dict())} if pulled else {}
            tiles = _write_tiles(place_map, places, folder, part, cell_m, changed, on_progress)
        manifest = TileManifest(
            revision=revision,
            model=place_map.model.name,
            fingerprint=place_map.model.fingerprint,
            calibration=place_map.calibration.to_dict(),
            world=place_map.world,
            cell_m=float(cell_m),
            places=len(places),
            whole=whole,
            index=index_file,
            index_factory=chosen_factory(factory, len(places) * place_map.model.views),
            tiles=tuple(tiles),
            local_features=place_map.feature_kind(),
            feature_count=place_map.feature_count(),
        )
        if place_map.revision != revision:
            raise MapError(f"{place_map.path} was changed while its tiles were made: run `vpr map tile` again")
        write_json(folder / MANIFEST, manifest.to_dict())
    except (OSError, sqlite3.Error) as error:
        raise MapError(f"cannot write tiles to {folder}: {error}") from error
    if is_new or (before and before.release != manifest.release):  # made again, robots use the one before that still
        _remove_old(folder, [manifest, *([before] if before else [])])
    return manifest


def check_side(cell_m: float) -> None:
    """Raises MapError if tiles cannot have this side, metres."""
    if not TILES.smallest_m <= cell_m <= TILES.largest_m:
        raise MapError(
            f"cells of {cell_m:g} m cannot be made: choose {TILES.smallest_m:g} to {TILES.largest_m:g} metres"
        )


def _write_tiles(
    place_map: PlaceMap,
    places: Places,
    folder: Path,
    part: Path,
    cell_m: float,
    changed: dict[str, str],
    on_progress: Progress | None,
) -> list[Tile]:
    """Write the file of each cell that has places. changed: values of the meta table that are not the map's."""
    cells, cell_of = np.unique(cells_of(places.positions, place_map.origin, cell_m), axis=0, return_inverse=True)
    if len(cells) > _MOST_TILES:
        raise MapError(f"cells of {cell_m:g} m make {len(cells)} tiles of {place_map.path}: choose larger ones")
    tiles = []
    for number, (east, north) in enumerate(cells.tolist()):
        ids = places.ids[cell_of.reshape(-1) == number]
        map_file.extract(place_map.path, part, ids, **changed)
        made = _taken(part, folder, f"tile_{east}_{north}", ".vprmap")
        west, south = (np.array([east, north]) * cell_m - place_map.origin[:2]).tolist()
        bounds = (west, south, west + cell_m, south + cell_m)
        tiles.append(Tile(**asdict(made), cell=(east, north), bounds=bounds, places=len(ids)))
        if on_progress:
            on_progress(number + 1, len(cells))
    return tiles


def statistics_bytes(places: Places) -> dict[str, bytes]:
    """The statistics WHOLE_MAP of a map as its file of whereabouts stores them, little-endian."""
    found = {name: np.asarray(getattr(places, name)) for name in WHOLE_MAP}
    return {name: value.astype(value.dtype.newbyteorder("<")).tobytes() for name, value in found.items()}


def statistics_from(stored: dict[str, bytes], count: int, dimension: int, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The statistics WHOLE_MAP of a map of count places, from what ``statistics_bytes`` made of them.

    dtype: of stored descriptors. Raises ValueError, TypeError or KeyError for other data.
    """
    float32 = np.dtype("<f4")
    types = {"mean_descriptor": float32, "background": dtype, "steps": float32}
    found: dict[str, Any] = {}
    for name in WHOLE_MAP:
        array = np.frombuffer(stored[name], types.get(name, np.dtype("<f8")))
        found[name] = array.astype(array.dtype.newbyteorder("="))
        if not (np.abs(found[name]) < _LARGEST_STATISTIC).all():
            raise ValueError(f"{name} is not finite, or too large")
    sizes = {
        "mean_descriptor": dimension,
        "variety": 1,
        "steps": count - 1,
        "elsewhere_cosine": 1,
        "later_cosines": STATISTICS.later,
    }
    for name, size in sizes.items():
        if len(found[name]) != size:
            raise ValueError(f"{name} has {len(found[name])} numbers, not {size}")
    found["background"] = found["background"].reshape(-1, dimension)
    return {**found, **{name: float(found[name][0]) for name in ("variety", "elsewhere_cosine")}}


def earlier_tiles(folder: Path) -> TileManifest | None:
    """The manifest of the release that a folder holds; None without one, and with a damaged one, which is told.

    Raises MapError if the folder holds something else.
    """
    try:
        if (folder / MANIFEST).is_file():
            try:
                return TileManifest.from_bytes((folder / MANIFEST).read_bytes(), str(folder))
            except MapError as error:
                logger.warning("%s; a new one is made, and the tiles that are here stay", error)
                return None
        if folder.exists() and any(not path.name.startswith(MAKING) for path in folder.iterdir() if not _is_own(path)):
            raise MapError(f"{folder} holds other files than tiles: give a new or an empty folder")
    except OSError as error:
        raise MapError(f"cannot write tiles to {folder}: {error.strerror}") from error
    return None


def _is_own(path: Path) -> bool:
    """Whether a file is of this module, by its name: a first release that was interrupted leaves such files."""
    return re.fullmatch(r"(tile_-?\d+_-?\d+|whole|index)_[0-9a-f]{16}\.(vprmap|sqlite|faiss)", path.name) is not None


def _taken(part: Path, folder: Path, stem: str, suffix: str) -> TileFile:
    """Move a finished file into the folder, under a name with its hash."""
    sha256, size = sha256_of(part), part.stat().st_size
    name = f"{stem}_{sha256[:16]}{suffix}"
    part.replace(folder / name)
    return TileFile(name, size, sha256)


def _remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left unfinished, after a day."""
    for path in folder.glob(f"{MAKING}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 86400.0:
                rmtree(path)


def _remove_old(folder: Path, kept: Sequence[TileManifest]) -> None:
    """Remove this module's files that are of none of these releases."""
    names = {file.file for manifest in kept for file in manifest.files}
    for path in folder.iterdir():
        if _is_own(path) and path.name not in names:
            with suppress(OSError):
                path.unlink()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _check_count(value: Any, what: str, most: int = 2**40) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{what} is {str(value)[:40]}")
