"""Poses as a mistake makes them: of another frame, in a world that is not upright, or turned against the track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.base.geometry import heading, is_upside_down, lies_on_side, looks_up
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.fixes import headings_from_track

_MOST = 0.9  # of the images
_OPTICAL = (
    "poses, T_base_camera and the images' frame_id must be of the optical frame (x right, y down, z ahead); for poses "
    "of the robot's body give T_base_camera, for images of another frame camera_frame"
)
LOOKS_UP = f"image(s) look straight up; if the camera is not mounted so, {_OPTICAL}"
ON_SIDE = f"image(s) are of a camera that lies on its side; if it is not mounted so, {_OPTICAL}"
Z_AHEAD = "image(s) look along the world's z axis and move along it: turn the poses so that z is up"
UPSIDE_DOWN = (
    "image(s) are of a camera that is upside down; if it is not mounted so, the world's z axis is down (NED): turn the "
    "poses"
)
AGAINST_TRACK = (
    "image(s) turn right where their track turns left: yaw must be counter-clockwise from east, and not a compass's, "
    "and latitude and longitude, or x and y, must not be swapped"
)
_AGREE, _DIFFER = 0.9, 0.5  # lengths of the mean of unit vectors: all alike, and all but alike


def count_doubtful(tally: Tally, drive: Drive, T_map_camera: Sequence[np.ndarray]) -> None:
    """Count the images of a drive whose poses are as a mistake makes them, if most are. Few cameras are mounted so.

    T_map_camera: (4, 4) of the images with a pose, in order.
    """
    if not len(T_map_camera):
        return
    T = np.stack(T_map_camera)
    reach = np.ptp(T[:, :3, 3], axis=0)
    up = Z_AHEAD if reach[2] > max(reach[0], reach[1]) / 2 else LOOKS_UP
    for kind, doubtful in ((up, looks_up(T)), (ON_SIDE, lies_on_side(T)), (UPSIDE_DOWN, is_upside_down(T))):
        if doubtful.mean() > _MOST:
            tally.add(kind, f"drive {drive.name}", int(doubtful.sum()))
    if _turns_against_track(T):
        tally.add(AGAINST_TRACK, f"drive {drive.name}", len(T))


def _turns_against_track(T_map_camera: np.ndarray) -> bool:
    """Whether the camera's heading (N,) mirrors the course over ground, on a track that turns enough to tell."""
    course = headings_from_track(T_map_camera[:, :3, 3])
    if course is None:
        return False
    yaw = heading(T_map_camera)
    fixed, mirrored = (abs(np.mean(np.exp(1j * angle))) for angle in (yaw - course, yaw + course))
    return bool(mirrored > _AGREE and fixed < _DIFFER)
