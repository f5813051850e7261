"""Drives -> a map: build, add to, merge. Every place is stored whole the moment it is described."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr_ros.drives.drive import Drive, sample
from vpr_ros.errors import DriveError, ImageError, MapError
from vpr_ros.image import VIEWS, preprocess, thumbnail, views
from vpr_ros.inference.describer import Describer
from vpr_ros.records import DriveFrame
from vpr_ros.retrieval.calibration import Calibration
from vpr_ros.retrieval.place_map import MapModel, PlaceMap

T = TypeVar("T")
_CORES = os.cpu_count() or 1
_LEAST_GROUP = 8  # places written together
_THUMBNAIL_PX = 160
_GROUPS_AHEAD = 3  # read before the oldest is written: together with that one what a kill may lose
_LARGEST_COORDINATE = 1e5  # metres; beyond it the map gets an origin of its own

Progress = Callable[[int, int], None]  # images passed so far, images of the drive


def build_map(
    path: Path,
    drives: Iterable[Drive],
    describer: Describer,
    every_m: float = 5.0,
    every_s: float = 0.0,
    on_progress: Progress | None = None,
    on_bad: Callable[[str], None] | None = None,
    views_each: int = 3,
) -> PlaceMap:
    """A new map of these drives; the first one's world becomes the map's.

    every_m, every_s: least distance and time between places. views_each: how many views of an image a
    place keeps (``image.views``). Raises MapError where the file exists, DriveError where
    a drive has no pose or lies in another world.
    """
    if views_each not in VIEWS:
        raise MapError(f"a map holds {' or '.join(map(str, VIEWS))} views of each image, not {views_each}")
    drives = list(drives)
    for drive in drives[1:]:
        if drive.world != drives[0].world:
            raise DriveError(
                f"drive {drive.name} lies in world '{drive.world}', {drives[0].name} in '{drives[0].world}': "
                "only drives of one world can share a map"
            )
    place_map: PlaceMap | None = None
    try:
        for drive in drives:
            if place_map is None:
                place_map = _create(Path(path), drive, describer, views_each)
            add_drive(place_map, drive, describer, every_m, every_s, on_progress, on_bad)
        if place_map is None:
            raise DriveError("no drive given: name at least one to build a map from")
    except BaseException:
        if place_map is not None:
            place_map.close()
        raise
    return place_map


def _create(path: Path, drive: Drive, describer: Describer, views_each: int) -> PlaceMap:
    """An empty map with its origin, in hundreds of metres, near the drive's first pose where its coordinates are
    large.
    """
    first = next((frame.T_map_camera for frame in drive if frame.T_map_camera is not None), None)
    if first is None:
        raise DriveError(
            f"drive {drive.name} has no poses, so its images cannot be places: give poses, "
            "or --numbered to use frame numbers"
        )
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing, views_each)
    large = np.abs(first[:3, 3]).max() > _LARGEST_COORDINATE
    origin = np.round(first[:3, 3] * [1, 1, 0], -2) if large else np.zeros(3)
    calibration = Calibration.from_dict(manifest.calibration) if manifest.calibration else Calibration()
    return PlaceMap.create(path, model, drive.world, origin, calibration)


def add_drive(
    place_map: PlaceMap,
    drive: Drive,
    describer: Describer,
    every_m: float = 5.0,
    every_s: float = 0.0,
    on_progress: Progress | None = None,
    on_bad: Callable[[str], None] | None = None,
) -> int:
    """Add a drive's places to a map and return how many were new; those that are there already are left alone.

    An image that cannot be read is left out and told to on_bad. Raises MapError where the map is another model's or
    damaged, DriveError where the drive lies in another world or none of its
    images has a pose.
    """
    place_map.check_model(describer.manifest.name, describer.manifest.fingerprint)
    place_map.check_world(drive.name, drive.world)
    place_map.check_intact()
    there = place_map.stamps_of(drive.name)
    total, seen = len(drive), 0
    taken = _counted(drive, lambda count: on_progress(count, total) if on_progress else None)

    def frames() -> Iterator[DriveFrame]:
        nonlocal seen
        for frame in sample(taken, every_m, every_s):
            seen += 1
            if frame.stamp_ns not in there:
                yield frame

    added = _describe_and_store(frames(), place_map, drive.name, describer, on_bad or (lambda problem: None))
    if not seen:
        raise DriveError(f"drive {drive.name} has no image with a pose: check its pose topic or file")
    return added


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A frame, the network's inputs made of its views, (V, height, width, 3) uint8, and its thumbnail."""

    frame: DriveFrame
    inputs: np.ndarray
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class _Described:
    """A group of frames with descriptors, (V, D) float32 each, and what was wrong with those left out."""

    ready: list[_Prepared]
    descriptors: list[np.ndarray]
    problems: list[str]


def _describe_and_store(
    frames: Iterable[DriveFrame], place_map: PlaceMap, drive: str, describer: Describer, on_bad: Callable[[str], None]
) -> int:
    """Keep the network busy and return how many places it gave the map.

    Four stations work at once, a group of images at each: the caller's thread reads, workers decode and resize, one
    thread describes, one writes. A kill loses what stands between the first and the last.
    """
    preprocessing, batch = describer.manifest.preprocessing, describer.preferred_batch
    count = place_map.model.views

    def prepare(frame: DriveFrame, read: Callable[[], np.ndarray]) -> _Prepared | ImageError:
        try:
            image_rgb = read()
        except ImageError as error:
            return error
        inputs = np.stack([preprocess(view, preprocessing) for view in views(image_rgb, count)])
        return _Prepared(frame, inputs, _thumbnail(inputs[0], image_rgb))

    def describe(group: list[Future[_Prepared | ImageError]]) -> _Described:
        results = [prepared.result() for prepared in group]
        ready = [result for result in results if isinstance(result, _Prepared)]
        problems = [str(result) for result in results if isinstance(result, ImageError)]
        inputs = [view for item in ready for view in item.inputs]
        batches = [np.stack(inputs[i : i + batch]) for i in range(0, len(inputs), batch)]
        rows = [row for images in batches for row in describer.describe(images).descriptors]
        return _Described(ready, [np.stack(rows[i : i + count]) for i in range(0, len(rows), count)], problems)

    def store(describing: Future[_Described]) -> _Described:
        described = describing.result()
        with place_map.together():
            for item, descriptor in zip(described.ready, described.descriptors, strict=True):
                assert item.frame.T_map_camera is not None  # sample() left the others out
                T_map_camera = place_map.map_pose(item.frame.T_map_camera)
                place_map.add(drive, item.frame.stamp_ns, T_map_camera, descriptor, item.jpeg)
        return described

    def finish(storing: Future[_Described]) -> int:
        stored = storing.result()
        for problem in stored.problems:
            on_bad(problem)
        return len(stored.ready)

    added, storing = 0, deque[Future[_Described]]()
    pools = ThreadPoolExecutor(_CORES), ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    with pools[0] as workers, pools[1] as network, pools[2] as writer:
        reading = (workers.submit(prepare, frame, _reader(frame)) for frame in frames)
        for group in _groups(reading, max(batch, _LEAST_GROUP)):
            storing.append(writer.submit(store, network.submit(describe, group)))
            if len(storing) > _GROUPS_AHEAD:
                added += finish(storing.popleft())
        return added + sum(map(finish, storing))


def _reader(frame: DriveFrame) -> Callable[[], np.ndarray]:
    """What gives a frame's image in any thread; the image itself is read now where only this thread can."""
    if frame.detach is not None:
        return frame.detach()
    try:
        image_rgb = frame.read()
    except ImageError as error:
        return partial(_raise, error)
    return lambda: image_rgb


def _raise(error: ImageError) -> np.ndarray:
    raise error


def _thumbnail(seen: np.ndarray, image_rgb: np.ndarray) -> bytes:
    """JPEG made of the network's input: shrinking a large image twice would cost more than all the rest."""
    import cv2

    height, width = image_rgb.shape[:2]
    if seen.shape[1] < _THUMBNAIL_PX:
        return thumbnail(image_rgb, _THUMBNAIL_PX)
    size = _THUMBNAIL_PX, max(1, round(height * _THUMBNAIL_PX / width))
    return thumbnail(cv2.resize(seen, size, interpolation=cv2.INTER_LINEAR), _THUMBNAIL_PX)


class _counted:
    """A drive that reports how many of its frames have passed."""

    def __init__(self, drive: Drive, on_count: Callable[[int], None]) -> None:
        self.name, self.world = drive.name, drive.world
        self._drive, self._on_count = drive, on_count

    def __len__(self) -> int:
        return len(self._drive)

    def __iter__(self) -> Iterator[DriveFrame]:
        for count, frame in enumerate(self._drive, 1):
            yield frame
            self._on_count(count)


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def merge_maps(path: Path, sources: list[Path]) -> PlaceMap:
    """A new map with the places of all sources, which must share model and world.

    Places of one drive and stamp are kept once. The first map's origin and calibration are kept.
    """
    opened = [PlaceMap.open(source) for source in sources]
    try:
        first = opened[0]
        for other in opened[1:]:
            other.check_model(first.model.name, first.model.fingerprint)
            if other.model.views != first.model.views:
                raise MapError(
                    f"{other.path} holds {other.model.views} view(s) of each image, {first.path} holds "
                    f"{first.model.views}: build one of them again with the other's --views"
                )
            if other.world != first.world:
                raise MapError(
                    f"{other.path} lies in world '{other.world}' and {first.path} in '{first.world}': "
                    "they cannot be merged"
                )
        merged = PlaceMap.create(path, first.model, first.world, first.origin, first.calibration, first.frame_id)
        for source in opened:
            _copy(source, merged)
        return merged
    finally:
        for place_map in opened:
            place_map.close()


def _copy(source: PlaceMap, target: PlaceMap) -> None:
    """Every place of a map into another of the same model and world."""
    places = source.places
    there = {str(drive): target.stamps_of(str(drive)) for drive in np.unique(places.drives)}
    for row in range(len(places)):
        drive, stamp_ns = str(places.drives[row]), int(places.stamps_ns[row])
        if stamp_ns not in there[drive]:
            T_world_camera = np.array(places.T_map_camera[row])
            T_world_camera[:3, 3] += source.origin
            target.add(
                drive,
                stamp_ns,
                target.map_pose(T_world_camera),
                places.descriptors[row],
                source.thumbnail(places.ids[row]),
            )
