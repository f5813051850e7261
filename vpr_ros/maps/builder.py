"""Building of maps from drives. Each place is stored, whole, as soon as it is described."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, MapError, VprError
from vpr_ros.base.image import VIEWS, Preprocessing, preprocess, thumbnail, views
from vpr_ros.base.image_order import DUPLICATE
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.world import canonical_world, world_advice
from vpr_ros.drives.drive import Drive, sample, tally_of
from vpr_ros.drives.left_out import UNREADABLE, count_without_pose, without_poses
from vpr_ros.inference.batches import Batches
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.vocabulary import MOST_IMAGES, Vocabulary, learn, with_vocabulary
from vpr_ros.maps import map_file
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.features import check_camera, check_kind, features_of
from vpr_ros.maps.map_drives import name_in_map
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import origin_near
from vpr_ros.maps.storage import HALF, Storage
from vpr_ros.matching.local_features import Extractor

logger = logging.getLogger(__name__)

T = TypeVar("T")
_CORES = os.cpu_count() or 1
_LEAST_GROUP = 8  # places written together
_NEEDED = "so its images cannot be places: give poses, or --numbered to use frame numbers"
_GROUPS_AHEAD = 3  # groups read before the oldest is written; a kill loses them and that one

Progress = Callable[[int, int], None]  # images passed so far, images of the drive


def build_map(
    path: Path,
    drives: Iterable[Drive],
    describer: Describer,
    every_m: float = 5.0,
    every_s: float = 0.0,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
    views_each: int = 3,
    extractor: Extractor | None = None,
    vocabulary: Vocabulary | None = None,
    storage: Storage = HALF,
) -> PlaceMap:
    """Build a new map from drives. The world of the first drive becomes the map's.

    If a drive fails, the map is kept and can be added to, unless it has no places.

    every_m, every_s: minimum distance and time between places. tally: counts frames that are left out. views_each:
    number of views of each image (``image.views``). extractor: of local features to store with each place, or None.
    vocabulary: of another map, with which this one is to be compared; by default one is learnt from these drives, if
    the model has vocabularies. storage: what the file holds of each place. Raises MapError if the file exists,
    DriveError if a drive has no pose or lies in another world. With an extractor, also DriveError if a drive has no
    camera intrinsics, and ModelError if the model estimates no depth.
    """
    if views_each not in VIEWS:
        raise MapError(f"a map has {' or '.join(map(str, VIEWS))} views of each image, not {views_each}")
    drives = list(drives)
    posed = [drive for drive in drives if drive.world]
    for drive in posed[1:]:
        if canonical_world(drive.world) != canonical_world(posed[0].world):
            raise DriveError(
                f"drive {drive.name} lies in world '{drive.world}', {posed[0].name} in '{posed[0].world}': "
                f"only drives of one world can share a map; {world_advice(drive.world, posed[0].world)}"
            )
    if extractor is not None:
        check_camera(drives, describer)
    place_map: PlaceMap | None = None
    try:
        for drive in drives:
            if place_map is None:
                own = vocabulary or learn_vocabulary(drives, describer, every_m, every_s)
                place_map = _create(Path(path), drive, describer, views_each, own, storage)
            add_drive(place_map, drive, describer, every_m, every_s, on_progress, tally, extractor)
        if place_map is None:
            raise DriveError("no drive given: name at least one to build a map from")
    except BaseException as error:
        if place_map is not None:
            _give_up(place_map, error)
        raise
    return place_map


def _give_up(place_map: PlaceMap, error: BaseException) -> None:
    """Close an unfinished map, and delete it if it has no places."""
    count = len(place_map)
    place_map.close()
    if not count:
        map_file.remove(place_map.path)
    elif isinstance(error, VprError):
        raise type(error)(
            f"{error}; {place_map.path} keeps the {count} places so far: continue with `vpr map add`"
        ) from error


def learn_vocabulary(
    drives: Sequence[Drive], describer: Describer, every_m: float, every_s: float
) -> Vocabulary | None:
    """A vocabulary of images spread over the drives, the model's own for few; None if the model has none."""
    learning = with_vocabulary(describer)
    if learning is None:
        return None
    each, wanted = -(-MOST_IMAGES // len(drives)), describer.manifest.preprocessing
    images = [image for drive in drives for image in _spread_images(drive, every_m, every_s, each, wanted)]
    logger.info("learning the map's vocabulary from %d images", len(images))
    return learn(learning, images)


def _spread_images(
    drive: Drive, every_m: float, every_s: float, count: int, preprocessing: Preprocessing
) -> list[np.ndarray]:
    """The network's inputs of about count images, spread evenly over a drive's places; unreadable ones are left out."""
    kept: list[np.ndarray] = []
    step = 1
    for number, frame in enumerate(sample((frame for frame in drive if _has_pose(frame)), every_m, every_s)):
        if number % step:
            continue
        with suppress(ImageError, DriveError):
            kept.append(preprocess(frame.read(), preprocessing))
        if len(kept) >= 2 * count:
            kept, step = kept[::2], 2 * step
    return kept


def _create(
    path: Path,
    drive: Drive,
    describer: Describer,
    views_each: int,
    vocabulary: Vocabulary | None,
    storage: Storage,
) -> PlaceMap:
    """An empty map. If coordinates are large, its origin is near the drive's first pose."""
    stamps: list[int] = []
    first = None
    for frame in drive:
        stamps.append(frame.stamp_ns)
        if _has_pose(frame):
            first = frame.T_map_camera
            break
    if first is None:
        raise without_poses(drive, stamps, _NEEDED)
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing, views_each)
    calibration = Calibration.of_model(manifest.calibration)
    if vocabulary is not None and vocabulary.fingerprint == manifest.vocabulary:
        vocabulary = None  # every copy of the model has it
    origin = origin_near(first[:3, 3])
    return PlaceMap.create(path, model, drive.world, origin, calibration, vocabulary=vocabulary, storage=storage)


def _has_pose(frame: DriveFrame) -> bool:
    return frame.T_map_camera is not None and bool(np.all(np.isfinite(frame.T_map_camera)))


def add_drive(
    place_map: PlaceMap,
    drive: Drive,
    describer: Describer,
    every_m: float = 5.0,
    every_s: float = 0.0,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
    extractor: Extractor | None = None,
) -> Added:
    """Add a drive's places to a map; existing places are not changed.

    tally: counts frames that are left out. extractor: of local features of the new places, or None. Raises MapError if
    the map was described by another model, is damaged or has local features of another kind; DriveError if the drive
    lies in another world, or no image has a pose or can be read. See also ``check_camera``.
    """
    place_map.prepare(describer)
    place_map.check_world(drive.name, drive.world)
    place_map.check_intact()
    if extractor is not None:
        check_camera([drive], describer)
        check_kind(place_map.path, place_map.feature_kind(), extractor.kind)
    name = name_in_map(place_map, drive, describer)
    passage = _Passage(drive, place_map.stamps_of(name), on_progress)
    new = _describe_and_store(passage.frames(every_m, every_s), place_map, name, describer, passage.tally, extractor)
    if tally is not None:
        tally.update(tally_of(drive))
        tally.update(passage.tally)
    if not passage.posed:
        raise without_poses(drive, passage.stamps_ns, _NEEDED)
    if not new and not passage.there and passage.tally.count(UNREADABLE):
        raise DriveError(f"no image of drive {drive.name} can be read: {passage.tally.example(UNREADABLE)}")
    return Added(name, new, passage.there)


@dataclass(frozen=True)
class Added:
    """Result of adding a drive: its name in the map, the number of new places, and of places that existed already."""

    name: str
    new: int
    there: int


class _Passage:
    """One pass over a drive: yields the frames that become places, and counts those left out.

    posed: number of frames with a pose. there: number of sampled frames that are places already. stamps_ns: of all
    frames.
    """

    def __init__(self, drive: Drive, there: Container[int], on_progress: Progress | None) -> None:
        self.tally = Tally()
        self.posed = self.there = 0
        self.stamps_ns: list[int] = []
        self._drive, self._in_map, self._on_progress = drive, there, on_progress

    def frames(self, every_m: float, every_s: float) -> Iterator[DriveFrame]:
        """The frames to describe and store."""
        taken: set[int] = set()
        for frame in sample(self._with_poses(), every_m, every_s):
            if frame.stamp_ns in self._in_map:
                self.there += 1
            elif frame.stamp_ns in taken:
                self.tally.add(f"image(s) left out: {DUPLICATE}", f"drive {self._drive.name}, stamp {frame.stamp_ns}")
            else:
                taken.add(frame.stamp_ns)
                yield frame

    def _with_poses(self) -> Iterator[DriveFrame]:
        total, missing = len(self._drive), 0
        for count, frame in enumerate(self._drive, 1):
            self.stamps_ns.append(frame.stamp_ns)
            if _has_pose(frame):
                self.posed += 1
                yield frame
            else:
                missing += 1
            if self._on_progress:
                self._on_progress(count, total)
        if self._on_progress:
            self._on_progress(total, total)
        count_without_pose(self.tally, self._drive, self.stamps_ns, missing)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A frame with the network's inputs, (V, height, width, 3) uint8, one per view, and its thumbnail.

    image_rgb: the image itself, if local features are wanted.
    """

    frame: DriveFrame
    inputs: np.ndarray
    jpeg: bytes
    image_rgb: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Described:
    """A group of frames with descriptors, (V, D) float32 each, and the errors of those left out.

    depths: (h, w) float32 metres of each whole image, or None.
    """

    ready: list[_Prepared]
    descriptors: list[np.ndarray]
    depths: list[np.ndarray | None]
    problems: list[str]


def _describe_and_store(
    frames: Iterable[DriveFrame],
    place_map: PlaceMap,
    drive: str,
    describer: Describer,
    tally: Tally,
    extractor: Extractor | None,
) -> int:
    """Describe and store frames in a pipeline; return the number of new places.

    Four stages run at once, each on a group of images: the caller's thread reads, workers decode and resize, one thread
    describes, one finds local features and writes. A kill loses the groups in the pipeline.
    """
    preprocessing, count = describer.manifest.preprocessing, place_map.model.views

    def prepare(frame: DriveFrame, read: Callable[[], np.ndarray]) -> _Prepared | VprError:
        try:
            image_rgb = read()
        except (ImageError, DriveError) as error:
            return error
        inputs = np.stack([preprocess(view, preprocessing) for view in views(image_rgb, count)])
        return _Prepared(frame, inputs, thumbnail(image_rgb), image_rgb if extractor else None)

    def store(describing: Future[_Described]) -> _Described:
        described = describing.result()
        found = [
            features_of(
                drive,
                item.frame,
                item.image_rgb,
                None if depth is None else describer.manifest.metres(depth, item.frame.intrinsics),
                extractor,
            )
            for item, depth in zip(described.ready, described.depths, strict=True)
        ]
        with place_map.together():
            for item, descriptor, features in zip(described.ready, described.descriptors, found, strict=True):
                assert item.frame.T_map_camera is not None  # sample() skips frames without a pose
                T_map_camera = place_map.map_pose(item.frame.T_map_camera)
                place_map.add(drive, item.frame.stamp_ns, T_map_camera, descriptor, item.jpeg, features)
        return described

    def finish(storing: Future[_Described]) -> int:
        stored = storing.result()
        for problem in stored.problems:
            tally.add(UNREADABLE, problem)
        return len(stored.ready)

    batches, added, storing = Batches(describer), 0, deque[Future[_Described]]()
    pools = ThreadPoolExecutor(_CORES), ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    with pools[0] as workers, pools[1] as network, pools[2] as writer:
        reading = (workers.submit(prepare, frame, _reader(frame)) for frame in frames)
        for group in _groups(reading, max(*describer.batch_sizes, _LEAST_GROUP)):
            storing.append(writer.submit(store, network.submit(_describe, group, batches, count)))
            if len(storing) > _GROUPS_AHEAD:
                added += finish(storing.popleft())
        return added + sum(map(finish, storing))


def _describe(group: list[Future[_Prepared | VprError]], batches: Batches, count: int) -> _Described:
    """Run a group through the network. count: views of each image."""
    results = [prepared.result() for prepared in group]
    ready = [result for result in results if isinstance(result, _Prepared)]
    problems = [str(result) for result in results if isinstance(result, VprError)]
    if not ready:
        return _Described([], [], [], problems)
    description = batches.describe([view for item in ready for view in item.inputs])
    rows = description.descriptors
    descriptors = [rows[i : i + count] for i in range(0, len(rows), count)]
    deep = description.depth
    depths = [None if deep is None else deep[i] for i in range(0, len(rows), count)]
    return _Described(ready, descriptors, depths, problems)


def _reader(frame: DriveFrame) -> Callable[[], np.ndarray]:
    """A function that reads a frame's image in any thread. If only this thread can read it, it is read now."""
    if frame.detach is not None:
        return frame.detach()
    try:
        image_rgb = frame.read()
    except (ImageError, DriveError) as error:
        return partial(_raise, error)
    return lambda: image_rgb


def _raise(error: VprError) -> np.ndarray:
    raise error


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
