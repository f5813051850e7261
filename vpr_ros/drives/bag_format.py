"""Recognising ROS bags without importing what reads them."""

from __future__ import annotations

import logging
from pathlib import Path
from shlex import quote

from vpr_ros.base.errors import DriveError
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.files import BAG_SUFFIXES, entries, list_images
from vpr_ros.drives.formats import Format
from vpr_ros.drives.options import DriveOptions

logger = logging.getLogger(__name__)

_ACTIVE = ".active"  # ends the name of a ROS 1 bag while it is recorded
_UNPACK = {".zstd": "zstd -d", ".zst": "zstd -d", ".gz": "gzip -d", ".bz2": "bzip2 -d", ".lz4": "lz4 -d"}


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, a rosbag2 folder, or a folder that holds bag files and no images."""
    if path.suffix in BAG_SUFFIXES or _is_packed(path):
        return True
    if not path.is_dir():
        return False
    if _is_rosbag2(path / "metadata.yaml"):
        return True
    bags = [p for p in entries(path) if p.suffix in BAG_SUFFIXES]
    images = list_images(path) if bags else []
    if images:
        logger.warning("%s holds %d images and %s: the images are read", path, len(images), bags[0].name)
    return (bool(bags) or any(map(_is_packed, entries(path)))) and not images


def _is_packed(path: Path) -> bool:
    """Whether a file is a bag in a form that is not read: compressed as a whole, or of a recording not ended."""
    return path.suffix in (*_UNPACK, _ACTIVE) and path.with_suffix("").suffix in BAG_SUFFIXES


def _is_rosbag2(metadata: Path) -> bool:
    """Whether a metadata.yaml is a rosbag2's; image folders have files of that name too."""
    try:
        return "rosbag2_bagfile_information" in metadata.read_text(errors="replace")
    except OSError:
        return False


def _open(path: Path, options: DriveOptions) -> Drive:
    from vpr_ros.drives.bag import BagDrive

    packed = [path] if path.is_file() else entries(path)
    packed = [] if (path / "metadata.yaml").is_file() else list(filter(_is_packed, packed))
    if packed:
        raise DriveError(_how_to_unpack(packed[0]))
    return BagDrive(path, options)


def _how_to_unpack(file: Path) -> str:
    name = quote(str(file))
    if file.suffix == _ACTIVE:
        return (
            f"{file} is a bag whose recording was cut off: end its name with .bag and run `rosbag reindex` on it, or, "
            "if it is still being recorded, wait for its end"
        )
    unpack = f"`{_UNPACK[file.suffix]} {name}`"
    if file.suffix == ".zstd":  # of ros2 bag record
        return (
            f"{file} is a compressed bag, which is read with the metadata.yaml of its folder only: give that folder, "
            f"or unpack the file with {unpack}"
        )
    return f"{file} is a compressed bag: unpack it with {unpack}"


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
