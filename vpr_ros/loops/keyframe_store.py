"""A map to search and, where it is a session's own, to grow: each keyframe on the disk at once, little of it in RAM."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import MapError
from vpr_ros.loops.anchors import Anchors
from vpr_ros.loops.writing import Writing, two_writers
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.index import Index
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap, session_world
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import Sample, standard_scores
from vpr_ros.matching.local_features import LocalFeatures

_ROW = np.dtype([("id", np.int64), ("drive", np.int32), ("stamp_ns", np.int64), ("T_map_camera", np.float64, (4, 4))])


@dataclass(frozen=True, eq=False)
class Place:
    """One place of a map, without what it looks like.

    id: the map's own. drive: it was recorded in. T_map_camera: (4, 4) float64.
    """

    id: int
    drive: str
    stamp_ns: int
    T_map_camera: np.ndarray


class KeyframeStore:
    """A map whose places go by their row: 0 to N - 1, in the order they were stored. Use as a context manager.

    A place that was added is on the disk, but is found only once it was admitted: the recent ones of a growing map are
    kept out of the index. Only the index and a few numbers of each place lie in RAM. One caller at a time.
    """

    def __init__(self, place_map: PlaceMap, index: Index) -> None:
        """See ``open`` and ``grow``."""
        self.place_map = place_map
        self._index = index
        self._rows = np.zeros(1024, _ROW)
        self._count = 0
        self._drives: dict[str, int] = {}
        self._one_world = not place_map.is_odometry
        self._anchors = Anchors()
        self._sample = Sample(place_map.model.dimension)
        self._writing: Writing | None = None

    @classmethod
    def open(cls, path: Path, factory: str = "Flat") -> KeyframeStore:
        """An existing map, to search only, as it is now: another process may be growing it.

        factory: FAISS index factory string. Raises MapError where the map cannot be read, ConfigError for a bad
        factory.
        """
        place_map = PlaceMap.open(Path(path))
        try:
            memory = cls(place_map, Index.of_map(place_map, factory))
            for piece in place_map.pieces():
                memory._remember(piece)
                memory._sample.take(piece.descriptors[:, 0])
            memory._close_loops()
        except BaseException:
            place_map.close()
            raise
        return memory

    @classmethod
    def grow(
        cls,
        path: Path,
        model: MapModel,
        factory: str = "Flat",
        calibration: Calibration | None = None,
    ) -> KeyframeStore:
        """A map to add to: a new one, or one that is there, with all its places admitted.

        Its poses are raw odometry. calibration: of a new map. Raises MapError if another process adds to the map, if it
        is another model's or has poses of a world, if it cannot be read or written; ConfigError for a bad factory and
        for one that needs training.
        """
        path = Path(path)
        index = Index.growing(model.dimension, model.views, factory)
        writing = Writing(path)
        try:
            if path.exists():
                place_map = PlaceMap.open(path, writable=True)
            else:
                place_map = PlaceMap.create(
                    path, model, session_world(path.stem), calibration=calibration, is_odometry=True
                )
        except BaseException:
            writing.end()
            raise
        try:
            place_map.check_model(model.name, model.fingerprint)
            if not place_map.is_odometry or place_map.model.views != model.views:
                raise MapError(
                    f"{path} is a map of '{place_map.world}' with {place_map.model.views} view(s) of each image, not "
                    f"of a session's odometry with {model.views}: choose another file for this session"
                )
            place_map.begin_growing()
            memory = cls(place_map, index)
            memory._writing = writing
            for piece in place_map.pieces():
                memory._remember(piece)
                memory._admit(piece)
            memory._close_loops()
        except BaseException:
            place_map.close()
            writing.end()
            raise
        return memory

    def close(self) -> None:
        """Close the file."""
        self.place_map.close()
        if self._writing is not None:
            self._writing.end()

    def __enter__(self) -> KeyframeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    @property
    def drives(self) -> list[str]:
        """Names of the drives, in the order they began."""
        return list(self._drives)

    @property
    def admitted(self) -> int:
        """Rows below this number can be found."""
        return len(self._index)

    def row_of(self, place_id: int) -> int:
        """The row of a place."""
        return bisect_left(self._rows["id"], place_id, hi=self._count)  # np.searchsorted would copy the column

    def add(
        self,
        drive: str,
        stamp_ns: int,
        T_map_camera: np.ndarray,
        descriptor: np.ndarray,
        features: LocalFeatures | None = None,
        thumbnail: bytes | None = None,
    ) -> int:
        """Store one place, whole and on the disk when this returns, and return its row.

        T_map_camera: (4, 4). descriptor: (V, D) float32, or (D,) for a map of single views. thumbnail: JPEG. Raises
        MapError as ``PlaceMap.add``, and where another process adds to this map too.
        """
        data = None if features is None else features.to_bytes()
        with self.place_map.together():
            place_id = self.place_map.add(drive, stamp_ns, T_map_camera, descriptor, thumbnail, data)
            if self._count and place_id != self._rows["id"][self._count - 1] + 1:
                raise two_writers(self.place_map.path)
        views = np.reshape(descriptor, (1, self.place_map.model.views, -1))
        self._remember(Places(np.array([place_id]), np.array([drive]), np.array([stamp_ns]), T_map_camera[None], views))
        self._anchor(self._count)
        return self._count - 1

    def link(self, links: Sequence[Link]) -> None:
        """Loops were closed within this map: kept, and on the disk when this returns.

        Raises MapError where they cannot be written.
        """
        self.place_map.add_links(links)
        for link in links:
            self._link(link)

    def admit(self, rows_before: int) -> None:
        """Rows below this number can be found from now on."""
        first, end = len(self._index), min(rows_before, self._count)
        if first < end:
            ids = self._rows["id"]
            for piece in self.place_map.pieces(after=int(ids[first]) - 1, last=int(ids[end - 1])):
                self._admit(piece)

    def search(self, descriptor: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(D,) float32 -> cosines (K,) float32, most similar first, and their rows (K,) int64; K <= count."""
        if len(self._index) == 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        return self._index.search(descriptor, count)

    def scores(self, descriptor: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Standard scores (K,) of similarities (K,) to an image with this descriptor (D,): see ``ObservationModel``.

        They are judged against a sample of the places that can be found; zero while there are none.
        """
        background = self._sample.descriptors
        if len(background) == 0:
            return np.zeros(len(similarities))
        return standard_scores(similarities, background @ descriptor)

    def place(self, row: int) -> Place:
        """The place at a row."""
        place_id, drive, stamp_ns, T_map_camera = self._rows[: self._count][row]
        return Place(int(place_id), self.drives[drive], int(stamp_ns), np.array(T_map_camera))

    def descriptor(self, row: int) -> np.ndarray:
        """What the place at a row looks like, whole, read from the file: (D,) float32."""
        return self._descriptors(row)[0]

    def similarity(self, descriptor: np.ndarray, row: int) -> float:
        """Cosine of an image's descriptor (D,) and the place at a row, by the best of its views."""
        return float((self._descriptors(row) @ descriptor).max())

    def _descriptors(self, row: int) -> np.ndarray:
        """(V, D) float32."""
        place_id = int(self._rows["id"][row])
        (piece,) = self.place_map.pieces(after=place_id - 1, last=place_id)
        return piece.descriptors[0]

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """(K,) rows -> (K, 3) metres in the map."""
        return self._rows["T_map_camera"][: self._count][rows, :3, 3]

    def anchored(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(K,) rows -> their anchors (K,) and positions (K, 3) in them, metres, by the loops closed since.

        Only positions of one anchor can be compared: see ``Anchors``. In a map whose drives share one world there is
        but one, and positions are the map's.
        """
        return self._anchors.positions(rows, self.positions(rows))

    def around(self, row: int, reach: int) -> np.ndarray:
        """Rows (K,) that can be found among so many on either side of one, of its own drive."""
        rows = np.arange(max(0, row - reach), min(self.admitted, row + reach + 1))
        return rows[self._rows["drive"][rows] == self._rows["drive"][row]]

    def features(self, row: int) -> LocalFeatures | None:
        """Local features of the place at a row, read from the file; None where it has none."""
        data = self.place_map.features(self._rows["id"][: self._count][row])
        return None if data is None else LocalFeatures.from_bytes(data)

    def _remember(self, places: Places) -> None:
        """The numbers of further places."""
        end = self._count + len(places)
        while end > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        new = self._rows[self._count : end]
        new["id"], new["stamp_ns"], new["T_map_camera"] = places.ids, places.stamps_ns, places.T_map_camera
        new["drive"] = [self._drives.setdefault(str(drive), len(self._drives)) for drive in places.drives]
        self._count = end

    def _anchor(self, end: int) -> None:
        """Rows below this number have an anchor."""
        drives = self._rows["drive"][len(self._anchors) : end]
        self._anchors.extend(np.zeros_like(drives) if self._one_world else drives)

    def _close_loops(self) -> None:
        """Those that the file holds, in the order they were believed, as if the map grew again."""
        for link in self.place_map.links():
            self._link(link)
        self._anchor(self._count)

    def _link(self, link: Link) -> None:
        """Anchor the places about a closed loop, where both are there and odometry's drift lies between them."""
        ids, T = self._rows["id"][: self._count], self._rows["T_map_camera"]
        query, match = self.row_of(link.query_id), self.row_of(link.match_id)
        there = max(query, match) < self._count and (ids[query], ids[match]) == (link.query_id, link.match_id)
        if there and not self._one_world:
            self._anchor(max(len(self._anchors), query + 1, match + 1))
            self._anchors.link(query, match, T[query], T[match], link.T_match_query)

    def _admit(self, places: Places) -> None:
        """The looks of further places."""
        self._index.add(places.descriptors)
        self._sample.take(places.descriptors[:, 0])
