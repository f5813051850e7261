"""The stored map: one SQLite file, one transaction per place, bound to the model that described it."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from vpr_ros.base.errors import DriveError, MapError, brief
from vpr_ros.base.image import VIEWS, Preprocessing
from vpr_ros.base.times import Span
from vpr_ros.base.world import canonical_world, utm_of, world_advice
from vpr_ros.inference.describer import LARGEST_DIMENSION, Describer, Manifest
from vpr_ros.inference.vocabulary import Vocabulary, with_vocabulary
from vpr_ros.maps import map_file, whereabouts
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import STATISTICS
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.places import Places, spread
from vpr_ros.maps.storage import Storage
from vpr_ros.maps.stored_descriptors import StoredDescriptors
from vpr_ros.maps.writing import two_writers

logger = logging.getLogger(__name__)

_SESSION_WORLD = "odometry of "  # begins the world of a session's map; earlier versions have no other mark of it
# Raised when a file holds other data than this version writes.
_CORRUPT = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class MapModel:
    """The model that described a map. A map is refused if its fingerprint is not that of the model in use.

    dimension: of a descriptor. views: of each image (``image.views``). vocabulary: fingerprint of the map's own
    vocabulary; empty if it has none, for a model without one or with the model's.
    """

    name: str
    fingerprint: str
    dimension: int
    preprocessing: Preprocessing
    views: int = 1
    vocabulary: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data. No vocabulary is left out, as earlier versions know none."""
        data = asdict(self)
        if not self.vocabulary:
            del data["vocabulary"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MapModel:
        """Read the output of ``to_dict``. Raises ValueError, TypeError or KeyError for other data."""
        model = cls(**{**data, "preprocessing": Preprocessing.from_dict(data["preprocessing"])})
        texts = (model.name, model.fingerprint, model.vocabulary)
        if not all(isinstance(text, str) for text in texts) or model.views not in VIEWS:
            raise ValueError(f"a model {model.name!r} with {model.views!r} views")
        if not (isinstance(model.dimension, int) and 0 < model.dimension <= LARGEST_DIMENSION):
            raise ValueError(f"descriptors of dimension {model.dimension!r}")
        return model


@dataclass(frozen=True)
class Refreshed:
    """What the last ``vpr map refresh`` did to a map.

    looks: of each place that may be kept. places: before it. alike: dropped because a kept one looks alike. beyond:
    dropped because there were enough looks.
    """

    looks: int
    places: int
    alike: int
    beyond: int

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> Refreshed | None:
        """Read the output of ``asdict``; None stays None. Raises ValueError or TypeError for other data."""
        if data is None:
            return None
        if not all(isinstance(value, int) for value in data.values()):
            raise ValueError("what was dropped from it is not a count")
        return cls(**data)


def session_world(name: str) -> str:
    """Name of the world of a session's map while its poses are raw odometry."""
    return f"{_SESSION_WORLD}{name}"


def _is_odometry(meta: dict[str, str]) -> bool:
    """Whether a map's poses are raw odometry.

    The meta table names the world in which they are. Another world there means that an earlier version has set other
    poses since; no such key, that an earlier version made the map: then the world's name tells.
    """
    if "odometry_world" not in meta:
        return meta["world"].startswith(_SESSION_WORLD)
    return meta["odometry_world"] == meta["world"] != ""


def _calibration_in(text: str) -> Calibration | MapError:
    """What the meta table holds; the error if it is damaged: the map's places are whole all the same."""
    try:
        return Calibration.from_json(text)
    except MapError as error:
        return error


class PlaceMap:
    """An open map file. Use as a context manager.

    Poses are of the camera in ``frame_id``: the coordinates of ``world`` less ``origin`` (3,) metres. It is zero unless
    coordinates are large (UTM). ``is_odometry``: the poses are raw odometry, which drifts and has another origin for
    each drive, until ``set_poses`` replaces them.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._places: Places | None = None
        self._read_at: tuple[int, int] | None = None  # the file's state before its places were read
        self._grown: os.stat_result | None = None  # the file of a map that grows
        self.read_again()

    def read_again(self) -> None:
        """Read what the file says of itself, as another process may have changed it since. Raises MapError.

        Places are read again on their next use.
        """
        self._places = None
        with self._reading():
            meta = map_file.meta(self._connection, self.path)
            self.model = MapModel.from_dict(json.loads(meta["model"]))
            self.world: str = canonical_world(meta["world"])
            self.is_odometry = _is_odometry(meta)
            self.frame_id: str = meta["frame_id"]
            self.origin = np.array(json.loads(meta["origin"]), dtype=float)
            if self.origin.shape != (3,) or not np.isfinite(self.origin).all():
                raise ValueError("its origin is not a finite position")
            self._calibration = _calibration_in(meta["calibration"])
            self.storage = Storage.from_meta(meta)
            self.refreshed = Refreshed.from_dict(json.loads(meta.get("refreshed", "null")))
            self.shard: str = meta.get("shard", "")

    @classmethod
    def create(
        cls,
        path: Path,
        model: MapModel,
        world: str,
        origin: np.ndarray | None = None,
        calibration: Calibration | None = None,
        frame_id: str = "map",
        is_odometry: bool = False,
        vocabulary: Vocabulary | None = None,
        storage: Storage | None = None,
        shard: str = "",
    ) -> PlaceMap:
        """A new, empty map. Raises MapError if the file exists or cannot be written.

        is_odometry: whether the poses will be raw odometry; the world is then ``session_world``. vocabulary: its own,
        which is stored; None if it has none, or for keyframes on their way to a map that has the model's, which is not
        sent with them. storage: what is kept of each place. shard: which part of a map it will be, such as 2/8; empty:
        a whole one.
        """
        storage = storage or Storage()
        if vocabulary is not None:
            model = replace(model, vocabulary=vocabulary.fingerprint)
        if vocabulary is not None or not model.vocabulary:
            storage = storage.with_vocabulary(vocabulary)
        meta = {
            **storage.to_meta(),
            "model": json.dumps(model.to_dict()),
            "world": world,
            "origin": json.dumps([0.0, 0.0, 0.0] if origin is None else [float(value) for value in origin]),
            "odometry_world": world if is_odometry else "",
            "frame_id": frame_id,
            "calibration": json.dumps((calibration or Calibration()).to_dict()),
            "revision": "0",
            **({"shard": shard} if shard else {}),
        }
        map_file.create(Path(path), meta, vocabulary.to_bytes() if vocabulary else None)
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> PlaceMap:
        """Open a map. Raises MapError if it is missing, not a map, corrupt or of another format version."""
        path = Path(path)
        connection = None
        try:
            connection = map_file.connect(path, writable)
            if map_file.lacks_log(path):
                logger.warning(
                    "%s grew with a file %s-wal, which is not here: if it was copied meanwhile, its last places are "
                    "missing, so copy both, or a copy of ~/save_map",
                    path, path.name,
                )  # fmt: skip
            return cls(path, connection)
        except (MapError, OSError, sqlite3.Error, *_CORRUPT) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, MapError):
                raise
            raise MapError(
                f"{path} is not a map, or is corrupt ({brief(error)}): build it again with `vpr map build`"
            ) from error

    def begin_growing(self) -> None:
        """Prepare for many small transactions until the map is closed; see ``map_file.begin_growing``."""
        with self._reading():
            map_file.begin_growing(self._connection)
        self._grown = os.stat(self.path)

    def check_in_place(self) -> None:
        """Raises MapError if the file of a map that grows was deleted, moved or replaced: places would be lost."""
        try:
            if self._grown is None or os.path.samestat(os.stat(self.path), self._grown):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:  # such as of a network drive, for a moment
            raise MapError(f"the map {self.path} cannot be reached: {error.strerror}") from error
        raise MapError(f"{self.path} was deleted, moved or replaced while it grows: start the session again")

    def begin_scratch(self) -> None:
        """Wait for the disk no more until the map is closed. Only for a map that a power failure may destroy."""
        with self._reading():
            map_file.begin_scratch(self._connection)

    def save(self, path: Path) -> None:
        """Write a consistent copy. The map may be growing, and any thread may call this.

        Raises MapError if the file exists or cannot be written, or this map's own is no longer there.
        """
        self.check_in_place()
        map_file.copy(self.path, Path(path))

    def close(self) -> None:
        """Close the file."""
        if self._grown:
            map_file.end_growing(self._connection)
        self._connection.close()
        if self._grown and (log := map_file.log_of(self.path)) is not None:
            logger.warning(
                "the last places of %s are still in %s, as the disk is full or another process reads it: "
                "copy and move both files together",
                self.path, log.name,
            )  # fmt: skip

    def __enter__(self) -> PlaceMap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._reading():
            return int(self._connection.execute("SELECT count(*) FROM places").fetchone()[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "closed" not in str(error):
                raise
            raise MapError(f"{self.path} is closed: open it again") from error
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such"):
                raise MapError(
                    f"{self.path} is empty, or not a map ({error}): delete it or give another file"
                ) from error
            raise MapError(f"{self.path} cannot be read now ({error}): is another process writing it?") from error
        except (sqlite3.Error, *_CORRUPT) as error:
            raise MapError(
                f"{self.path} is not a map, or is corrupt ({brief(error)}): build it again with `vpr map build`"
            ) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block whose writes are one transaction, all or nothing. It makes cached indexes stale."""
        if self._connection.in_transaction:  # nested
            yield
            return
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
        except sqlite3.Error as error:
            moved = getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_DBMOVED"  # Python has it from 3.11 on
            why = "it was deleted, moved or replaced meanwhile; start again" if moved else error
            raise MapError(f"cannot write the map {self.path}: {why}") from error
        self._places = None

    def check_model(self, name: str, fingerprint: str) -> None:
        """Raises MapError if this map was described by another model."""
        if fingerprint != self.model.fingerprint:
            raise MapError(
                f"{self.path} was built with model {self.model.name} ({self.model.fingerprint[:12]}), not with {name} "
                f"({fingerprint[:12]}): use that model, or build the map again with this one"
            )

    def check_vocabulary(self, other: MapModel) -> None:
        """Raises MapError if descriptors of this map cannot be compared with those of another map."""
        if other.vocabulary != self.model.vocabulary:
            raise MapError(
                f"{self.path} has another vocabulary than the other map, so that their descriptors cannot be compared: "
                "build one of them again with --vocabulary OTHER.vprmap"
            )

    def prepare(self, describer: Describer) -> None:
        """Let a describer use this map's vocabulary. Raises MapError if the map was described by another model."""
        self.check_model(describer.manifest.name, describer.manifest.fingerprint)
        if (learning := with_vocabulary(describer)) is not None:
            learning.vocabulary = self.vocabulary or learning.own_vocabulary

    @property
    def calibration(self) -> Calibration:
        """The map's. Raises MapError if it is damaged; ``set_calibration`` replaces it."""
        if isinstance(self._calibration, MapError):
            raise MapError(f"{self.path}: {self._calibration}")
        return self._calibration

    def default_calibration(self, manifest: Manifest) -> Calibration:
        """That of the map's model, whose manifest it is, for this map's vocabulary."""
        return Calibration.of_model(manifest.calibration, bool(manifest.vocabulary) and not self.model.vocabulary)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary learnt from the map's images; None if it has none. Raises MapError if it is damaged."""
        if not self.model.vocabulary:
            return None
        with self._reading():
            found = Vocabulary.from_bytes(map_file.vocabulary(self._connection))
            if found.fingerprint != self.model.vocabulary:
                raise ValueError("its vocabulary is not the one that its descriptors were made with")
            return found

    def check_intact(self) -> None:
        """Raises MapError if the file is damaged. Called before writing."""
        with self._reading():
            verdict = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ValueError(str(verdict).splitlines()[0])
        if sum(map(len, self.pieces())) != len(self):  # checks each place
            raise MapError(f"{self.path} is corrupt (a place has no valid id): build it again with `vpr map build`")

    def check_world(self, drive: str, world: str) -> None:
        """Raises DriveError if a drive's poses are in another world than this map's."""
        if not world or canonical_world(world) == self.world:  # a drive without poses has no world
            return
        raise DriveError(
            f"drive {drive} lies in world '{world}', the map {self.path} in '{self.world}': "
            f"only drives of one world can share a map; {world_advice(world, self.world)}"
        )

    def map_pose(self, T_world_camera: np.ndarray) -> np.ndarray:
        """Poses (..., 4, 4) in the drives' world, transformed to this map's frame."""
        T_map_camera = np.array(T_world_camera, dtype=float)
        T_map_camera[..., :3, 3] -= self.origin
        return T_map_camera

    def drive_names(self) -> list[str]:
        """Names of the drives that have places."""
        with self._reading():
            query = "SELECT name FROM drives WHERE id IN (SELECT drive_id FROM places) ORDER BY id"
            return [name for (name,) in self._connection.execute(query)]

    def descriptors_of(self, ids: np.ndarray) -> np.ndarray:
        """Descriptors (K, V, D) float32 of the places with ids (K,), in that order."""
        return np.asarray(self._read_descriptors(ids), np.float32)

    def _read_descriptors(self, ids: np.ndarray) -> np.ndarray:
        with self._reading():
            self._check_same(ids)
            return map_file.descriptors(self._connection, ids, self._size, self.storage)

    def _check_same(self, ids: np.ndarray) -> None:
        """Raises MapError if other places have these ids (K,) by now, because a file was copied over this one.

        What is read now would be taken for that of the places that were read before. Places that are gone pass.
        """
        if (known := self._places) is None or self._state() == self._read_at:
            return
        map_file.forget_pages(self._connection)
        found = map_file.keys(self._connection, ids)
        rows = np.searchsorted(known.ids, list(found)).clip(max=len(known) - 1)
        for row, (place_id, key) in zip(rows, found.items(), strict=True):
            if known.ids[row] == place_id and key != (known.drives[row], known.stamps_ns[row]):
                raise MapError(
                    f"another map was copied over {self.path} while it was in use: start again, or load it again with "
                    "~/load_map (a map that is moved there with mv does no harm)"
                )

    def _state(self) -> tuple[int, int] | None:
        """What changes if the file is written to; None if it is gone."""
        with suppress(OSError):
            found = os.stat(self.path)
            return found.st_mtime_ns, found.st_size
        return None

    def descriptors(self, place_id: int) -> np.ndarray:
        """Descriptors (V, D) float32 of one place."""
        (place,) = (piece for piece in self.pieces(place_id - 1, place_id))
        return np.asarray(place.descriptors[0], np.float32)

    def stamps_of(self, drive: str) -> dict[int, int]:
        """Stamps of a drive's places, nanoseconds -> the places' ids."""
        with self._reading():
            query = "SELECT stamp_ns, places.id FROM places JOIN drives ON drives.id = drive_id WHERE name = ?"
            return dict(self._connection.execute(query, (drive,)))

    def place_at(self, drive: str, stamp_ns: int) -> int | None:
        """The id of a drive's place at a stamp, nanoseconds; None if it has none."""
        with self._reading():
            query = "SELECT places.id FROM places JOIN drives ON drives.id = drive_id WHERE name = ? AND stamp_ns = ?"
            found = self._connection.execute(query, (drive, stamp_ns)).fetchone()
            return None if found is None else int(found[0])

    def position_of(self, place_id: int) -> np.ndarray:
        """Position (3,) of a place in the map, metres."""
        with self._reading():
            (pose,) = self._connection.execute("SELECT pose FROM places WHERE id = ?", (place_id,)).fetchone()
            return np.frombuffer(pose, "<f8")[:3]

    def spans(self) -> dict[str, Span]:
        """Name of each drive that has places -> from its first stamp to its last, without reading the places."""
        with self._reading():
            ends = (f"(SELECT {end}(stamp_ns) FROM places WHERE drive_id = drives.id)" for end in ("min", "max"))
            found = self._connection.execute(f"SELECT name, {', '.join(ends)} FROM drives ORDER BY id")
            return {name: Span(first, last) for name, first, last in found if first is not None}

    def add(
        self,
        drive: str,
        stamp_ns: int,
        T_map_camera: np.ndarray,
        descriptor: np.ndarray,
        thumbnail: bytes | None = None,
        features: bytes | None = None,
    ) -> int:
        """Store one place, in one transaction, and return its id.

        T_map_camera: (4, 4). descriptor: (V, D) float32, or (D,) for a map of single views. thumbnail: JPEG. features:
        ``LocalFeatures.to_bytes``. Raises MapError if the pose or descriptor is not finite, if the descriptor does not
        have this model's size, if the place exists already, and if the file cannot be written.
        """
        size = self.model.views, self.model.dimension
        if np.atleast_2d(descriptor).shape != size or not np.all(np.isfinite(descriptor)):
            raise MapError(
                f"descriptors of {self.model.name} have shape {size} here and finite values, not {descriptor.shape}"
            )
        if not np.all(np.isfinite(T_map_camera)):
            raise MapError(f"the pose of drive {drive} at {stamp_ns} ns is not finite")
        with self.together():
            stored = self.storage.encoded(np.atleast_2d(descriptor)).tobytes()
            picture = thumbnail if self.storage.thumbnails else None
            return map_file.insert(self._connection, drive, stamp_ns, T_map_camera, stored, picture, features)

    def add_all(
        self,
        places: Places,
        thumbnails: Sequence[bytes | None],
        features: Sequence[bytes | None],
        ids: np.ndarray | None = None,
    ) -> None:
        """Store places, in one transaction; see ``add``. Their poses are of this map.

        ids: (N,) that they get, of none that is there; None: those after the last one.
        """
        size = len(places), *self._size
        if places.descriptors.shape != size or not np.all(np.isfinite(places.descriptors)):
            raise MapError(
                f"descriptors of {self.model.name} have shape {size} here and finite values, not "
                f"{places.descriptors.shape}"
            )
        if not np.all(np.isfinite(places.T_map_camera)):
            raise MapError(f"a pose for {self.path} is not finite")
        descriptors = [one.tobytes() for one in self.storage.encoded(places.descriptors)]
        pictures = thumbnails if self.storage.thumbnails else [None] * len(places)
        with self.together():
            map_file.insert_all(self._connection, places, descriptors, pictures, features, ids)

    def add_tile(self, path: Path) -> None:
        """Store all places of a tile of this map, with their ids, in one transaction. Raises MapError."""
        with self._reading():
            map_file.copy_places(self._connection, path)
        self._places = None

    def set_poses(self, ids: np.ndarray, T_world_camera: np.ndarray, world: str, origin: np.ndarray) -> None:
        """Move places into another world, in one transaction; places that are not among ids are deleted.

        ids: (K,). T_world_camera: (K, 4, 4). origin: (3,) metres, of the map in that world. Raises MapError if a pose
        is not finite, if another process adds to the map, and if the file cannot be written.
        """
        if not np.all(np.isfinite(T_world_camera)):
            raise MapError(f"a new pose for {self.path} is not finite")
        if map_file.is_grown(self._connection):
            raise two_writers(self.path)
        with self.together():
            of_origin = json.dumps([float(value) for value in origin])
            map_file.set_meta(self._connection, world=world, odometry_world="", origin=of_origin)
            self.world, self.origin = canonical_world(world), np.array(origin, dtype=float)
            self.is_odometry = False
            map_file.set_poses(self._connection, ids, self.map_pose(T_world_camera))

    def keep(self, ids: np.ndarray, refreshed: Refreshed) -> int:
        """Delete the places that are not among ids (K,), in one transaction, and make the file smaller.

        refreshed: stored with the map. Returns the number of loop closures that went with their places. Raises
        MapError if the file cannot be written.
        """
        with self.together():
            closures = map_file.keep(self._connection, ids)
            map_file.set_meta(self._connection, refreshed=json.dumps(asdict(refreshed)))
        self.refreshed = refreshed
        try:
            self._connection.execute("VACUUM")  # what was deleted must not be readable
        except sqlite3.Error as error:
            raise MapError(f"cannot write the map {self.path}: {error}") from error
        return closures

    def set_calibration(self, calibration: Calibration) -> None:
        """Store a calibration with the map. Raises MapError if another map was copied over it since it was fitted."""
        self.check_intact()
        with self._reading():
            self._check_same(self.places.ids)
        with self.together():
            map_file.set_meta(self._connection, calibration=json.dumps(calibration.to_dict()))
        self._calibration = calibration

    @property
    def revision(self) -> int:
        """Number of transactions so far: a cache of another revision is stale."""
        with self._reading():
            return int(self._connection.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()[0])

    @property
    def sample_checksum(self) -> int:
        """Of some places' descriptors: another map of as many places and transactions has another one."""
        with self._reading():
            return map_file.sample_checksum(self._connection, STATISTICS.checked)

    @property
    def places(self) -> Places:
        """All places; read on first use. The descriptors of a large map stay in the file (``StoredDescriptors``)."""
        if self._places is None:
            self._read_at = self._state()
            with self._reading():
                views, dimension = self._size
                each = views * dimension * self.storage.dtype.itemsize
                if len(self) * each <= STATISTICS.in_memory:
                    read = map_file.all_places(self._connection, self._size, self.storage)
                else:
                    read = self._large_whereabouts()
                    read = replace(read, descriptors=self._stored_descriptors(read))
                self._places = replace(read, heights_agree=not self._has_jumping_heights)
        return self._places

    def _large_whereabouts(self) -> Places:
        """All places without descriptors, from a cache if it agrees with some of them."""
        path, count = whereabouts.cache_path(self.path), len(self)
        key = {"revision": self.revision, "model": self.model.fingerprint, "places": count}
        found = whereabouts.read(path, key, count)
        if found is not None:
            rows = spread(count, STATISTICS.checked)
            true = map_file.places_at(self._connection, found.ids[rows], self._size, self.storage)
            if true is not None and all(
                np.array_equal(getattr(true, name), getattr(found, name)[rows])
                for name in ("drives", "stamps_ns", "T_map_camera")
            ):
                return found
        read = self.whereabouts
        whereabouts.write(path, key, read)
        return read

    def _stored_descriptors(self, places: Places) -> np.ndarray:
        """Descriptors of places. They have a connection of their own and outlive this object."""
        other = PlaceMap.open(self.path)
        other._places, other._read_at = places, self._read_at

        def read(wanted: np.ndarray) -> np.ndarray:
            return other._read_descriptors(wanted)

        weakref.finalize(read, other._connection.close)
        return cast(np.ndarray, StoredDescriptors(read, places.ids, self._size))

    @property
    def _has_jumping_heights(self) -> bool:
        return utm_of(self.world) is not None  # see Places.heights_agree

    @property
    def problem(self) -> str:
        """One sentence if part of the map is not here, or it is an old one; else empty."""
        return ""

    @property
    def gap(self) -> str:
        """One sentence if places are not here of where the robot may be; else empty."""
        return ""

    @property
    def left_out(self) -> str:
        """One sentence if images were not compared with places that are not here, and how many; else empty."""
        return ""

    @property
    def tiling(self) -> dict[str, str]:
        """Names and values for people, of a map in tiles; else empty."""
        return {}

    def status(self) -> dict[str, str]:
        """Names and values for diagnostics, of what can change while the map is in use."""
        return {}

    @property
    def _size(self) -> tuple[int, int]:
        return self.model.views, self.model.dimension

    def bytes_by_kind(self) -> dict[str, int]:
        """Bytes of descriptors, thumbnails, and what else the file holds of its places."""
        with self._reading():
            return map_file.bytes_by_kind(self._connection)

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk."""
        return self.path.stat().st_size

    @property
    def whereabouts(self) -> Places:
        """All places without descriptors, which are (N, 0, D): a small part of a large map."""
        with self._reading():
            return map_file.all_places(self._connection, self._size, self.storage, descriptors=False)

    def pieces(self, after: int = 0, last: int | None = None) -> Iterator[Places]:
        """The places with ids above ``after`` and up to ``last``, by id, about a thousand at a time.

        Raises MapError if a place is damaged.
        """
        with self._reading():
            yield from map_file.pieces(self._connection, self._size, self.storage, after, last)

    def add_links(self, links: Sequence[Link]) -> None:
        """Store loop closures within this map, in one transaction. Raises MapError if it cannot be written."""
        with self.together():
            map_file.insert_links(self._connection, links)

    def links(self) -> list[Link]:
        """The loop closures within this map, in the order they were accepted."""
        with self._reading():
            return map_file.links(self._connection)

    def thumbnail(self, place_id: int) -> bytes | None:
        """Thumbnail of a place, JPEG; None if it has none."""
        with self._reading():
            self._check_same(np.array([place_id]))
            row = self._connection.execute("SELECT thumbnail FROM places WHERE id = ?", (int(place_id),)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    def features(self, place_id: int) -> bytes | None:
        """Local features of a place (for ``LocalFeatures.from_bytes``); None if it has none."""
        with self._reading():
            self._check_same(np.array([place_id]))
            return map_file.features(self._connection, int(place_id))

    def feature_kind(self) -> str:
        """Kind of the first place's local features (``LocalFeatures.kind``); "" if no place has any."""
        from vpr_ros.matching.local_features import LocalFeatures

        with self._reading():
            first = map_file.first_features(self._connection)
        return "" if first is None else LocalFeatures.from_bytes(first).kind

    def feature_count(self) -> int:
        """Number of places with local features."""
        with self._reading():
            return map_file.feature_count(self._connection)
