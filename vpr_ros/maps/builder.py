"""Building of maps from drives. Each place is stored, whole, as soon as it is described."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import ConfigError, DriveError, ImageError, MapError, VprError
from vpr_ros.base.image import VIEWS, Preprocessing, preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.world import canonical_world, world_advice
from vpr_ros.drives.drive import Drive, sample
from vpr_ros.drives.left_out import EMPTY_PLACES, UNREADABLE, without_poses
from vpr_ros.inference.batches import Batches, batched
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.vocabulary import MOST_IMAGES, Vocabulary, learn, with_vocabulary
from vpr_ros.maps import map_file
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import STATISTICS
from vpr_ros.maps.features import check_camera, check_kind
from vpr_ros.maps.map_drives import name_in_map
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import origin_near
from vpr_ros.maps.shard import Shard
from vpr_ros.maps.stages import (
    NEEDED,
    Described,
    Passage,
    Prepared,
    Progress,
    describe,
    find_features,
    has_pose,
    prepare,
    reader,
    store,
)
from vpr_ros.maps.storage import BUILT, Storage
from vpr_ros.maps.writing import Writing
from vpr_ros.matching.local_features import Extractor

logger = logging.getLogger(__name__)

_CORES = os.cpu_count() or 1
_LEAST_GROUP = 8  # places written together
_GROUPS_AHEAD = 3  # groups read before the oldest is written; a kill loses them and that one


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
    storage: Storage = BUILT,
    shard: Shard | None = None,
    resume: bool = False,
) -> PlaceMap:
    """Build a new map from drives. The world of the first drive becomes the map's.

    If a drive fails, the map is kept and can be continued, unless it has no places.

    every_m, every_s: minimum distance and time between places. tally: counts frames that are left out. views_each:
    number of views of each image (``image.views``). extractor: of local features to store with each place, or None.
    vocabulary: of another map, with which this one is to be compared; by default one is learnt from these drives, if
    the model has vocabularies. storage: what the file holds of each place. shard: the part of the drives whose places
    the map gets; all of the drives are given, so that the parts fit each other. resume: whether a map that exists is
    continued. Raises MapError if the file exists, or was begun otherwise; DriveError if a drive has no pose or lies in
    another world; ConfigError if a later shard has no vocabulary and the model wants one. With an extractor, also
    DriveError if a drive has no camera intrinsics.
    """
    if isinstance(drives, str) or hasattr(drives, "world"):
        raise ConfigError("build_map takes several drives: give [drive]")
    drives = list(drives)
    if no_drive := next((drive for drive in drives if not hasattr(drive, "world")), None):
        raise ConfigError(f"{no_drive!r} is no drive: give what open_drive returns")
    if not hasattr(describer, "manifest"):
        raise ConfigError(f"{describer!r} is no network: give what open_describer returns")
    for name, least in (("every_m", every_m), ("every_s", every_s)):
        if not 0 <= least < np.inf:
            raise ConfigError(f"{name} is {least}: give 0 or more; 0 takes every image")
    was_there = resume and path.exists()
    if was_there:
        place_map = _begun(path, describer, views_each, vocabulary, storage, shard)
    else:
        place_map = empty_map(
            path, drives, describer, every_m, every_s, views_each, extractor, vocabulary, storage, shard
        )
    try:
        for drive in shard.of(drives) if shard else drives:
            add_drive(place_map, drive, describer, every_m, every_s, on_progress, tally, extractor)
    except BaseException as error:
        _give_up(place_map, error, was_there)
        raise
    return place_map


def empty_map(
    path: Path,
    drives: Sequence[Drive],
    describer: Describer,
    every_m: float = 5.0,
    every_s: float = 0.0,
    views_each: int = 3,
    extractor: Extractor | None = None,
    vocabulary: Vocabulary | None = None,
    storage: Storage = BUILT,
    shard: Shard | None = None,
) -> PlaceMap:
    """A new map of these drives, with all that it has before its first place: see ``build_map``."""
    map_file.check_new(path)  # fails now rather than after a vocabulary is learnt
    if views_each not in VIEWS:
        raise MapError(f"a map has {' or '.join(map(str, VIEWS))} views of each image, not {views_each}")
    if not drives:
        raise DriveError("no drive given: name at least one to build a map from")
    _check_one_world(drives)
    if extractor is not None:
        check_camera(drives)
    if shard is not None:
        shard.of(drives)
        if shard.number > 1 and vocabulary is None and with_vocabulary(describer) is not None:
            raise ConfigError(
                f"model {describer.manifest.name} learns a vocabulary from all drives, which the parts of a map must "
                f"share: give --vocabulary and the map of part 1/{shard.count}, which has it before its first place"
            )
    own = vocabulary or learn_vocabulary(drives, describer, every_m, every_s, storage.descriptors == "bit")
    return _create(Path(path), drives[0], describer, views_each, own, storage, str(shard or ""))


def _check_one_world(drives: Sequence[Drive]) -> None:
    posed = [drive for drive in drives if drive.world]
    for drive in posed[1:]:
        if canonical_world(drive.world) != canonical_world(posed[0].world):
            raise DriveError(
                f"drive {drive.name} lies in world '{drive.world}', {posed[0].name} in '{posed[0].world}': "
                f"only drives of one world can share a map; {world_advice(drive.world, posed[0].world)}"
            )


def _begun(
    path: Path,
    describer: Describer,
    views_each: int,
    vocabulary: Vocabulary | None,
    storage: Storage,
    shard: Shard | None,
) -> PlaceMap:
    """A map whose build was interrupted. Raises MapError if it was begun with other options."""
    place_map = PlaceMap.open(path, writable=True)
    try:
        place_map.prepare(describer)
        same_words = vocabulary is None or vocabulary.fingerprint == (
            place_map.model.vocabulary or describer.manifest.vocabulary
        )
        wanted = views_each, storage.with_vocabulary(place_map.vocabulary)
        if not same_words or (place_map.model.views, place_map.storage) != wanted:
            raise MapError(
                f"{path} was begun with other --views, --vocabulary, --descriptors or --no-thumbnails: give the same, "
                "or choose another name"
            )
        part = str(shard or "")
        if place_map.shard != part:
            was = f"as part {place_map.shard}" if place_map.shard else "as a whole map"
            raise MapError(f"{path} was begun {was}: continue it so, or choose another name")
    except BaseException:
        place_map.close()
        raise
    return place_map


def _give_up(place_map: PlaceMap, error: BaseException, was_there: bool) -> None:
    """Close an unfinished map, and delete it if it has no places and was not there before."""
    count = len(place_map)
    place_map.close()
    if not count and not was_there:
        map_file.remove(place_map.path)
    elif isinstance(error, VprError):
        raise type(error)(
            f"{error}; {place_map.path} keeps the {count} places so far: continue with --resume"
        ) from error


def vocabulary_of(path: Path, describer: Describer) -> Vocabulary:
    """The vocabulary that a map was described with. Raises ConfigError if the describer has none, and MapError."""
    learning = with_vocabulary(describer)
    if learning is None:
        raise ConfigError(f"model {describer.manifest.name} has no vocabularies: leave out --vocabulary")
    with PlaceMap.open(path) as other:
        other.prepare(describer)
    return learning.vocabulary


def learn_vocabulary(
    drives: Sequence[Drive], describer: Describer, every_m: float, every_s: float, turned: bool = False
) -> Vocabulary | None:
    """A vocabulary of images spread over the drives, the model's own for few; None if the model has none.

    turned: for a map that stores signs.
    """
    learning = with_vocabulary(describer)
    if learning is None:
        return None
    each, wanted = -(-MOST_IMAGES // len(drives)), describer.manifest.preprocessing
    images = [image for drive in drives for image in _spread_images(drive, every_m, every_s, each, wanted)]
    logger.info("learning the map's vocabulary from %d images", len(images))
    return learn(learning, images, turned)


def _spread_images(
    drive: Drive, every_m: float, every_s: float, count: int, preprocessing: Preprocessing
) -> list[np.ndarray]:
    """The network's inputs of about count images, spread evenly over a drive's places; unreadable ones are left out."""
    kept: list[np.ndarray] = []
    step = 1
    for number, frame in enumerate(sample((frame for frame in drive if has_pose(frame)), every_m, every_s)):
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
    shard: str,
) -> PlaceMap:
    """An empty map. If coordinates are large, its origin is near the drive's first pose."""
    stamps: list[int] = []
    first = None
    for frame in drive:
        stamps.append(frame.stamp_ns)
        if has_pose(frame):
            first = frame.T_map_camera
            break
    if first is None:
        raise without_poses(drive, stamps, NEEDED)
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing, views_each)
    if vocabulary is not None and vocabulary.fingerprint == manifest.vocabulary:
        vocabulary = None  # every copy of the model has it
    calibration = Calibration.of_model(manifest.calibration, bool(manifest.vocabulary) and vocabulary is None)
    origin = origin_near(first[:3, 3])
    return PlaceMap.create(
        path, model, drive.world, origin, calibration, vocabulary=vocabulary, storage=storage, shard=shard
    )


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
    lies in another world, or no image has a pose or can be read. See also ``check_camera``. MapError, too, if another
    process adds to the map.
    """
    with Writing(place_map.path):
        place_map.read_again()
        place_map.prepare(describer)
        place_map.check_world(drive.name, drive.world)
        place_map.check_intact()
        if extractor is not None:
            check_camera([drive])
            check_kind(place_map.path, place_map.feature_kind(), extractor.kind)
        name = name_in_map(place_map, drive, describer)
        passage = Passage(drive, place_map.stamps_of(name), on_progress)
        frames = passage.frames(every_m, every_s)
        new = _describe_and_store(frames, place_map, name, describer, passage.tally, extractor)
    passage.finish(new, Tally() if tally is None else tally)
    return Added(name, new, passage.there)


def coarser(place_map: PlaceMap, every_m: float) -> str:
    """A sentence if drives that are added every so many metres get fewer places than the map's have; else empty."""
    spacing = _spacing(place_map)
    if not spacing or every_m <= STATISTICS.coarser * spacing:
        return ""
    return f"{place_map.path} has a place every {spacing:.1f} m: --every {spacing:.1f} gives new drives as many"


def other_spacing(place_map: PlaceMap, every_m: float) -> str:
    """A sentence if a build that is resumed every so many metres was begun at another distance; else empty."""
    spacing = _spacing(place_map)
    if not spacing or not every_m or 1 / STATISTICS.coarser <= every_m / spacing <= STATISTICS.coarser:
        return ""
    begun = f"{place_map.path} has a place every {spacing:.1f} m so far"
    if every_m < spacing:  # the images may be as far apart
        return f"{begun}: if it was begun with another --every, give that"
    return f"{begun}: --every {spacing:.1f} goes on as it was begun"


def _spacing(place_map: PlaceMap) -> float:
    """Typical distance in space between places of a drive, metres; 0 if no drive has two."""
    lengths = place_map.whereabouts.step_lengths(3)
    return float(np.median(lengths)) if len(lengths) else 0.0


@dataclass(frozen=True)
class Added:
    """Result of adding a drive: its name in the map, the number of new places, and of places that existed already."""

    name: str
    new: int
    there: int


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
    manifest, views_each = describer.manifest, place_map.model.views

    def described(group: list[Future[Prepared | VprError]]) -> Described:
        return describe([prepared.result() for prepared in group], batches, views_each)

    def stored(describing: Future[Described]) -> Described:
        found = describing.result()
        store(place_map, drive, found, find_features(found, manifest, drive, extractor))
        return found

    def finish(storing: Future[Described]) -> int:
        found = storing.result()
        for problem in found.problems:
            tally.add(UNREADABLE, problem)
        tally.add(EMPTY_PLACES, f"drive {drive}", sum(item.empty for item in found.ready))
        return len(found.ready)

    batches, added, storing = Batches(describer), 0, deque[Future[Described]]()
    pools = ThreadPoolExecutor(_CORES), ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    with pools[0] as workers, pools[1] as network, pools[2] as writer:
        reading = (
            workers.submit(prepare, frame, reader(frame), manifest.preprocessing, views_each, extractor is not None)
            for frame in frames
        )
        for group in batched(reading, max(_LEAST_GROUP, max(describer.batch_sizes) // views_each)):
            storing.append(writer.submit(stored, network.submit(described, group)))
            if len(storing) > _GROUPS_AHEAD:
                added += finish(storing.popleft())
        return added + sum(map(finish, storing))
