"""The stages of building, from a frame of a drive to a place of a map; who runs them, and where, is another matter.

A frame is read and prepared for the network, groups of frames are described, and what was described is stored.
``builder`` runs the stages in threads, ``vpr_ros.fleet`` on many machines.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, VprError
from vpr_ros.base.image import Preprocessing, has_content, preprocess, thumbnail, views
from vpr_ros.base.image_order import DUPLICATE
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.drives.doubts import count_doubtful
from vpr_ros.drives.drive import Drive, sample, tally_of
from vpr_ros.drives.left_out import ONE_PLACE, UNREADABLE, count_without_pose, without_poses
from vpr_ros.inference.batches import Batches
from vpr_ros.inference.describer import Manifest
from vpr_ros.maps import map_file
from vpr_ros.maps.features import features_of
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.local_features import Extractor

INVALID_POSE = f"image(s) left out: a number of their pose is not finite, or beyond {map_file.FURTHEST:.0e} m"
NEEDED = "so its images cannot be places: give poses, or --numbered to use frame numbers"

Progress = Callable[[int, int], None]  # images passed so far, images of the drive


def has_pose(frame: DriveFrame) -> bool:
    """Whether a frame has a true pose that can be one."""
    return frame.T_map_camera is not None and bool(np.all(np.abs(frame.T_map_camera) < map_file.FURTHEST))


class Passage:
    """One pass over a drive: yields the frames that become places, and counts those left out.

    posed: frames with a pose. there: number of sampled frames that are places already. stamps_ns: of all
    frames so far. tally: what was left out.
    """

    def __init__(self, drive: Drive, there: Container[int], on_progress: Progress | None = None) -> None:
        """there: stamps of the drive's places in the map."""
        self.tally = Tally()
        self.posed = self.there = self._duplicates = 0
        self.stamps_ns: list[int] = []
        self._T: list[np.ndarray] = []  # of the frames that are sampled
        self._drive, self._in_map, self._on_progress = drive, there, on_progress

    def frames(self, every_m: float, every_s: float) -> Iterator[DriveFrame]:
        """The frames to describe and store."""
        taken: set[int] = set()
        for frame in sample(self._with_poses(), every_m, every_s):
            assert frame.T_map_camera is not None
            self._T.append(frame.T_map_camera)
            if frame.stamp_ns in taken:
                self._duplicates += 1
                self.tally.add(f"image(s) left out: {DUPLICATE}", f"drive {self._drive.name}, stamp {frame.stamp_ns}")
                continue
            taken.add(frame.stamp_ns)
            if frame.stamp_ns in self._in_map:
                self.there += 1
            else:
                yield frame

    def _with_poses(self) -> Iterator[DriveFrame]:
        total, missing, invalid = len(self._drive), 0, 0
        for count, frame in enumerate(self._drive, 1):
            self.stamps_ns.append(frame.stamp_ns)
            if has_pose(frame):
                self.posed += 1
                yield frame
            elif frame.T_map_camera is None:
                missing += 1
            else:
                invalid += 1
            if self._on_progress:
                self._on_progress(count, total)
        if self._on_progress:
            self._on_progress(total, total)
        count_without_pose(self.tally, self._drive, self.stamps_ns, missing)
        self.tally.add(INVALID_POSE, f"drive {self._drive.name}", invalid)

    def finish(self, new: int, tally: Tally) -> None:
        """Add what was left out to a tally, at the end of the drive. new: number of places that it gave.

        Raises DriveError if no image has a pose, or none can be read; self.tally then counts UNREADABLE.
        """
        tally.update(tally_of(self._drive))
        count_doubtful(self.tally, self._drive, self._T)
        tally.update(self.tally)
        if not self.posed and self.tally.count(INVALID_POSE):
            raise DriveError(f"no image of drive {self._drive.name} can be a place: {'; '.join(self.tally.lines())}")
        if not self.posed:
            raise without_poses(self._drive, self.stamps_ns, NEEDED)
        if not new and not self.there and self.tally.count(UNREADABLE):
            raise DriveError(f"no image of drive {self._drive.name} can be used: {self.tally.example(UNREADABLE)}")
        if new + self.there == 1:
            tally.add(ONE_PLACE, f"drive {self._drive.name}", self.posed - 1 - self._duplicates)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A frame with the network's inputs, (V, height, width, 3) uint8, one per view, and its thumbnail.

    image_rgb: the image itself, if local features are wanted. empty: whether it shows nothing, see ``has_content``.
    """

    frame: DriveFrame
    inputs: np.ndarray
    jpeg: bytes
    image_rgb: np.ndarray | None
    empty: bool = False


@dataclass(frozen=True, eq=False)
class Described:
    """A group of frames with descriptors, (V, D) float32 each, and the errors of those left out.

    depths: (h, w) float32 of each whole image as the network gives it, or None.
    """

    ready: list[Prepared]
    descriptors: list[np.ndarray]
    depths: list[np.ndarray | None]
    problems: list[str]


def reader(frame: DriveFrame) -> Callable[[], np.ndarray]:
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


def prepare(
    frame: DriveFrame,
    read: Callable[[], np.ndarray],
    preprocessing: Preprocessing,
    views_each: int,
    keep_image: bool,
) -> Prepared | VprError:
    """Read and resize an image; the error if it cannot be read. keep_image: for local features."""
    try:
        image_rgb = read()
    except (ImageError, DriveError) as error:
        return error
    inputs = np.stack([preprocess(view, preprocessing) for view in views(image_rgb, views_each)])
    return Prepared(
        frame, inputs, thumbnail(image_rgb), image_rgb if keep_image else None, empty=not has_content(inputs[0])
    )


def describe(group: Sequence[Prepared | VprError], batches: Batches, views_each: int) -> Described:
    """Run a group through the network. Images of which it makes no descriptor are left out."""
    ready = [result for result in group if isinstance(result, Prepared)]
    problems = [str(result) for result in group if isinstance(result, VprError)]
    if not ready:
        return Described([], [], [], problems)
    try:
        return _described(ready, problems, batches, views_each)
    except ImageError:
        good = []
        for item in ready:
            try:
                _described([item], [], batches, views_each)
                good.append(item)
            except ImageError as error:
                problems.append(f"stamp {item.frame.stamp_ns}: {error}")
        return _described(good, problems, batches, views_each) if good else Described([], [], [], problems)


def _described(ready: list[Prepared], problems: list[str], batches: Batches, views_each: int) -> Described:
    description = batches.describe([view for item in ready for view in item.inputs])
    rows = description.descriptors
    descriptors = [rows[i : i + views_each] for i in range(0, len(rows), views_each)]
    deep = description.depth
    depths = [None if deep is None else deep[i] for i in range(0, len(rows), views_each)]
    return Described(ready, descriptors, depths, problems)


def find_features(
    described: Described, manifest: Manifest, drive: str, extractor: Extractor | None
) -> list[bytes | None]:
    """Local features of each frame of a group, as stored in a map; None each without an extractor."""
    return [
        features_of(
            drive,
            item.frame,
            item.image_rgb,
            None if depth is None else manifest.metres(depth, item.frame.intrinsics),
            extractor,
        )
        for item, depth in zip(described.ready, described.depths, strict=True)
    ]


def store(place_map: PlaceMap, drive: str, described: Described, features: Sequence[bytes | None]) -> None:
    """Add a group of frames to a map, in one transaction."""
    with place_map.together():
        for item, descriptor, found in zip(described.ready, described.descriptors, features, strict=True):
            assert item.frame.T_map_camera is not None  # a Passage skips frames without a pose
            T_map_camera = place_map.map_pose(item.frame.T_map_camera)
            place_map.add(drive, item.frame.stamp_ns, T_map_camera, descriptor, item.jpeg, found)
