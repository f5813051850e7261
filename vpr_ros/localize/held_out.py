"""Held-out drives: images of a map's places that are not in the map, described for ``calibrator``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, MapError
from vpr_ros.base.image import has_content, preprocess
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, tally_of
from vpr_ros.drives.left_out import EMPTY, UNREADABLE, count_without_pose, without_poses
from vpr_ros.inference.describer import Describer
from vpr_ros.maps.map_drives import same_images
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places

ProgressOf = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]  # what is done -> (done, total)


@dataclass(frozen=True, eq=False)
class DescribedDrive:
    """A held-out drive with its descriptors.

    stamps_ns: (F,). descriptors: (F, D). T_map_camera: (F, 4, 4) true poses in the map. T_odom_camera: F poses (4, 4)
    or None.
    """

    name: str
    stamps_ns: np.ndarray
    descriptors: np.ndarray
    T_map_camera: np.ndarray
    T_odom_camera: Sequence[np.ndarray | None]

    def is_in(self, places: Places) -> bool:
        """Whether some of these places were made from images of this drive: then it is not held out.

        Compared by stamp and descriptor, since two drives can share a name or have stamps that begin at zero.
        """
        _, ours, theirs = np.intersect1d(self.stamps_ns, places.stamps_ns, return_indices=True)
        return bool(len(ours)) and bool(same_images(self.descriptors[ours], places.descriptors[theirs, 0]).any())


def check_held_out(described: Sequence[DescribedDrive], places: Places, whose: str, remedy: str) -> None:
    """Raises MapError if places were made from images of a held-out drive. whose, remedy: its beginning and end."""
    for drive in described:
        if drive.is_in(places):
            raise MapError(f"{whose} images of {drive.name}, so it measures nothing: {remedy}")


def describe_drives(
    drives: Sequence[Drive], place_map: PlaceMap, describer: Describer, progress: ProgressOf, tally: Tally
) -> Iterator[DescribedDrive]:
    """``describe_drive`` of one after the other."""
    for drive in drives:
        with progress(f"describing {drive.name}") as step:
            described = describe_drive(drive, place_map, describer, step, tally)
        yield described


def describe_drive(
    drive: Drive,
    place_map: PlaceMap,
    describer: Describer,
    on_progress: Callable[[int, int], None] | None = None,
    tally: Tally | None = None,
) -> DescribedDrive:
    """Describe the images of a drive; frames without a true pose and unreadable ones are left out.

    tally: counts those left out. Raises DriveError if the drive lies in another world than the map, or has no true pose
    or no readable image.
    """
    place_map.check_world(drive.name, drive.world)
    rows, stamps, counted, missing = [], [], Tally(), 0
    for count, frame in enumerate(drive, 1):
        stamps.append(frame.stamp_ns)
        if frame.T_map_camera is None:
            missing += 1
        else:
            try:
                image = preprocess(frame.read(), describer.manifest.preprocessing)
                if has_content(image):
                    descriptor = describer.describe(image[None]).descriptors[0]
                    T_true = place_map.map_pose(frame.T_map_camera)
                    rows.append((frame.stamp_ns, descriptor, T_true, frame.T_odom_camera))
                else:
                    counted.add(EMPTY, f"drive {drive.name}")
            except (ImageError, DriveError) as error:
                counted.add(UNREADABLE, str(error))
        if on_progress:
            on_progress(count, len(drive))
    count_without_pose(counted, drive, stamps, missing)
    if tally is not None:
        tally.update(tally_of(drive))
        tally.update(counted)
    if missing == len(stamps):
        raise without_poses(drive, stamps, "so nothing can be calibrated with it: give true poses")
    if not rows:
        raise DriveError(f"no image of drive {drive.name} can be used: {'; '.join(counted.lines())}")
    stamps_ns, descriptors, T_map_camera, T_odom_camera = zip(*rows, strict=True)
    return DescribedDrive(drive.name, np.array(stamps_ns), np.stack(descriptors), np.stack(T_map_camera), T_odom_camera)
