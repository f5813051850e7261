"""Drives -> a map: build, add to, merge. Every place is stored whole the moment it is described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr_ros.drives.drive import Drive, sample
from vpr_ros.errors import DriveError, ImageError, MapError
from vpr_ros.image import preprocess, thumbnail
from vpr_ros.inference.describer import Describer, Description
from vpr_ros.records import DriveFrame
from vpr_ros.retrieval.calibration import Calibration
from vpr_ros.retrieval.place_map import MapModel, PlaceMap

T = TypeVar("T")
_BATCH = 8
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
) -> PlaceMap:
    """A new map of these drives; the first one's world becomes the map's.

    every_m, every_s: least distance and time between places. Raises MapError where the file exists, DriveError where
    a drive has no pose or lies in another world.
    """
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
                place_map = _create(Path(path), drive, describer)
            add_drive(place_map, drive, describer, every_m, every_s, on_progress, on_bad)
        if place_map is None:
            raise DriveError("no drive given: name at least one to build a map from")
    except BaseException:
        if place_map is not None:
            place_map.close()
        raise
    return place_map


def _create(path: Path, drive: Drive, describer: Describer) -> PlaceMap:
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
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
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
    total, seen, added = len(drive), 0, 0
    taken = _counted(drive, lambda count: on_progress(count, total) if on_progress else None)
    preprocessing = describer.manifest.preprocessing

    def prepared() -> Iterator[_Prepared]:
        nonlocal seen
        for frame in sample(taken, every_m, every_s):
            seen += 1
            if frame.stamp_ns not in there:
                try:
                    image_rgb = frame.read()  # at once: a bag has the message at hand now, a simulator one thread
                except ImageError as error:
                    if on_bad:
                        on_bad(str(error))
                    continue
                yield _Prepared(frame, preprocess(image_rgb, preprocessing), thumbnail(image_rgb))

    def store(batch: list[_Prepared], described: Future[Description]) -> int:
        for item, descriptor in zip(batch, described.result().descriptors, strict=True):
            assert item.frame.T_map_camera is not None  # sample() left the others out
            T_map_camera = place_map.map_pose(item.frame.T_map_camera)
            place_map.add(drive.name, item.frame.stamp_ns, T_map_camera, descriptor, item.jpeg)
        return len(batch)

    # The network works on one batch while the next is read.
    with ThreadPoolExecutor(max_workers=1) as network:
        waiting: tuple[list[_Prepared], Future[Description]] | None = None
        for batch in _batches(prepared()):
            described = network.submit(describer.describe, np.stack([item.image for item in batch]))
            if waiting is not None:
                added += store(*waiting)
            waiting = batch, described
        if waiting is not None:
            added += store(*waiting)
    if not seen:
        raise DriveError(f"drive {drive.name} has no image with a pose: check its pose topic or file")
    return added


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A frame, the network's input made of it, and its thumbnail."""

    frame: DriveFrame
    image: np.ndarray
    jpeg: bytes


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


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def merge_maps(path: Path, sources: list[Path]) -> PlaceMap:
    """A new map with the places of all sources, which must share model and world.

    Places of one drive and stamp are kept once. The first map's origin and calibration are kept.
    """
    opened = [PlaceMap.open(source) for source in sources]
    try:
        first = opened[0]
        for other in opened[1:]:
            other.check_model(first.model.name, first.model.fingerprint)
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
