"""Recognising ROS bags without importing what reads them."""

from __future__ import annotations

import logging
from pathlib import Path

from vpr_ros.base.errors import DriveError
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.files import BAG_SUFFIXES, list_images
from vpr_ros.drives.formats import Format
from vpr_ros.drives.options import DriveOptions

logger = logging.getLogger(__name__)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, a rosbag2 folder, or a folder that holds bag files and no images."""
    if path.suffix in BAG_SUFFIXES or _is_compressed(path):
        return True
    if not path.is_dir():
        return False
    if _is_rosbag2(path / "metadata.yaml"):
        return True
    bags = sorted(p for p in path.iterdir() if p.suffix in BAG_SUFFIXES)
    images = list_images(path) if bags else []
    if images:
        logger.warning("%s holds %d images and %s: the images are read", path, len(images), bags[0].name)
    return (bool(bags) or any(map(_is_compressed, path.iterdir()))) and not images


def _is_compressed(path: Path) -> bool:
    return path.suffix == ".zstd" and path.with_suffix("").suffix in BAG_SUFFIXES


def _is_rosbag2(metadata: Path) -> bool:
    """Whether a metadata.yaml is a rosbag2's; image folders have files of that name too."""
    try:
        return "rosbag2_bagfile_information" in metadata.read_text(errors="replace")
    except OSError:
        return False


def _open(path: Path, options: DriveOptions) -> Drive:
    from vpr_ros.drives.bag import BagDrive

    packed = [path] if path.is_file() else sorted(path.iterdir())
    packed = [] if (path / "metadata.yaml").is_file() else list(filter(_is_compressed, packed))
    if packed:
        raise DriveError(
            f"{packed[0]} is a compressed bag, which is read with the metadata.yaml of its folder only: give that "
            f"folder, or unpack the file with `zstd -d {packed[0]}`"
        )
    return BagDrive(path, options)


FORMAT = Format(
    "a ROS bag",
    is_bag,
    _open,
    takes=(
        "image_topic",
        "pose_topic",
        "odom_topic",
        "navsat_topic",
        "map_frame",
        "odom_frame",
        "base_frame",
        "camera_frame",
        "max_pose_gap_s",
        "T_base_camera",
    ),
)
