"""Finds what kind of drive a path is, by what lies there."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.drives.drive import Drive
from vpr_ros.drives.options import DriveOptions
from vpr_ros.errors import DriveError

__all__ = ["DriveOptions", "open_drive"]


def open_drive(spec: str | Path, options: DriveOptions = DriveOptions()) -> Drive:  # noqa: B008 (frozen)
    """A bag, an Oxford RobotCar run, a KITTI odometry sequence, or a folder of images with or without poses -> Drive.

    What each kind needs is in the docstrings of BagDrive, RobotCarDrive, KittiDrive, UtmFolderDrive and FolderDrive.
    Raises DriveError, one sentence that names what is missing and what it was for.
    """
    path = Path(spec).expanduser()
    kinds = (
        "a ROS bag, a RobotCar run, a KITTI sequence, or a folder of images (with poses in poses.csv or in @utm names)"
    )
    try:
        drive = _open(path, options)
    except PermissionError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error
    if drive is None:
        problem = "holds nothing a drive is made of" if path.exists() else "does not exist"
        raise DriveError(f"{path} {problem}: give {kinds}")
    return drive


def _open(path: Path, options: DriveOptions) -> Drive | None:
    """The drive, or None where nothing known lies there. Readers are imported as they are needed."""
    if path.suffix in (".bag", ".mcap", ".db3") or (path.is_dir() and _holds_bag(path)):
        from vpr_ros.drives.bag import BagDrive

        return BagDrive(path, options) if path.exists() else None
    if path.is_file():
        from vpr_ros.drives.folder import FolderDrive

        return FolderDrive(path, options) if path.suffix == ".csv" else None
    if not path.is_dir():
        return None
    from vpr_ros.drives import files, folder, kitti, robotcar, utm_folder

    if robotcar.is_robotcar(path):
        return robotcar.RobotCarDrive(path, options)
    if kitti.is_kitti(path):
        return kitti.KittiDrive(path, options)
    if next((p for p in path.rglob("@*") if p.suffix.lower() in files.IMAGE_SUFFIXES), None) is not None:
        return utm_folder.UtmFolderDrive(path, options)
    if files.list_images(path) or list(path.glob("*.csv")):
        return folder.FolderDrive(path, options)
    return None


def _holds_bag(folder: Path) -> bool:
    """Whether a folder is a rosbag2, or holds a bag's files and no more than them."""
    if (folder / "metadata.yaml").is_file():
        return True
    return any(p.suffix in (".bag", ".mcap", ".db3") for p in folder.iterdir())
