"""A fleet's lake: what robots pushed, and the places of every release, in LanceDB on a folder or an object store.

Three tables. ``keyframes`` gets one batch a push, in one transaction: a push that is killed left nothing or all, and
one that is repeated finds its batch. ``places`` gets the new places of a release as one part. ``releases`` gets a row,
and with it the release is there: the parts that it is made of. Nothing is changed, so that a release stays what it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, MapError, brief
from vpr_ros.base.world import utm_of
from vpr_ros.fleet.constants import LAKE
from vpr_ros.inference.vocabulary import Vocabulary
from vpr_ros.maps import map_file
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places, origin_near
from vpr_ros.maps.storage import Storage

logger = logging.getLogger(__name__)

T = TypeVar("T")
Box = tuple[float, float, float, float]  # west, south, east, north: metres of the world

_PART = re.compile(r"[0-9a-f]{32}")  # what is not goes into no query
_TABLES = ("keyframes", "places", "releases")
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Head:
    """What the keyframes of a map share: only those of one model and one world can be in one release.

    Those that are stored in another way are stored again in the release's.
    """

    model: dict[str, Any]
    world: str
    storage: dict[str, Any]

    @classmethod
    def of(cls, place_map: PlaceMap) -> Head:
        """Of a map. Raises MapError for one whose poses are raw odometry."""
        if place_map.is_odometry:
            raise MapError(f"the poses of {place_map.path} are raw odometry: set those of a map with vpr map set-poses")
        head = cls(place_map.model.to_dict(), place_map.world, place_map.storage.to_dict())
        return cls.from_json(head.to_json())  # as it is read again

    @classmethod
    def from_json(cls, text: str) -> Head:
        """Read the output of ``to_json``. Raises MapError for other text."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise MapError(f"the lake holds what this version cannot read ({brief(error)}): use a newer one") from error

    def to_json(self) -> str:
        """As text, the same for equal heads."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Release:
    """A version of the fleet's map.

    parts: of ``places`` that it is made of. batches: pushed ones that are in it or were set aside. set_aside: batch and
    why it is not in it. recall: Recall@1 on the drives that it was tested on.
    """

    number: int
    parts: tuple[str, ...]
    batches: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    head: Head
    calibration: dict[str, Any]
    vocabulary: bytes
    places: int
    recall: float
    note: str
    time_s: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Places with what a map keeps of each beside the arrays. Poses are of the world."""

    places: Places
    thumbnails: Sequence[bytes | None]
    features: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.places)

    def subset(self, rows: np.ndarray) -> Rows:
        """The rows at these indices, in that order."""
        return Rows(self.places.subset(rows), [self.thumbnails[k] for k in rows], [self.features[k] for k in rows])

    def add_to(self, place_map: PlaceMap, ids: np.ndarray | None = None) -> None:
        """Store them in a map of their world; ids: see ``PlaceMap.add_all``. Raises MapError."""
        places = replace(self.places, T_map_camera=place_map.map_pose(self.places.T_map_camera))
        place_map.add_all(places, self.thumbnails, self.features, ids)


def rows_of(place_map: PlaceMap) -> Rows:
    """All places of a map."""
    stored = place_map.places
    places = replace(stored, T_map_camera=stored.T_map_camera.copy(), descriptors=np.asarray(stored.descriptors))
    places.T_map_camera[:, :3, 3] += place_map.origin
    ids = places.ids.tolist()
    return Rows(places, [place_map.thumbnail(k) for k in ids], [place_map.features(k) for k in ids])


class Lake:
    """A lake, on this machine or on an object store that LanceDB knows."""

    def __init__(self, uri: str) -> None:
        """Raises MissingDependencyError without LanceDB."""
        import lancedb

        self.uri = uri
        self._connect = partial(lancedb.connect, uri, read_consistency_interval=timedelta(0))

    @cached_property
    def _database(self) -> Any:
        """Connected by the first use, as LanceDB makes the folder of a name that is misspelt."""
        try:
            return self._connect()
        except (OSError, ValueError, RuntimeError) as error:
            raise MapError(f"the lake {self.uri} cannot be opened ({brief(error)})") from error

    def check(self) -> None:
        """Raises MapError if its folder is missing; of another address, only its use shows that."""
        if "://" not in self.uri and not Path(self.uri).is_dir():
            raise self._missing()

    def push(self, path: Path, robot: str) -> int:
        """Add the keyframes of a map, in one transaction; their number, 0 if they are there already."""
        with PlaceMap.open(path) as place_map:
            head, rows = Head.of(place_map), rows_of(place_map)
        if not len(rows):
            return 0
        stamps = [rows.places.drives.tolist(), rows.places.stamps_ns.tolist()]
        digest = hashlib.sha256(json.dumps([robot, head.to_json(), stamps]).encode())
        digest.update(np.ascontiguousarray(rows.places.descriptors).tobytes())  # robots call drives alike
        batch = digest.hexdigest()[:32]
        table = self._table("keyframes")

        def add_once() -> int:
            if table.count_rows(f"part = '{batch}'"):
                return 0
            table.add(_table_of(rows, batch, robot, head.to_json()))
            return len(rows)

        return _insist(add_once)

    def batches(self) -> list[str]:
        """The pushed batches, in the order they came."""
        with self._reading():
            found = self._table("keyframes").search().select(["part"]).to_arrow().column("part").to_pylist()
        return [part for part in dict.fromkeys(found) if _PART.fullmatch(part)]

    def batch(self, part: str) -> tuple[Head, Rows]:
        """The keyframes of a pushed batch, each once: two that push it at one moment both add it."""
        with self._reading():
            table = self._table("keyframes").search().where(f"part = '{part}'").to_arrow()
        head = Head.from_json(table.column("head")[0].as_py())
        keys = zip(table.column("drive").to_pylist(), table.column("stamp_ns").to_pylist(), strict=True)
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        return head, _rows_from(table.take(sorted(first.values())), head)

    def pushed_by(self, part: str) -> str:
        """A pushed batch in words: its first digits, robot and drives."""
        columns = ["robot", "drive"]
        with self._reading():
            rows = self._table("keyframes").search().where(f"part = '{part}'").select(columns).to_arrow().to_pylist()
        drives = ", ".join(dict.fromkeys(row["drive"] for row in rows))
        return f"push {part[:12]} of {rows[0]['robot']} ({drives})"

    def releases(self) -> list[Release]:
        """All releases, the first one first."""
        with self._reading():
            rows = self._table("releases").search().to_arrow().to_pylist()
        found = []
        for row in rows:
            data = json.loads(row["data"])
            head = Head(**data.pop("head"))
            pairs = tuple((batch, why) for batch, why in data.pop("set_aside"))
            parts, batches = tuple(data.pop("parts")), tuple(data.pop("batches"))
            if not all(_PART.fullmatch(part) for part in parts):
                raise MapError(f"a release of {self.uri} names parts that this version does not: the lake is damaged")
            found.append(Release(**data, head=head, set_aside=pairs, parts=parts, batches=batches,
                                 vocabulary=row["vocabulary"]))  # fmt: skip
        first: dict[int, Release] = {}  # rows come as they were committed: of two made at once the first counts
        for release in found:
            first.setdefault(release.number, release)
        return [first[number] for number in sorted(first)]

    def release(self, number: int = 0) -> Release:
        """A release by its number; 0: the last. Raises MapError if the lake does not have it."""
        found = {release.number: release for release in self.releases()}
        number = number or max(found, default=0)
        if number not in found:
            what = f"release {number}" if number else "release"
            raise MapError(f"the lake {self.uri} has no {what}: make one with vpr fleet release")
        return found[number]

    def add_part(self, rows: Rows, head: Head) -> str:
        """Add places for a release; they are in none until one names the part that is returned."""
        part = uuid.uuid4().hex
        if len(rows):
            table = self._table("places")
            _insist(lambda: table.add(_table_of(rows, part, "", head.to_json())))
        return part

    def publish(self, release: Release) -> None:
        """Make a release. Raises MapError if another one of its number was made meanwhile."""
        import pyarrow

        data = asdict(release)
        vocabulary = data.pop("vocabulary")
        row = {"number": [release.number], "data": [json.dumps(data)], "vocabulary": [vocabulary]}
        table = self._table("releases")

        def add_once() -> None:
            inserting = table.merge_insert("number").when_not_matched_insert_all()
            inserting.execute(pyarrow.table(row, schema=table.schema))

        _insist(add_once)
        there = [(other.parts, other.time_s) for other in self.releases() if other.number == release.number]
        if there != [(release.parts, release.time_s)]:
            raise MapError(f"release {release.number} was made meanwhile by another process: do it again")

    def rows(self, release: Release, boxes: Sequence[Box] = ()) -> Iterator[Rows]:
        """The places of a release, all or those in boxes that do not overlap, some thousands at a time."""
        import pyarrow

        for where in _conditions(release, boxes):
            with self._reading():
                batches = iter(self._table("places").search().where(where).to_batches(4096))
            while True:
                with self._reading():
                    batch = next(batches, None)
                if batch is None:
                    break
                if batch.num_rows:
                    yield _rows_from(pyarrow.Table.from_batches([batch]), release.head)

    def whereabouts(self, release: Release, boxes: Sequence[Box] = ()) -> Places:
        """The places that ``rows`` gives without descriptors, which are (N, 0, D): a small part of them."""
        import pyarrow

        columns = ["drive", "stamp_ns", *_POSE]
        with self._reading():
            found = [
                self._table("places").search().where(where).select(columns).to_arrow()
                for where in _conditions(release, boxes)
            ]
        return _places_from(pyarrow.concat_tables(found), release.head)

    def pull(self, path: Path, release: Release, box: Box | None = None) -> PlaceMap:
        """Write the places of a release to a map, whole or not at all. Raises MapError if there are none."""
        found = self.rows(release, () if box is None else [box])
        first = next(found, None)
        if first is None:
            raise MapError(f"release {release.number} of {self.uri} has no places there: give a larger box")
        write_map(path, release, chain([first], found), first.places.positions[0])
        return PlaceMap.open(path, writable=True)

    def compact(self) -> None:
        """Join the small files that pushes leave, so that later reads are quick. Others may push meanwhile."""
        for name in ("keyframes", "places"):
            _insist(self._table(name).optimize)

    def frame_of(self, path: Path, release: Release) -> PlaceMap:
        """A new map without places, with a release's model, vocabulary and world, and no origin."""
        write_map(path, release, (), np.zeros(3))
        return PlaceMap.open(path)

    def create(self) -> None:
        """Make the tables of a new lake; those that are there stay. Raises MapError if it cannot be written."""
        for name in _TABLES:
            _insist(partial(self._database.create_table, name, schema=_schema(name), exist_ok=True))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise MapError(
                f"the lake {self.uri} cannot be read, or is damaged ({brief(error)}): restore what is missing"
            ) from error

    def _table(self, name: str) -> Any:
        self.check()
        try:
            return self._database.open_table(name)
        except (OSError, ValueError, RuntimeError) as error:
            with self._reading():
                others = set(self._database.table_names()) & set(_TABLES)
            if others:
                raise MapError(
                    f"the lake {self.uri} is damaged: its table '{name}' cannot be opened ({brief(error)}), and "
                    f"{', '.join(sorted(others - {name}))} can; restore it"
                ) from error
            raise self._missing(f" ({brief(error)})") from error

    def _missing(self, why: str = "") -> MapError:
        return MapError(f"there is no lake at {self.uri}{why}: make one with vpr fleet release LAKE --first MAP")


def write_map(path: Path, release: Release, rows: Iterable[Rows], near: np.ndarray) -> None:
    """Write rows as a new map with a release's head and calibration. near: a position (3,) in the world, metres."""
    with map_file.new_file(path) as part, new_map(part, release, origin_near(near)) as made:
        for some in rows:
            some.add_to(made)


def new_map(path: Path, release: Release, origin: np.ndarray) -> PlaceMap:
    """A new map without places, with a release's head and calibration. origin: (3,) metres."""
    model, storage = MapModel.from_dict(dict(release.head.model)), Storage.from_dict(release.head.storage)
    vocabulary = Vocabulary.from_bytes(release.vocabulary) if release.vocabulary else None
    calibration = Calibration.from_dict(release.calibration)
    return PlaceMap.create(path, model, release.head.world, origin, calibration, vocabulary=vocabulary, storage=storage)


def box_around(world: str, latitude: float, longitude: float, radius_m: float) -> Box:
    """The box in a world around a circle. Raises MapError for a world that is not of UTM coordinates."""
    from vpr_ros.drives.geodesy import utm_from_latlon

    if not utm_of(world):
        raise MapError(f"the fleet's map lies in world '{world}', which has no latitudes: give --bbox, in its metres")
    if not 0 < radius_m < np.inf or not np.isfinite([latitude, longitude]).all():
        raise MapError("the area is not finite: give degrees, and a radius in metres above 0")
    try:
        position, _ = utm_from_latlon(np.array([latitude]), np.array([longitude]), np.zeros(1), world)
    except DriveError as error:
        raise MapError(
            f"latitude {latitude:g}, longitude {longitude:g} lies too far from the fleet's map in world '{world}': "
            "give the latitude first"
        ) from error
    east, north = map(float, position[0, :2])
    return east - radius_m, north - radius_m, east + radius_m, north + radius_m


def _insist(write: Callable[[], T]) -> T:
    """Run a write that may collide with those of others, until it works. Raises MapError if it never does."""
    for attempt in range(LAKE.tries):
        try:
            return write()
        except (OSError, ValueError, RuntimeError) as error:
            last = error
            time.sleep(random.uniform(0, LAKE.wait_s * (attempt + 1)))
    raise MapError(f"the lake cannot be written ({brief(last)}): what was not sent is kept, try again later") from last


def _schema(name: str) -> Any:
    import pyarrow as pa

    if name == "releases":
        return pa.schema([("number", pa.int64()), ("data", pa.string()), ("vocabulary", pa.binary())])
    texts = [(column, pa.string()) for column in ("part", "robot", "head", "drive")]
    numbers = [("stamp_ns", pa.int64()), *((column, pa.float64()) for column in _POSE)]
    return pa.schema([*texts, *numbers, *((column, pa.binary()) for column in ("descriptor", "thumbnail", "features"))])


def _table_of(rows: Rows, part: str, robot: str, head: str) -> Any:
    """Rows as a table of the lake. robot: goes before the drives' names; "": they have it."""
    import pyarrow as pa

    places, count = rows.places, len(rows)
    storage = Storage.from_dict(json.loads(head)["storage"])
    drives = [f"{robot}/{name}" if robot else str(name) for name in places.drives]
    poses = np.concatenate([places.positions, geometry.quat_xyzw_from_matrix(places.T_map_camera[:, :3, :3])], axis=1)
    columns: dict[str, Any] = {
        "part": [part] * count,
        "robot": [robot] * count,
        "head": [head] * count,
        "drive": drives,
        "stamp_ns": places.stamps_ns,
        **{name: poses[:, k] for k, name in enumerate(_POSE)},
        "descriptor": [one.tobytes() for one in storage.encoded(places.descriptors)],
        "thumbnail": list(rows.thumbnails),
        "features": list(rows.features),
    }
    return pa.table(columns, schema=_schema("places"))


def _conditions(release: Release, boxes: Sequence[Box]) -> Iterator[str]:
    """What to ask for to get the places of a release, all or those in boxes that do not overlap."""
    names = ", ".join(f"'{part}'" for part in release.parts)
    of_release = f"part IN ({names})"
    if not boxes:
        yield of_release
    for start in range(0, len(boxes), LAKE.boxes):
        inside = []
        for box in boxes[start : start + LAKE.boxes]:
            west, south, east, north = map(float, box)
            inside.append(f"(x >= {west!r} AND x <= {east!r} AND y >= {south!r} AND y <= {north!r})")
        yield f"({' OR '.join(inside)}) AND {of_release}"


def _rows_from(table: Any, head: Head) -> Rows:
    """Rows of a table. Raises MapError if they are not what the head says."""
    places = _places_from(table, head, table.column("descriptor").to_pylist())
    return Rows(places, table.column("thumbnail").to_pylist(), table.column("features").to_pylist())


def _places_from(table: Any, head: Head, blobs: list[bytes] | None = None) -> Places:
    """Places of a table. blobs: their descriptors; None: they have none. Raises MapError as ``_rows_from``."""
    try:
        model, storage = MapModel.from_dict(dict(head.model)), Storage.from_dict(head.storage)
        poses = np.stack([table.column(name).to_numpy() for name in _POSE], axis=1)
        stored = np.frombuffer(b"".join(blobs or []), storage.record(model.dimension))
        views = 0 if blobs is None else model.views
        descriptors = storage.decoded(stored.reshape(len(poses), views), model.dimension)
        if not np.isfinite(poses).all():
            raise ValueError("a pose is not finite")
        T_world_camera = np.tile(np.eye(4), (len(poses), 1, 1))
        T_world_camera[:, :3, :3], T_world_camera[:, :3, 3] = geometry.matrix_from_quat_xyzw(poses[:, 3:]), poses[:, :3]
        return Places(
            np.arange(1, len(poses) + 1),
            np.array(table.column("drive").to_pylist(), dtype=np.str_),
            table.column("stamp_ns").to_numpy().astype(np.int64),
            T_world_camera,
            descriptors,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise MapError(f"the lake holds damaged keyframes ({brief(error)})") from error
