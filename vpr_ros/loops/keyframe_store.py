"""The keyframe store: a map that is searched and, for a session, grows keyframe by keyframe on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import MapError
from vpr_ros.inference.vocabulary import Vocabulary
from vpr_ros.loops.anchors import Anchors
from vpr_ros.loops.constants import BASELINES
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.index import Index
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap, session_world
from vpr_ros.maps.places import Places
from vpr_ros.maps.scores import Sample, standard_scores
from vpr_ros.maps.writing import Writing, two_writers
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.triangulation import baselines, triangulated

_ROW = np.dtype([("id", np.int64), ("drive", np.int32), ("stamp_ns", np.int64), ("T_map_camera", np.float64, (4, 4))])


@dataclass(frozen=True, eq=False)
class Place:
    """One place of a map, without its descriptor.

    id: in the map. drive: the place was recorded in. T_map_camera: (4, 4) float64.
    """

    id: int
    drive: str
    stamp_ns: int
    T_map_camera: np.ndarray


class KeyframeStore:
    """A map whose places are addressed by row: 0 to N - 1, in the order they were stored. Use as a context manager.

    An added place is on disk at once, but is found only once it is admitted: recent keyframes of a growing map stay out
    of the index. Only the index and about 160 bytes of each place are in memory. One caller at a time.
    """

    def __init__(self, place_map: PlaceMap, index: Index, writing: Writing | None = None) -> None:
        """Use ``open`` or ``grow``. place_map, writing: closed by ``close``."""
        self.place_map = place_map
        self._index = index
        self._rows = np.zeros(1024, _ROW)
        self._count = 0
        self._drives: dict[str, int] = {}
        self._one_world = not place_map.is_odometry
        self._anchors = Anchors()
        self._sample = Sample(place_map.model.dimension)
        self._writing = writing
        self._features = lru_cache(BASELINES.cached)(self.features)
        self._measured = lru_cache(BASELINES.cached)(self._measure)

    @classmethod
    def open(cls, path: Path, factory: str = "Flat") -> KeyframeStore:
        """An existing map, for search only, as it is now: another process may be adding to it.

        factory: FAISS index factory string. Raises MapError if the map cannot be read, ConfigError for a bad factory.
        """
        place_map = PlaceMap.open(Path(path))
        try:
            store = cls(place_map, Index.of_map(place_map, factory))
            for piece in place_map.pieces():
                store._append(piece)
                store._sample.take(piece.descriptors[:, 0])
            store._close_loops()
        except BaseException:
            place_map.close()
            raise
        return store

    @classmethod
    def grow(
        cls,
        path: Path,
        model: MapModel,
        factory: str = "Flat",
        calibration: Calibration | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> KeyframeStore:
        """A session's map to add to: a new one, or an existing one with all its places admitted.

        Its poses are raw odometry. calibration, vocabulary: of a new map. Raises MapError if another process adds to
        the map, if it is of another model or vocabulary, if its poses are not raw odometry, or if it cannot be read or
        written; ConfigError for a bad factory and for one that needs training.
        """
        path = Path(path)
        index = Index.growing(model.dimension, model.views, factory)
        writing = Writing(path)
        try:
            if path.exists():
                place_map = PlaceMap.open(path, writable=True)
            else:
                place_map = PlaceMap.create(
                    path,
                    model,
                    session_world(path.stem),
                    calibration=calibration,
                    is_odometry=True,
                    vocabulary=vocabulary,
                )
        except BaseException:
            writing.end()
            raise
        try:
            place_map.check_model(model.name, model.fingerprint)
            if vocabulary is not None:
                place_map.check_vocabulary(replace(model, vocabulary=vocabulary.fingerprint))
            if not place_map.is_odometry or place_map.model.views != model.views:
                raise MapError(
                    f"{path} is a map of '{place_map.world}' with {place_map.model.views} view(s) of each image, not "
                    f"of a session's odometry with {model.views}: choose another file for this session"
                )
            place_map.begin_growing()
            store = cls(place_map, index, writing)
            for piece in place_map.pieces():
                store._append(piece)
                store._admit(piece)
            store._close_loops()
        except BaseException:
            place_map.close()
            writing.end()
            raise
        return store

    def close(self) -> None:
        """Close the map and let other processes add to it."""
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
        """Names of the drives, in the order of their first place."""
        return list(self._drives)

    @property
    def admitted(self) -> int:
        """Number of rows that can be found, the first ones."""
        return len(self._index)

    def row_of(self, place_id: int) -> int:
        """The row of a place."""
        return bisect_left(self._rows["id"], place_id, hi=self._count)  # np.searchsorted copies the column

    def add(
        self,
        drive: str,
        stamp_ns: int,
        T_map_camera: np.ndarray,
        descriptor: np.ndarray,
        features: LocalFeatures | None = None,
        thumbnail: bytes | None = None,
    ) -> int:
        """Store one place and return its row. It is on disk, whole, when this returns.

        T_map_camera: (4, 4). descriptor: (V, D) float32, or (D,) for a map of single views. thumbnail: JPEG. Raises
        MapError as ``PlaceMap.add``, and if another process adds to this map as well or has removed or replaced it.
        """
        self.place_map.check_in_place()
        data = None if features is None else features.to_bytes()
        with self.place_map.together():
            place_id = self.place_map.add(drive, stamp_ns, T_map_camera, descriptor, thumbnail, data)
            if self._count and place_id != self._rows["id"][self._count - 1] + 1:
                raise two_writers(self.place_map.path)
        views = np.reshape(descriptor, (1, self.place_map.model.views, -1))
        self._append(Places(np.array([place_id]), np.array([drive]), np.array([stamp_ns]), T_map_camera[None], views))
        self._anchor(self._count)
        return self._count - 1

    def link(self, links: Sequence[Link]) -> None:
        """Store loop closures within this map. They are on disk when this returns.

        Raises MapError if they cannot be written.
        """
        self.place_map.add_links(links)
        for link in links:
            self._link(link)

    def admit(self, rows_before: int) -> None:
        """From now on, rows below this number can be found."""
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
        """Standard scores (K,) of similarities (K,) to an image with this descriptor (D,); see ``maps.scores``.

        The background is a sample of the places that can be found. Zero while there are none.
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
        """Descriptor (D,) float32 of the whole image at a row, read from the file."""
        return self._descriptors(row)[0]

    def similarity(self, descriptor: np.ndarray, row: int) -> float:
        """Cosine between an image's descriptor (D,) and the best view of the place at a row."""
        return float((self._descriptors(row) @ descriptor).max())

    def _descriptors(self, row: int) -> np.ndarray:
        """(V, D) float32."""
        place_id = int(self._rows["id"][row])
        (piece,) = self.place_map.pieces(after=place_id - 1, last=place_id)
        return np.asarray(piece.descriptors[0], np.float32)

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Positions (K, 3) of rows (K,), metres in the map."""
        return self._rows["T_map_camera"][: self._count][rows, :3, 3]

    def anchored(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Anchors (K,) of rows (K,) and positions (K, 3) in these, metres, corrected by loop closures.

        Only positions with the same anchor can be compared; see ``Anchors``. A map whose poses are not raw odometry has
        one anchor, and positions are the map's.
        """
        return self._anchors.positions(rows, self.positions(rows))

    def around(self, row: int, reach: int) -> np.ndarray:
        """Rows (K,) of the same drive that can be found, up to ``reach`` on either side of a row."""
        rows = np.arange(max(0, row - reach), min(self.admitted, row + reach + 1))
        return rows[self._rows["drive"][rows] == self._rows["drive"][row]]

    def features(self, row: int) -> LocalFeatures | None:
        """Local features of the place at a row, read from the file; None if it has none."""
        data = self.place_map.features(self._rows["id"][: self._count][row])
        return None if data is None else LocalFeatures.from_bytes(data)

    def measured(self, row: int) -> LocalFeatures | None:
        """Local features of the place at a row, with depths that the keyframes beside it measure; None if it has none.

        Poses of neighbouring keyframes of one drive differ by what was driven between them, which odometry knows well
        even where it has drifted. The last features stay in memory.
        """
        features = self._features(row)
        return None if features is None else self._measured(row, self._beside(row, features))

    def _beside(self, row: int, features: LocalFeatures) -> tuple[int, ...]:
        """Rows of the same drive that measure the depths of a row's features best."""
        first, end = max(0, row - BASELINES.reach), min(self._count, row + BASELINES.reach + 1)
        rows = first + np.flatnonzero(self._rows["drive"][first:end] == self._rows["drive"][row])
        T = self._rows["T_map_camera"]
        return tuple(int(rows[chosen]) for chosen in baselines(features, geometry.inverse(T[row]) @ T[rows]))

    def _measure(self, row: int, others: tuple[int, ...]) -> LocalFeatures | None:
        """Features of a row, with depths measured from other rows."""
        features, T = self._features(row), self._rows["T_map_camera"]
        if features is None:
            return None
        beside = [(self._features(other), geometry.inverse(T[row]) @ T[other]) for other in others]
        seen = [
            (there, T_row_other) for there, T_row_other in beside if there is not None and there.kind == features.kind
        ]
        return triangulated(features, seen, BASELINES.turn_sigma)

    def _append(self, places: Places) -> None:
        """Keep the ids, drives, stamps and poses of more places in memory."""
        end = self._count + len(places)
        while end > len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        new = self._rows[self._count : end]
        new["id"], new["stamp_ns"], new["T_map_camera"] = places.ids, places.stamps_ns, places.T_map_camera
        new["drive"] = [self._drives.setdefault(str(drive), len(self._drives)) for drive in places.drives]
        self._count = end

    def _anchor(self, end: int) -> None:
        """Give rows below this number an anchor."""
        drives = self._rows["drive"][len(self._anchors) : end]
        self._anchors.extend(np.zeros_like(drives) if self._one_world else drives)

    def _close_loops(self) -> None:
        """Apply the loop closures that the file holds, in the order they were accepted."""
        for link in self.place_map.links():
            self._link(link)
        self._anchor(self._count)

    def _link(self, link: Link) -> None:
        """Correct the places around a loop closure, if both are in memory and poses are raw odometry."""
        ids, T = self._rows["id"][: self._count], self._rows["T_map_camera"]
        query, match = self.row_of(link.query_id), self.row_of(link.match_id)
        known = max(query, match) < self._count and (ids[query], ids[match]) == (link.query_id, link.match_id)
        if known and not self._one_world:
            self._anchor(max(len(self._anchors), query + 1, match + 1))
            self._anchors.link(query, match, T[query], T[match], link.T_match_query)

    def _admit(self, places: Places) -> None:
        """Add the descriptors of more places to the index."""
        self._index.add(places.descriptors)
        self._sample.take(places.descriptors[:, 0])
