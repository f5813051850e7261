"""Folders of images for tests of drives."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base.records import DriveFrame


def images(folder: Path, names: list[str]) -> Path:
    """Pictures of 32 x 24 pixels whose red value is ten times their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.full((24, 32, 3), (0, 0, 10 * number), np.uint8))
    return folder


def red(frame: DriveFrame) -> int:
    """The red value of a frame of ``images``."""
    return int(frame.read()[0, 0, 0])


def poses(drive: Iterable[DriveFrame]) -> np.ndarray:
    """T_map_camera (N, 4, 4) of all frames."""
    return np.array([frame.T_map_camera for frame in drive])
