"""Local features of a map's places, with which a later session closes verified loops on it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import FEATURE_COUNT, Extractor


def choose_extractor(name: str, place_map: PlaceMap | None = None, threads: int = 1) -> Extractor | None:
    """The extractor for ``--local-features``: "none", "xfeat", "sift", "orb" or an .onnx file; "": as in the map.

    It keeps as many features as mapping mode. threads: CPU threads of a network; 0: all cores. Raises ConfigError or
    ModelError.
    """
    name = name or (place_map.feature_kind() if place_map is not None else "") or "none"
    return None if name == "none" else open_extractor(name, FEATURE_COUNT, threads)


def check_camera(drives: Iterable[Drive]) -> None:
    """Check, before any work, that drives can give local features.

    Raises DriveError if a drive has no camera intrinsics.
    """
    for drive in drives:
        if any(frame.intrinsics is None for frame in islice(drive, 1)):
            raise _unknown_camera(drive.name)


def check_kind(path: Path, kind: str, other: str) -> None:
    """Raises MapError if a map's local features cannot be matched with those of another kind; "" stands for none."""
    if "" not in (kind, other) and kind != other:
        raise MapError(f"{path} has local features of kind {kind}, which are never matched with those of {other}")


def features_of(
    drive: str, frame: DriveFrame, image_rgb: np.ndarray | None, depth: np.ndarray | None, extractor: Extractor | None
) -> bytes | None:
    """Local features of an image (H, W, 3) with depth (h, w) in metres, as stored in a map; None without extractor."""
    if extractor is None or image_rgb is None:
        return None
    if frame.intrinsics is None:
        raise _unknown_camera(drive)
    return extractor.extract(image_rgb, depth, frame.intrinsics).to_bytes()


def _unknown_camera(drive: str) -> DriveError:
    return DriveError(
        f"drive {drive} has no camera intrinsics, which local features need: give a bag with camera_info, "
        "raw RobotCar images with models_dir or a KITTI sequence with calib.txt, or --local-features none"
    )
