"""Opening drives: the format of each is recognised by its files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from vpr_ros.base.config import from_texts
from vpr_ros.base.errors import DriveError, brief, check_path
from vpr_ros.base.world import canonical_world, utm_of
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.files import entries, how_to_open, read_head
from vpr_ros.drives.formats import Format, all_formats
from vpr_ros.drives.names import tell_apart
from vpr_ros.drives.options import DriveOptions

__all__ = ["DriveOptions", "open_drive", "open_drives"]

OPTION = "--drive-option"  # where a user sets the options, for errors

_LAYOUTS = "robotcar", "kitti", "euroc"  # formats whose images lie in folders of a recording

logger = logging.getLogger(__name__)


def open_drive(spec: str | Path, options: DriveOptions | Mapping[str, object] = DriveOptions()) -> Drive:  # noqa: B008
    """Open a recording of any format, those that other packages register included (see ``formats``).

    What a format needs is in the docstring of its class: BagDrive, RobotCarDrive, KittiDrive, EurocDrive,
    UtmFolderDrive, FolderDrive.
    options: DriveOptions, or names with values; a value that is text is read as on the command line.
    Raises DriveError, which names what is missing and its purpose; ConfigError for an unknown option or a wrong value.
    """
    found = _find(spec, options)
    _check_used([found], options)
    cameras = _cameras(found)
    if len(cameras) > 1:
        raise DriveError(f"{spec}: {len(cameras)} cameras are as many drives, and one drive is wanted: name one camera")
    return cameras[0].open()


@dataclass(frozen=True)
class _Recording:
    path: Path
    format: Format
    options: DriveOptions
    camera: str = ""  # one of several; empty: the only one
    first: bool = True  # of the cameras

    def open(self, world: str | None = None) -> Drive:
        """The drive, named and in the world of its options. world: instead of theirs."""
        options = self.options if world is None else replace(self.options, world=world)
        with _readable(self.path):
            drive = self._opened(options)
            if not drive.world and (whole := _part_of(self.path)):
                logger.warning("%s has no poses, and is a part of %s: give that", self.path, whole)
        drive.name = options.name or drive.name
        return _in_world(drive, options.world)

    def _opened(self, options: DriveOptions) -> Drive:
        if not self.format.package:
            return self.format.open(self.path, options)
        from vpr_ros.drives.guard import GuardedDrive, guarding

        with guarding(self.format.package, self.path):
            return GuardedDrive(self.format.open(self.path, options), self.format.package, self.path)


def _cameras(recording: _Recording) -> list[_Recording]:
    """The recording once for each of its cameras that the options name."""
    options = recording.options
    field = "image_topic" if "," in options.image_topic else "camera"
    given = getattr(options, field)
    names = [name.strip() for name in given.split(",") if name.strip()]
    one_each = [replace(recording, options=replace(options, **{field: name})) for name in names or [""]]
    if len(names) < 2:
        return one_each if "," in given else [recording]
    if options.T_base_camera is not None or options.camera_frame:
        raise DriveError(
            f"T_base_camera and camera_frame are of one camera, not of {', '.join(names)}: open one at a time"
        )
    return [replace(one, camera=name, first=name == names[0]) for one, name in zip(one_each, names, strict=True)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error


def _find(spec: str | Path, options: DriveOptions | Mapping[str, object]) -> _Recording:
    """Recognise the format of what lies at a path, and read the options that it has."""
    check_path(spec, "a drive")
    path = Path(spec).expanduser()
    if path.name in ("", ".."):  # a drive has the name of its folder
        path = path.resolve()
    formats = all_formats()
    with _readable(path):
        exists = path.exists()
        found = next((f for name, f in formats.items() if _recognises(name, f, path)), None) if exists else None
    if found is None:
        *first, last = (f.description for f in formats.values())
        problem = "is not a drive of a known format" if exists else "does not exist"
        with _readable(path):
            inside = _drive_in(path, formats) if exists else None
        if advice := how_to_open(path) if exists and path.is_file() else "":
            raise DriveError(f"{path} {problem}: {advice}")
        if inside:
            raise DriveError(f"{path} {problem}: give a folder in it that is one, such as {inside}")
        raise DriveError(f"{path} {problem}: give {', '.join(first)} or {last}")
    return _Recording(path, found, _options_of(found, options))


def _drive_in(path: Path, formats: Mapping[str, Format]) -> Path | None:
    """The first folder in a folder that is a drive."""
    folders = [one for one in entries(path) if one.is_dir()] if path.is_dir() else []
    return next((one for one in folders if any(_recognises(*named, one) for named in formats.items())), None)


def _part_of(path: Path) -> Path | None:
    """The recording that a folder of images lies in, by its layout or its poses.csv, or None."""
    formats = all_formats()
    whole = [formats[name] for name in _LAYOUTS]
    if path.is_file() or any(format.recognises(path) for format in whole):
        return None
    path = path.absolute()
    layout = (one for one in path.parents[:2] if any(format.recognises(one) for format in whole))
    return next(layout, None) or next((one for one in path.parents[:2] if _places(one, path)), None)


def _places(folder: Path, images: Path) -> bool:
    """Whether a folder's poses.csv has the poses of the images of a folder inside."""
    inside = images.relative_to(folder).as_posix()
    head = read_head(folder / "poses.csv")
    return f"{inside}/".encode() in head or (inside == "images" and bool(head))


def _check_used(recordings: Sequence[_Recording], options: DriveOptions | Mapping[str, object]) -> None:
    """Raises DriveError if none of the recordings' formats uses an option that a user gives."""
    if isinstance(options, DriveOptions) or not recordings or not all(one.format.takes for one in recordings):
        return
    taken = {"name", "world"}.union(*(one.format.takes for one in recordings))
    if unused := [name for name in options if name not in taken]:
        kinds = " or ".join(dict.fromkeys(one.format.description for one in recordings))
        raise DriveError(f"{unused[0]} is of no use for {kinds}: leave {' and '.join(unused)} out")


def _recognises(name: str, format: Format, path: Path) -> bool:
    """Whether a path is of this format. A format of another package that fails is left out with a warning."""
    try:
        return format.recognises(path)
    except PermissionError:
        raise
    except Exception as error:
        logger.warning("drive format '%s' is left out: it failed on %s (%s)", name, path, brief(error))
        return False


def _options_of(format: Format, options: DriveOptions | Mapping[str, object]) -> DriveOptions:
    """Options of the class that the format wants."""
    if not isinstance(options, DriveOptions):
        return from_texts(format.options, options, OPTION)
    if isinstance(options, format.options):
        return options
    shared = {field.name for field in fields(format.options)} & {field.name for field in fields(options)}
    return format.options(**{name: getattr(options, name) for name in shared})


def _in_world(drive: Drive, wanted: str) -> Drive:
    """The drive in the wanted world: converted to another UTM zone, or with a new name for its own frame."""
    drive.world = world = canonical_world(drive.world)
    if not wanted or not world or wanted == world:  # without poses there is no world
        return drive
    if utm_of(world) and utm_of(wanted):
        from vpr_ros.drives.geodesy import zone_change
        from vpr_ros.drives.views import MovedDrive

        drive = MovedDrive(drive, zone_change(world, wanted))
    elif utm_of(wanted):
        from vpr_ros.drives.geodesy import warn_unless_utm

        first = next((frame.T_map_camera for frame in drive if frame.T_map_camera is not None), None)
        if first is not None:
            warn_unless_utm(drive.name, first[:3, 3], wanted)
    drive.world = wanted
    return drive


def open_drives(
    specs: Sequence[str | Path],
    options: DriveOptions | Mapping[str, object] = DriveOptions(),  # noqa: B008 (frozen)
) -> list[Drive]:
    """Open several drives, each with a unique name: of two called "images", the names get their parent folders.

    Several cameras of a recording (image_topic or camera, with commas) become a drive each, with its name added.

    Raises DriveError and ConfigError as ``open_drive`` does, DriveError if a drive is given twice or several drives
    would get one name.
    """
    found = [_find(spec, options) for spec in specs]
    _check_used(found, options)
    recordings = [recording for one in found for recording in _cameras(one)]
    if not recordings:
        return []
    name, world = recordings[0].options.name, recordings[0].options.world
    if name and len(specs) > 1:
        raise DriveError(f"{len(specs)} drives cannot all be called {name!r}: give name for one drive at a time")
    if world and not utm_of(world):
        drives = [recording.open(world="") for recording in recordings]
        _check_one_zone(drives, world)
        drives = [_in_world(drive, world) for drive in drives]
    else:
        drives = [recording.open() for recording in recordings]
    of_recordings = [drive for drive, recording in zip(drives, recordings, strict=True) if recording.first]
    tell_apart(of_recordings)
    names = iter(of_recordings)
    for drive, recording in zip(drives, recordings, strict=True):
        if recording.first:
            name = next(names).name
        if recording.camera:
            drive.name = f"{name}/{recording.camera.strip('/')}"
    return drives


def _check_one_zone(drives: Sequence[Drive], name: str) -> None:
    """Raises DriveError if drives that shall share a world of this name are in several UTM zones."""
    zones = sorted({drive.world for drive in drives if utm_of(drive.world)})
    if len(zones) > 1:
        raise DriveError(
            f"the drives lie in {' and '.join(zones)}, so they cannot share a world '{name}': set world to "
            "one of these zones to convert all of them to it"
        )
