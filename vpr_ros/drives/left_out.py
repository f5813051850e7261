"""Sentences about images that a job leaves out, the same for every job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import lies_on_side, looks_up
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span, clocks
from vpr_ros.drives.drive import Drive, pose_span_of, tally_of

UNREADABLE = "image(s) left out: they cannot be read"
EMPTY = "image(s) left out: they show nothing (black, white or covered)"
EMPTY_ANSWERED = "image(s) show nothing (black, white or covered) and are no evidence"
EMPTY_PLACES = "place(s) show nothing (black, white or covered): no image will be found there"
ONE_PLACE = "image(s) left out: all poses of the drive lie closer together than places do"
NO_POSE = "image(s) left out: no pose at their time"
_MOST = 0.9  # of the images
_OPTICAL = (
    "poses, T_base_camera and the images' frame_id must be of the optical frame (x right, y down, z ahead); for poses "
    "of the robot's body give T_base_camera, for images of another frame camera_frame"
)
LOOKS_UP = f"image(s) look straight up: {_OPTICAL}"
ON_SIDE = f"image(s) are of a camera that lies on its side: {_OPTICAL}"
Z_AHEAD = "image(s) look along the world's z axis and move along it: turn the poses so that z is up"


def count_without_pose(tally: Tally, drive: Drive, stamps_ns: Sequence[int], count: int, kind: str = NO_POSE) -> None:
    """Count the images of a drive that have no true pose. stamps_ns: of all its images."""
    if count:
        times = clocks(Span(min(stamps_ns), max(stamps_ns)), pose_span_of(drive))
        tally.add(kind, f"drive {drive.name}" + (f", {times}" if times else ""), count)


def without_poses(drive: Drive, stamps_ns: Sequence[int], needed: str) -> DriveError:
    """The error for a drive of which no image has a true pose.

    stamps_ns: of its images. needed: if the drive has no poses at all, what cannot be done and what to do.
    """
    if not stamps_ns:
        lines = "; ".join(tally_of(drive).lines())
        return DriveError(f"drive {drive.name} has no usable images" + (f": {lines}" if lines else ""))
    times = clocks(Span(min(stamps_ns), max(stamps_ns)), pose_span_of(drive))
    if times:
        return DriveError(f"no image of drive {drive.name} has a pose at its time: {times}")
    lines = "; ".join(tally_of(drive).lines())
    return DriveError(f"drive {drive.name} has no poses, {needed}" + (f" ({lines})" if lines else ""))


def count_turned(tally: Tally, drive: Drive, T_map_camera: Sequence[np.ndarray]) -> None:
    """Count the images of a drive if most are turned as they are by a mistake: a camera rarely looks straight up.

    T_map_camera: (4, 4) of the images with a pose.
    """
    if not len(T_map_camera):
        return
    T = np.stack(T_map_camera)
    up, side = looks_up(T), lies_on_side(T)
    reach = np.ptp(T[:, :3, 3], axis=0)
    if up.mean() > _MOST:
        kind = Z_AHEAD if reach[2] > max(reach[0], reach[1]) / 2 else LOOKS_UP
        tally.add(kind, f"drive {drive.name}", int(up.sum()))
    if side.mean() > _MOST:
        tally.add(ON_SIDE, f"drive {drive.name}", int(side.sum()))
