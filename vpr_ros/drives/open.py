"""Finds what kind of drive a path is, by what lies there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vpr_ros.base.errors import DriveError
from vpr_ros.base.world import canonical_world, utm_of
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.names import tell_apart
from vpr_ros.drives.options import DriveOptions

__all__ = ["DriveOptions", "open_drive", "open_drives"]

logger = logging.getLogger(__name__)

_BAG_SUFFIXES = (".bag", ".mcap", ".db3")


def open_drive(spec: str | Path, options: DriveOptions = DriveOptions()) -> Drive:  # noqa: B008 (frozen)
    """A bag, an Oxford RobotCar run, a KITTI or EuRoC sequence, or a folder of images with or without poses -> Drive.

    What each kind needs is in the docstrings of BagDrive, RobotCarDrive, KittiDrive, EurocDrive, UtmFolderDrive and
    FolderDrive.
    Raises DriveError, one sentence that names what is missing and what it was for.
    """
    path = Path(spec).expanduser()
    if path.name in ("", ".."):  # a drive is called as its folder is
        path = path.resolve()
    kinds = (
        "a ROS bag, a RobotCar run, a KITTI or EuRoC sequence, or a folder of images (with poses in poses.csv or in "
        "@utm names)"
    )
    try:
        drive = _open(path, options)
    except PermissionError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error
    if drive is None:
        problem = "holds nothing a drive is made of" if path.exists() else "does not exist"
        raise DriveError(f"{path} {problem}: give {kinds}")
    drive.name = options.name or drive.name
    return _in_world(drive, options.world)


def _in_world(drive: Drive, wanted: str) -> Drive:
    """The drive in the world that is asked for: another UTM zone, or a name of one's own for the frame it has."""
    drive.world = world = canonical_world(drive.world)
    if not wanted or not world or wanted == world:  # without poses, it lies in no world
        return drive
    if utm_of(world) and utm_of(wanted):
        from vpr_ros.drives.geodesy import zone_change
        from vpr_ros.drives.views import MovedDrive

        drive = MovedDrive(drive, zone_change(world, wanted))
    drive.world = wanted
    return drive


def open_drives(specs: Sequence[str | Path], options: DriveOptions = DriveOptions()) -> list[Drive]:  # noqa: B008
    """Several drives, each with a name of its own: of two called "images", the parent folders are in the names too.

    Raises DriveError as ``open_drive`` does, for one that is given twice, and for one name for several.
    """
    if options.name and len(specs) > 1:
        raise DriveError(
            f"{len(specs)} drives cannot all be called {options.name!r}: give name for one drive at a time"
        )
    if options.world and not utm_of(options.world):
        drives = [open_drive(spec, replace(options, world="")) for spec in specs]
        _check_one_zone(drives, options.world)
        drives = [_in_world(drive, options.world) for drive in drives]
    else:
        drives = [open_drive(spec, options) for spec in specs]
    tell_apart(drives)
    return drives


def _check_one_zone(drives: Sequence[Drive], name: str) -> None:
    """Raises DriveError if drives that are to share a world of this name have coordinates of several UTM zones."""
    zones = sorted({drive.world for drive in drives if utm_of(drive.world)})
    if len(zones) > 1:
        raise DriveError(
            f"the drives lie in {' and '.join(zones)}, so their coordinates are not of one frame called '{name}': give "
            f"world as one of these zones, and all are read in it"
        )


def _open(path: Path, options: DriveOptions) -> Drive | None:
    """The drive, or None where nothing known lies there. Readers are imported as they are needed."""
    if path.suffix in _BAG_SUFFIXES or (path.is_dir() and _holds_bag(path)):
        from vpr_ros.drives.bag import BagDrive

        return BagDrive(path, options) if path.exists() else None
    if path.is_file():
        from vpr_ros.drives.folder import FolderDrive

        return FolderDrive(path, options) if path.suffix == ".csv" else None
    if not path.is_dir():
        return None
    from vpr_ros.drives import euroc, files, folder, kitti, robotcar, utm_folder

    if robotcar.is_robotcar(path):
        return robotcar.RobotCarDrive(path, options)
    if kitti.is_kitti(path):
        return kitti.KittiDrive(path, options)
    if euroc.is_euroc(path):
        return euroc.EurocDrive(path, options)
    if next((p for p in path.rglob("@*") if p.suffix.lower() in files.IMAGE_SUFFIXES), None) is not None:
        return utm_folder.UtmFolderDrive(path, options)
    if files.list_images(path) or list(path.glob("*.csv")):
        return folder.FolderDrive(path, options)
    return None


def _holds_bag(folder: Path) -> bool:
    """Whether a folder is a rosbag2, or holds bag files and no images."""
    from vpr_ros.drives.files import list_images

    bags = sorted(p for p in folder.iterdir() if p.suffix in _BAG_SUFFIXES)
    if _is_rosbag2(folder / "metadata.yaml"):
        return True
    images = list_images(folder) if bags else []
    if images:
        logger.warning("%s holds %d images and %s: the images are read", folder, len(images), bags[0].name)
    return bool(bags) and not images


def _is_rosbag2(metadata: Path) -> bool:
    """Whether a metadata.yaml is a rosbag2's; image folders have files of that name too."""
    try:
        return "rosbag2_bagfile_information" in metadata.read_text(errors="replace")
    except OSError:
        return False
