"""Local features of a map's places: with them a later session closes verified loops on a map built offline."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError, MapError, ModelError
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive
from vpr_ros.inference.describer import Describer
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import FEATURE_COUNT, Extractor


def choose_extractor(name: str, place_map: PlaceMap | None = None) -> Extractor | None:
    """What ``--local-features`` names: "none", "xfeat", "sift", "orb", an .onnx file; "" goes on as the map does.

    Features are as many as mapping mode keeps. Raises ConfigError or ModelError.
    """
    name = name or (place_map.feature_kind() if place_map is not None else "") or "none"
    return None if name == "none" else open_extractor(name, FEATURE_COUNT)


def check_camera(drives: Iterable[Drive], describer: Describer) -> None:
    """Whether local features can be made of drives, before any work.

    Raises DriveError where one does not know its camera, ModelError where the model sees no depth.
    """
    if not describer.manifest.depth:
        raise ModelError(
            f"model {describer.manifest.name} sees no depth, which local features need: take one that does, or give "
            "--local-features none"
        )
    for drive in drives:
        if any(frame.intrinsics is None for frame in islice(drive, 1)):
            raise _unknown_camera(drive.name)


def check_kind(path: Path, kind: str, other: str) -> None:
    """Raises MapError where a map's local features could not be matched with further ones; "" is none."""
    if "" not in (kind, other) and kind != other:
        raise MapError(f"{path} holds local features of {kind}, which are never matched with those of {other}")


def features_of(
    drive: str, frame: DriveFrame, image_rgb: np.ndarray | None, depth: np.ndarray | None, extractor: Extractor | None
) -> bytes | None:
    """What a map keeps of an image (H, W, 3) with depth (h, w) in metres; None where nothing extracts."""
    if extractor is None or image_rgb is None:
        return None
    if frame.intrinsics is None:
        raise _unknown_camera(drive)
    return extractor.extract(image_rgb, depth, frame.intrinsics).to_bytes()


def _unknown_camera(drive: str) -> DriveError:
    return DriveError(
        f"drive {drive} does not know its camera's intrinsics, which local features need: give a bag with camera_info, "
        "raw RobotCar images with models_dir or a KITTI sequence with calib.txt, or --local-features none"
    )
