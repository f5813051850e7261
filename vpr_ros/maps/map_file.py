"""The SQLite file of a map: schema, format version, transactions, copies of a growing map."""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import MapError
from vpr_ros.base.files import written_whole
from vpr_ros.maps.places import Places
from vpr_ros.maps.storage import Storage
from vpr_ros.maps.writing import Writing, two_writers

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"  # what a folder of tiles has; see tiles
_FORMAT_VERSIONS = (1, 2)  # readable; see storage.Storage
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE drives (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE places (
    id INTEGER PRIMARY KEY, drive_id INTEGER NOT NULL REFERENCES drives, stamp_ns INTEGER NOT NULL,
    pose BLOB NOT NULL,        -- x y z qx qy qz qw of the camera in the map, 7 little-endian float64
    descriptor BLOB NOT NULL,  -- V records of Storage.record: little-endian float32, or what storage says; unit length
    thumbnail BLOB,            -- JPEG
    UNIQUE (drive_id, stamp_ns));
"""
# Created with the first row, so that maps without local features or closures, and older files, need no table.
FEATURES_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    place_id INTEGER PRIMARY KEY REFERENCES places,
    data BLOB NOT NULL)        -- LocalFeatures.to_bytes
"""
VOCABULARY_SCHEMA = "CREATE TABLE vocabulary (data BLOB NOT NULL)"  # one row, Vocabulary.to_bytes
STATISTICS_SCHEMA = "CREATE TABLE statistics (name TEXT PRIMARY KEY, data BLOB NOT NULL)"  # of a map in tiles
LINKS_SCHEMA = """
CREATE TABLE IF NOT EXISTS links (
    id INTEGER PRIMARY KEY,    -- in the order they were accepted
    query_id INTEGER NOT NULL UNIQUE REFERENCES places, match_id INTEGER NOT NULL REFERENCES places,
    pose BLOB NOT NULL)        -- of the query in the match's optical frame, as in places
"""
_PIECE = 1024  # places read at a time
# Files are untrusted. Views, triggers and computed columns are programs that may never end, so they are refused.
_COMMENT = re.compile(r"--[^\n]*")
_PLAIN = re.compile(
    r"CREATE (TABLE|(UNIQUE )?INDEX)\b(?!.*\b(AS|CHECK|DEFAULT|COLLATE|WHERE)\b)[\w\s,()\"]+", re.I | re.S
)
FURTHEST = 1e9  # metres, largest coordinate
INDEX_CACHE, PLACES_CACHE = ".faiss", ".places.npz"  # see index, whereabouts
_COMPANIONS = ("-journal", "-wal", "-shm", INDEX_CACHE, PLACES_CACHE)


@dataclass(frozen=True, eq=False)
class Link:
    """A loop closure within a map, by the ids of its two places. T_match_query: (4, 4), metres."""

    query_id: int
    match_id: int
    T_match_query: np.ndarray


def create(path: Path, meta: dict[str, str], vocabulary: bytes | None = None) -> None:
    """Write a new, empty map, whole or not at all. Raises MapError if the file exists or cannot be written.

    meta: with ``Storage.to_meta``. vocabulary: ``Vocabulary.to_bytes``.
    """
    with new_file(path) as part:
        connection = sqlite3.connect(part, isolation_level=None)
        try:
            connection.executescript("BEGIN;" + _SCHEMA)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            if vocabulary is not None:
                connection.execute(VOCABULARY_SCHEMA)
                connection.execute("INSERT INTO vocabulary VALUES (?)", (vocabulary,))
            connection.execute("COMMIT")
        finally:
            connection.close()


def remove(path: Path) -> None:
    """Delete a map with its journals and caches."""
    for suffix in ("", *_COMPANIONS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A path to write a new map to. It becomes ``path`` when the block ends, and is deleted if the block fails.

    Raises MapError if ``path`` exists or cannot be written.
    """
    check_new(path)
    try:
        for companion in _COMPANIONS:  # of a deleted map of that name: it would be applied to this one
            path.with_name(path.name + companion).unlink(missing_ok=True)
        with written_whole(path) as part:
            yield part
    except (sqlite3.Error, OSError) as error:
        raise MapError(f"cannot write the map {path}: {error}") from error


def connect(path: Path, writable: bool = False) -> sqlite3.Connection:
    """Open the file of a map. Raises MapError if it is missing, sqlite3.Error if it cannot be opened."""
    try:
        there, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # such as a name that is too long
        shown = str(path) if len(path.name) <= 255 else f"{str(path)[:60]}..."
        raise MapError(f"the map {shown} cannot be opened: {error.strerror}") from error
    if not there and (str(path).startswith(("http:/", "https:/")) or (path / MANIFEST).is_file()):
        raise MapError(f"{path} is a map in tiles, which can only be read here: name the .vprmap file it was cut from")
    if is_folder:
        raise MapError(f"{path} is a folder: name a .vprmap file")
    if not there:
        raise MapError(f"no map {path}: build one with `vpr map build DRIVE -o MAP.vprmap`")
    for wanted, what in ((os.R_OK, "read"), *([(os.W_OK, "written")] if writable else [])):
        if not os.access(path, wanted):
            raise MapError(f"the map {path} cannot be {what}: {os.strerror(errno.EACCES)}")
    path = path.resolve()  # the journal lies beside the file, not beside a link to it
    # A killed writer leaves a journal, which only a writable connection can roll back.
    mode = "rw" if writable or path.with_name(path.name + "-journal").exists() else "ro"
    uri = f"{path.as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The meta table. Raises MapError for another format version, ValueError for more than plain tables."""
    for sql in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall():
        if not isinstance(sql[0], str) or not _PLAIN.fullmatch(_COMMENT.sub(" ", sql[0])):
            raise ValueError("it holds more than plain tables")
    found = dict(connection.execute("SELECT key, value FROM meta"))
    if int(found["format_version"]) not in _FORMAT_VERSIONS:
        known = " and ".join(map(str, _FORMAT_VERSIONS))
        raise MapError(
            f"{path} has map format {found['format_version']}, and this version reads {known}: build it again, or "
            "use a newer version"
        )
    return found


def set_meta(connection: sqlite3.Connection, **values: str) -> None:
    """Set values of the meta table; keys that an older version did not write are added."""
    connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", values.items())


def extract(path: Path, target: Path, ids: np.ndarray, **meta: str) -> None:
    """Write the places with these ids (K,) of a map, with all that is of them, as a new map file.

    meta: values that differ from the map's. Equal places make equal files: the revision is 0. Closures are left out.
    """
    with _beside(path, target, revision="0", **meta) as connection:
        connection.execute("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO chosen VALUES (?)", ((int(place_id),) for place_id in ids))
        connection.execute("INSERT INTO places SELECT p.* FROM chosen JOIN source.places p USING (id) ORDER BY id")
        if _has(connection, "features", "source"):
            connection.execute(FEATURES_SCHEMA)
            connection.execute(
                "INSERT INTO features SELECT f.* FROM chosen JOIN source.features f ON f.place_id = id ORDER BY id"
            )


def extract_whereabouts(path: Path, target: Path, statistics: dict[str, bytes]) -> None:
    """Write a map's places, only where and when each was seen, and statistics of them as a new file."""
    with _beside(path, target) as connection:
        connection.execute(
            "INSERT INTO places SELECT id, drive_id, stamp_ns, pose, x'', NULL FROM source.places ORDER BY id"
        )
        connection.execute(STATISTICS_SCHEMA)
        connection.executemany("INSERT INTO statistics VALUES (?, ?)", statistics.items())


@contextmanager
def _beside(path: Path, target: Path, **meta: str) -> Iterator[sqlite3.Connection]:
    """A new file of a part of a map, which is attached as ``source``: the block writes places, the rest follows.

    meta: values that differ from the map's. Nothing is written twice or deleted, as SQLite would keep its traces in the
    file.
    """
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("ATTACH ? AS source", (f"{path.absolute()}",))
        connection.executescript("BEGIN;" + _SCHEMA)
        values = dict(connection.execute("SELECT key, value FROM source.meta")) | meta
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(values.items()))
        if _has(connection, "vocabulary", "source"):
            connection.execute(VOCABULARY_SCHEMA)
            connection.execute("INSERT INTO vocabulary SELECT data FROM source.vocabulary")
        yield connection
        used = "SELECT DISTINCT drive_id FROM main.places"
        connection.execute(f"INSERT INTO drives SELECT * FROM source.drives WHERE id IN ({used}) ORDER BY id")
        connection.execute("COMMIT")
    finally:
        connection.close()


def statistics(connection: sqlite3.Connection) -> dict[str, bytes]:
    """The stored statistics of a map in tiles."""
    return dict(connection.execute("SELECT name, data FROM statistics"))


def place_ids(connection: sqlite3.Connection) -> np.ndarray:
    """Ids (N,) of all places, ascending."""
    return np.array([row[0] for row in connection.execute("SELECT id FROM places ORDER BY id")], dtype=np.int64)


def begin_growing(connection: sqlite3.Connection) -> None:
    """Prepare for many small transactions, each on disk when it ends, while others read.

    A write-ahead log waits for the disk once per transaction; a rollback journal several times. If the file system does
    not support it, SQLite keeps the journal.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def begin_scratch(connection: sqlite3.Connection) -> None:
    """Let no transaction wait for the disk: a power failure may destroy the file."""
    connection.execute("PRAGMA synchronous = OFF")


def is_grown(connection: sqlite3.Connection) -> bool:
    """Whether another connection is adding to this file. The log of a killed one is applied first."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return False
    end_growing(connection)
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """A block in which no other process writes to a map. Raises MapError if one adds to it."""
    with Writing(path):
        connection = connect(path, writable=True)
        try:
            if is_grown(connection):
                raise two_writers(path)
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()


def end_growing(connection: sqlite3.Connection) -> None:
    """Make one ordinary file again, which works on a read-only disk. No change while others read it."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")


def lacks_log(path: Path) -> bool:
    """Whether a map's file says that it has a write-ahead log, which is not beside it.

    Places are missing if it was copied without; it is whole if another program has applied the log and removed it.
    """
    path = path.resolve()
    if path.with_name(f"{path.name}-wal").exists():
        return False
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"  # the versions that write and read it (SQLite's file format, 1.3)


def log_of(path: Path) -> Path | None:
    """The write-ahead log beside a map that holds places which the map's own file lacks, or None."""
    path = path.resolve()
    log = path.with_name(f"{path.name}-wal")
    return log if log.is_file() and log.stat().st_size else None


def copy(path: Path, target: Path) -> None:
    """Write a whole copy of a map as it is now, even while another connection adds to it.

    Raises MapError if the target exists or cannot be written, or if the map cannot be read.
    """
    with new_file(target) as part:
        source = connect(path)
        try:
            made = sqlite3.connect(part, isolation_level=None)
            try:
                source.backup(made)  # in one step, so that the copy is consistent
                end_growing(made)
            finally:
                made.close()
        finally:
            source.close()


def insert(
    connection: sqlite3.Connection,
    drive: str,
    stamp_ns: int,
    T_map_camera: np.ndarray,
    descriptor: bytes,
    thumbnail: bytes | None,
    features: bytes | None,
) -> int:
    """Write one place and return its id; see ``PlaceMap.add``."""
    connection.execute("INSERT OR IGNORE INTO drives (name) VALUES (?)", (drive,))
    place = connection.execute(
        "INSERT INTO places (drive_id, stamp_ns, pose, descriptor, thumbnail) "
        "SELECT id, ?, ?, ?, ? FROM drives WHERE name = ?",
        (int(stamp_ns), _pose(T_map_camera), descriptor, thumbnail, drive),
    )
    if features is not None:
        connection.execute(FEATURES_SCHEMA)
        connection.execute("INSERT INTO features VALUES (?, ?)", (place.lastrowid, features))
    return int(place.lastrowid or 0)


def insert_all(
    connection: sqlite3.Connection,
    places: Places,
    descriptors: Iterable[bytes],
    thumbnails: Iterable[bytes | None],
    features: Iterable[bytes | None],
    ids: np.ndarray | None,
) -> None:
    """Write places; see ``PlaceMap.add_all``."""
    connection.executemany(
        "INSERT OR IGNORE INTO drives (name) VALUES (?)", [(name,) for name in dict.fromkeys(map(str, places.drives))]
    )
    numbers = dict(connection.execute("SELECT name, id FROM drives"))
    last = connection.execute("SELECT coalesce(max(id), 0) FROM places").fetchone()[0]
    chosen = (np.arange(len(places)) + last + 1 if ids is None else ids).tolist()
    poses = [pose.tobytes() for pose in _poses(places.T_map_camera)]
    drives = [numbers[str(name)] for name in places.drives]
    connection.executemany(
        "INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)",
        zip(chosen, drives, places.stamps_ns.tolist(), poses, descriptors, thumbnails, strict=True),
    )
    found = [(place_id, data) for place_id, data in zip(chosen, features, strict=True) if data is not None]
    if found:
        connection.execute(FEATURES_SCHEMA)
        connection.executemany("INSERT INTO features VALUES (?, ?)", found)


def copy_places(connection: sqlite3.Connection, path: Path) -> None:
    """Add all places of a tile of this map, byte for byte, with the ids that they and their drives have there."""
    connection.execute("ATTACH ? AS source", (f"{path.absolute()}",))
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR IGNORE INTO drives SELECT * FROM source.drives")
        connection.execute("INSERT INTO places SELECT * FROM source.places")
        if _has(connection, "features", "source"):
            connection.execute(FEATURES_SCHEMA)
            connection.execute("INSERT INTO features SELECT * FROM source.features")
        connection.execute("COMMIT")
    finally:
        connection.execute("DETACH source")


def set_poses(connection: sqlite3.Connection, ids: np.ndarray, T_map_camera: np.ndarray) -> None:
    """Give places new poses (K, 4, 4), and delete the places that are not among ids (K,).

    The links are deleted: poses of one world make them redundant.
    """
    connection.execute("DROP TABLE IF EXISTS links")
    poses = [(_pose(T), int(place_id)) for place_id, T in zip(ids, T_map_camera, strict=True)]
    connection.executemany("UPDATE places SET pose = ? WHERE id = ?", poses)
    keep(connection, ids)


def keep(connection: sqlite3.Connection, ids: np.ndarray) -> int:
    """Delete the places that are not among ids (K,), with their features and links; returns the number of links."""
    kept = set(ids.tolist())
    gone = [row for row in connection.execute("SELECT id FROM places").fetchall() if row[0] not in kept]
    if _has(connection, "features"):
        connection.executemany("DELETE FROM features WHERE place_id = ?", gone)
    connection.executemany("DELETE FROM places WHERE id = ?", gone)
    connection.execute("DELETE FROM drives WHERE id NOT IN (SELECT drive_id FROM places)")
    if not _has(connection, "links"):
        return 0
    there = "(SELECT id FROM places)"
    unlinked = f"DELETE FROM links WHERE query_id NOT IN {there} OR match_id NOT IN {there}"
    return connection.execute(unlinked).rowcount


def _pose(T_map_camera: np.ndarray) -> bytes:
    """A pose (4, 4) as stored in the places table."""
    return bytes(_poses(T_map_camera).tobytes())


def _poses(T_map_camera: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) as the numbers (..., 7) that the places table stores."""
    quaternions = geometry.quat_xyzw_from_matrix(T_map_camera[..., :3, :3])
    return np.concatenate([T_map_camera[..., :3, 3], quaternions], axis=-1).astype("<f8")


def _matrix(pose: np.ndarray) -> np.ndarray:
    """A pose (7,) of the places table as (4, 4)."""
    return geometry.transform(geometry.matrix_from_quat_xyzw(pose[3:]), pose[:3])


def convert(path: Path, size: tuple[int, int], was: Storage, becomes: Storage) -> None:
    """Store an existing file's places in another way. Thumbnails that are gone do not come back.

    size: (V, D) of a place's descriptors. No other process may use the file: an interruption leaves it unusable.
    """
    connection = connect(path, writable=True)
    try:
        connection.execute("BEGIN IMMEDIATE")
        if replace(was, thumbnails=becomes.thumbnails) != becomes:
            _encode_again(connection, size, was, becomes)
        if not becomes.thumbnails:
            connection.execute("UPDATE places SET thumbnail = NULL")
        connection.execute("DELETE FROM meta WHERE key = 'storage'")
        set_meta(connection, **becomes.to_meta())
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
        connection.execute("COMMIT")
        connection.execute("VACUUM")  # what was deleted must not be readable
    finally:
        connection.close()


def _encode_again(connection: sqlite3.Connection, size: tuple[int, int], was: Storage, becomes: Storage) -> None:
    last = 0
    while rows := connection.execute(
        "SELECT id, descriptor FROM places WHERE id > ? ORDER BY id LIMIT ?", (last, _PIECE)
    ).fetchall():
        found = was.decoded(_records([blob for _, blob in rows], size, was), size[1])
        changed = [(record.tobytes(), row[0]) for row, record in zip(rows, becomes.encoded(found), strict=True)]
        connection.executemany("UPDATE places SET descriptor = ? WHERE id = ?", changed)
        last = rows[-1][0]


def bytes_by_kind(connection: sqlite3.Connection) -> dict[str, int]:
    """Bytes of descriptors, thumbnails, local features and the vocabulary."""
    query = "SELECT coalesce(sum(length(descriptor)), 0), coalesce(sum(length(thumbnail)), 0) FROM places"
    found = dict(zip(("descriptors", "thumbnails"), connection.execute(query).fetchone(), strict=True))
    for table in ("features", "vocabulary"):
        if _has(connection, table):
            found[table] = connection.execute(f"SELECT coalesce(sum(length(data)), 0) FROM {table}").fetchone()[0]
    return {name: int(size) for name, size in found.items()}


def features(connection: sqlite3.Connection, place_id: int) -> bytes | None:
    """Stored local features of a place; None if it has none."""
    if not _has(connection, "features"):
        return None
    row = connection.execute("SELECT data FROM features WHERE place_id = ?", (place_id,)).fetchone()
    return row[0] if row else None


def vocabulary(connection: sqlite3.Connection) -> bytes:
    """The stored vocabulary. Raises ValueError if the map has no vocabulary."""
    row = connection.execute("SELECT data FROM vocabulary").fetchone() if _has(connection, "vocabulary") else None
    if row is None or not isinstance(row[0], bytes):
        raise ValueError("it has no vocabulary")
    return row[0]


def sample_checksum(connection: sqlite3.Connection, most: int) -> int:
    """Of the stored descriptors of at most ``most`` places, spread over the map; 0 of an empty one."""
    first, last = connection.execute("SELECT min(id), max(id) FROM places").fetchone()
    checksum = 0
    if first is not None:
        query = "SELECT descriptor FROM places WHERE id >= ? ORDER BY id LIMIT 1"
        for place_id in np.unique(np.linspace(first, last, most).astype(np.int64)).tolist():
            checksum = zlib.crc32(connection.execute(query, (place_id,)).fetchone()[0], checksum)
    return checksum


def first_features(connection: sqlite3.Connection) -> bytes | None:
    """Local features of the first place that has some; None if no place has any."""
    if not _has(connection, "features"):
        return None
    row = connection.execute("SELECT data FROM features ORDER BY place_id LIMIT 1").fetchone()
    return row[0] if row else None


def feature_count(connection: sqlite3.Connection) -> int:
    """Number of places with local features."""
    return int(connection.execute("SELECT count(*) FROM features").fetchone()[0]) if _has(connection, "features") else 0


def insert_links(connection: sqlite3.Connection, links: Iterable[Link]) -> None:
    """Store loop closures; a query that has one keeps it."""
    connection.execute(LINKS_SCHEMA)
    rows = [(link.query_id, link.match_id, _pose(link.T_match_query)) for link in links]
    connection.executemany("INSERT OR IGNORE INTO links (query_id, match_id, pose) VALUES (?, ?, ?)", rows)


def links(connection: sqlite3.Connection) -> list[Link]:
    """The loop closures, in the order they were accepted."""
    if not _has(connection, "links"):
        return []
    rows = connection.execute("SELECT query_id, match_id, pose FROM links ORDER BY id").fetchall()
    return [Link(query_id, match_id, _matrix(np.frombuffer(pose, "<f8"))) for query_id, match_id, pose in rows]


def _has(connection: sqlite3.Connection, table: str, schema: str = "main") -> bool:
    found = connection.execute(f"SELECT 1 FROM {schema}.sqlite_master WHERE name = ?", (table,))
    return found.fetchone() is not None


def all_places(
    connection: sqlite3.Connection, size: tuple[int, int], storage: Storage, descriptors: bool = True
) -> Places:
    """All places; see ``pieces``."""
    total, last = connection.execute("SELECT count(*), max(id) FROM places").fetchone()
    size = size if descriptors else (0, size[1])
    arrays = (
        np.zeros(total, np.int64),
        np.full(total, "", object),  # 8 bytes a place, whatever the names
        np.zeros(total, np.int64),
        np.zeros((total, 4, 4)),
        np.zeros((total, *size), storage.dtype),
    )
    count = 0
    for piece in pieces(connection, size, storage, last=last, descriptors=descriptors):
        parts = piece.ids, piece.drives, piece.stamps_ns, piece.T_map_camera, piece.descriptors
        for array, part in zip(arrays, parts, strict=True):
            array[count : count + len(piece)] = part
        count += len(piece)
        logger.debug("reading places: %d of %d", count, total)
    ids, drives, stamps_ns, T_map_camera, found = (array[:count] for array in arrays)
    return Places(ids, drives, stamps_ns, T_map_camera, found)


def pieces(
    connection: sqlite3.Connection,
    size: tuple[int, int],
    storage: Storage,
    after: int = 0,
    last: int | None = None,
    descriptors: bool = True,
) -> Iterator[Places]:
    """The places with ids above ``after`` and up to ``last``, by id, in pieces: no query stays open in between.

    size: (V, D) of a place's descriptors. descriptors: False reads none, so that V is 0. Raises ValueError if a blob
    has the wrong size or a value is not finite.
    """
    size, column = (size, "descriptor") if descriptors else ((0, size[1]), "x''")
    while True:
        rows = connection.execute(
            f"SELECT places.id, name, stamp_ns, pose, {column} FROM places LEFT JOIN drives ON drives.id = drive_id "
            "WHERE places.id > ? AND places.id <= ? ORDER BY places.id LIMIT ?",
            (after, 2**63 - 1 if last is None else last, _PIECE),
        ).fetchall()
        if not rows:
            return
        yield _places_from_rows(rows, size, storage)
        after = rows[-1][0]


def places_at(
    connection: sqlite3.Connection, ids: np.ndarray, size: tuple[int, int], storage: Storage
) -> Places | None:
    """The places with ids (K,), ascending, without descriptors; None if one is missing. See ``pieces``."""
    rows = connection.execute(
        "SELECT places.id, name, stamp_ns, pose, x'' FROM json_each(?) JOIN places ON places.id = value "
        "LEFT JOIN drives ON drives.id = drive_id ORDER BY places.id",
        (str(ids.tolist()),),
    ).fetchall()
    return _places_from_rows(rows, (0, size[1]), storage) if rows and len(rows) == len(ids) else None


def _places_from_rows(
    rows: list[tuple[int, str, int, bytes, bytes]], size: tuple[int, int], storage: Storage
) -> Places:
    """Rows of the places table as arrays."""
    ids, names, stamps_ns, blobs, descriptors = zip(*rows, strict=True)
    poses = np.frombuffer(b"".join(blobs), "<f8").reshape(len(rows), 7)
    if not np.all(np.abs(poses) < FURTHEST):
        raise ValueError("a pose is not finite, or too large")
    if not all(isinstance(name, str) for name in set(names)):
        raise ValueError("a place has no drive")
    T_map_camera = np.zeros((len(rows), 4, 4))
    T_map_camera[:, :3, :3] = geometry.matrix_from_quat_xyzw(poses[:, 3:])
    T_map_camera[:, :3, 3] = poses[:, :3]
    T_map_camera[:, 3, 3] = 1.0
    return Places(
        ids=np.array(ids, dtype=np.int64),
        drives=np.array(names, dtype=object),
        stamps_ns=np.array(stamps_ns, dtype=np.int64),
        T_map_camera=T_map_camera,
        descriptors=storage.decoded(_records(descriptors, size, storage), size[1]),
    )


def _records(blobs: Sequence[bytes], size: tuple[int, int], storage: Storage) -> np.ndarray:
    """Records (K, V) of K blobs, see ``Storage.record``. Raises ValueError if they do not have this size."""
    return np.frombuffer(b"".join(blobs), storage.record(size[1])).reshape(len(blobs), size[0])


def descriptors(connection: sqlite3.Connection, ids: np.ndarray, size: tuple[int, int], storage: Storage) -> np.ndarray:
    """Descriptors (K, V, D) of the places with ids (K,). Raises ValueError if one is missing or damaged."""
    return storage.decoded(records(connection, ids, size, storage), size[1])


def records(connection: sqlite3.Connection, ids: np.ndarray, size: tuple[int, int], storage: Storage) -> np.ndarray:
    """Records (K, V) of the places with ids (K,), as stored. Raises ValueError if one is missing or damaged."""
    distinct, rows = np.unique(ids, return_inverse=True)
    query = "SELECT descriptor FROM json_each(?) JOIN places ON places.id = value ORDER BY value"
    blobs = [blob for (blob,) in connection.execute(query, (str(distinct.tolist()),))]
    if len(blobs) != len(distinct):
        raise ValueError(f"{len(distinct) - len(blobs)} places are no longer in it")
    found = _records(blobs, size, storage)
    storage.check(found)
    return found if len(found) == len(ids) and np.all(ids[1:] > ids[:-1]) else found[rows]


def forget_pages(connection: sqlite3.Connection) -> None:
    """Read what comes next from the file.

    SQLite keeps pages while the file's size and number of transactions are the same, as those of another map that was
    copied over it may be.
    """
    connection.execute("PRAGMA shrink_memory")


def keys(connection: sqlite3.Connection, ids: np.ndarray) -> dict[int, tuple[str, int]]:
    """Drive and stamp of the places with ids (K,), by id; those that are gone are left out."""
    rows = connection.execute(
        "SELECT places.id, name, stamp_ns FROM json_each(?) JOIN places ON places.id = value "
        "LEFT JOIN drives ON drives.id = drive_id",
        (str(ids.tolist()),),
    )
    return {place_id: (name, stamp_ns) for place_id, name, stamp_ns in rows}


def check_new(path: Path) -> None:
    """Raises MapError if a map cannot be created at this path."""
    if path.is_dir():
        raise MapError(f"{path} is a folder: give the name of a file, such as {path / 'town.vprmap'}")
    if path.exists():
        raise MapError(f"{path} exists already: add to it with `vpr map add`, or choose another name")
    if not path.parent.is_dir():
        raise MapError(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise MapError(f"cannot write {path}: you may not write to the folder {path.parent}")
