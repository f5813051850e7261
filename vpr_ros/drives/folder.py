"""Folders of images, with poses from a CSV file or without poses."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.image_files import has_position
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span, in_order, nanoseconds
from vpr_ros.base.track import NO_GAP, Track, camera_on_body, is_trip, planar_poses
from vpr_ros.base.world import LOCAL
from vpr_ros.drives.columns import POSES, QUATERNION, TIMES, with_own_names
from vpr_ros.drives.files import (
    IMAGE_SUFFIXES,
    OTHER_PICTURES,
    VIDEOS,
    Table,
    entries,
    file_frame,
    list_images,
    numbers_of,
    read_head,
    read_table,
    to_images,
)
from vpr_ros.drives.fixes import headings_from_track, usable_fixes
from vpr_ros.drives.formats import Format
from vpr_ros.drives.geodesy import on_grid
from vpr_ros.drives.left_out import NAMED_TWICE
from vpr_ros.drives.options import DriveOptions
from vpr_ros.drives.tum import is_tum, read_tum

_LARGEST_M = 1e9  # of a coordinate
_TUM = frozenset((".tum",))
_POSITIONS = (
    "folder(s) of images whose EXIF data have positions, which are not read: write them to a table, with "
    "`exiftool -csv -n -ext jpg -fileOrder FileName -GPSLatitude -GPSLongitude -GPSAltitude . > poses.csv`"
)
_STAMP = re.compile(r"\d+\.\d+|\d{9,}")  # seconds
# Files of poses, by their names: of COLMAP, OpenSfM, instant-ngp and Mapillary too, and of receivers.
_NAMED_POSES = re.compile(
    r"pose|traj|truth|gps|gnss|odom|position|location|^(images|reconstruction|transforms|mapillary_\w+)\.|"
    r"\.(tum|tsv|nmea|gpx|km[lz]|geojson|srt|pos|ubx|fit|igc|g2o)$",
    re.IGNORECASE,
)


def is_folder(path: Path) -> bool:
    """Whether a path is a CSV file, or a folder that holds images, pictures to be converted or a CSV file."""
    if not path.is_dir():
        return path.is_file() and _is_table(path)
    found = bool(list_images(path)) or any(map(_is_table, entries(path))) or _is_tum_rgbd(path)
    others = bool(_files_of(path, OTHER_PICTURES | VIDEOS))
    return found or (others and not any(inside.is_dir() for inside in entries(path)))


def _files_of(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [path for path in entries(folder) if path.suffix.lower() in suffixes]


class FolderDrive:
    """Images of one folder, with poses from ``poses.csv`` (or the folder's only CSV file) if there is one.

    Columns of the CSV file, by the names in its header:

    - Image: ``file``, relative to the CSV file. Each row is a frame, in order of time if there are times, else of rows.
      Without this column, images are named by their stamps (1700000000123456789.png for stamp_ns, 12.5.png for stamp)
      and poses are interpolated at these times; images with other names are left out.
    - Time: ``stamp_ns`` (whole nanoseconds) or ``stamp`` (seconds). Equal stamps of images are moved apart by 1 ns.
    - Position: ``x, y`` and optionally ``z`` (metres, east north up); or ``lat, lon`` and optionally ``alt`` (WGS84,
      degrees and metres; an empty ``alt`` is that of its neighbours, or 0). ``alt`` is taken for ``z`` and ``z`` for
      ``alt`` where there is no other.
    - Orientation: ``qx, qy, qz, qw`` of the camera's optical frame (x right, y down, z forward); or ``yaw``, radians
      counter-clockwise from east. Optional with lat and lon: without it the camera looks along the track. With lat and
      lon, east is that of the meridian, not of the UTM grid.

    With DriveOptions.T_base_camera, positions and orientations are the robot's, not the camera's. A row with an empty
    cell in these columns, or with latitude and longitude 0, has no pose. A second row for an image is left out if its
    pose is the same.

    Without a CSV file, ``groundtruth.txt`` or the only ``.tum`` file has the poses, in TUM's format (``tum``), and
    images are named by their stamps in seconds, in the folder or, as in TUM's RGB-D sets, in ``rgb``. Without that
    either, images are in order of their names, 1 / frame_rate_hz apart in time, without poses.

    Other names of columns are understood where the table has none of these (``columns``), and units in brackets behind
    them. Columns that are not used are counted.

    Raises DriveError for a missing file, column or image, for two poses of one image and for times in another unit.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        table_path = path if path.is_file() else _table_in(path)
        folder = path.parent if path.is_file() else path
        self.path, self.table = path, table_path
        self.name = path.stem if path.is_file() else path.name
        self.world = ""
        self.tally = Tally()
        self.pose_span: Span | None = None
        self._T: list[np.ndarray | None]
        images = folder / "rgb" if _is_tum_rgbd(folder) else folder
        trajectory = None if table_path else _trajectory_in(folder, list_images(images))
        if table_path is not None:
            self._read_table(table_path, folder, options)
        elif trajectory is not None:
            self._read_trajectory(trajectory, images, options)
        else:
            self._images = list_images(images)
            self._stamps = [round(i * 1e9 / options.frame_rate_hz) for i in range(len(self._images))]
            self._T = [None] * len(self._images)
            self._count_other_tables(folder)
            if self._images and has_position(read_head(self._images[0])):
                self.tally.add_files(_POSITIONS, self._images[:1])
        self.tally.add_files("file(s) left out: convert them to JPEG or PNG", _files_of(images, OTHER_PICTURES))
        if videos := _files_of(images, VIDEOS):
            self.tally.add_files(f"video(s) left out: {to_images(videos[0])}", videos)
        if not self._images:
            raise DriveError("; ".join([f"there are no images in {images}", *self.tally.lines()]))
        self.numbers = numbers_of(self._images)

    def _read_table(self, path: Path, folder: Path, options: DriveOptions) -> None:
        table = with_own_names(read_table(path), self.tally)
        if "file" in table.columns:
            cells = [_as_on_disk(path.parent, cell) for cell in table.text("file", "the images")]
            table = _one_row_each(replace(table, columns=table.columns | {"file": cells}), self.tally)
        stamps = _stamps(table)
        poses, self.world = _poses(table, stamps, options, self.tally)
        by_file = "file" in table.columns  # so that no pose is interpolated
        track = None
        if stamps is not None:
            known = [(stamp, T) for stamp, T in zip(stamps.tolist(), poses, strict=True) if T is not None]
            gap_ns, tally = (NO_GAP, None) if by_file else (options.max_pose_gap_ns, self.tally)
            track = Track.of([stamp for stamp, _ in known], [T for _, T in known], gap_ns, tally, path.name)
        self.pose_span = None if track is None or not len(track.stamps_ns) else track.span
        if by_file:
            self._images, self._stamps, self._T = _by_file(table, poses, stamps, options, self.tally)
            named = {os.path.realpath(image) for image in self._images}
            folders = sorted({folder, *(image.parent for image in self._images)})
            images = [image for among in folders for image in list_images(among)]
            others = [image for image in images if os.path.realpath(image) not in named]
            self.tally.add_files("image(s) left out: no row names them", others)
        else:
            self._images, self._stamps, self._T = _by_stamp(table, track, folder, self.tally)

    def _read_trajectory(self, path: Path, images: Path, options: DriveOptions) -> None:
        track = read_tum(path, options.max_pose_gap_ns, self.tally)
        if options.mount is not None:
            track = track.compose(options.mount)
        self.table, self.world, self.pose_span = path, LOCAL, track.span
        self._images, self._stamps, self._T = _named_by_stamp(images, "seconds", track, path, self.tally)

    def _count_other_tables(self, folder: Path) -> None:
        """Files that look like poses and are not read, each with its reason."""
        kinds: dict[str, list[Path]] = {}
        for path in _other_tables(folder):
            reason = "poses are read from a .csv or .tum file"
            if path.name == "groundtruth.txt" or path.suffix.lower() == ".tum":
                reason = "they have no lines of stamp x y z qx qy qz qw"
                if is_tum(path):
                    reason = "the images' names are no stamps in seconds, such as 1700000000.5.png"
                    several = path.suffix.lower() == ".tum" and len(_files_of(folder, _TUM)) > 1
                    reason = "there are several .tum files, keep one" if several else reason
            kinds.setdefault(f"file(s) left out: {reason}", []).append(path)
        for kind, paths in kinds.items():
            self.tally.add_files(kind, paths)

    @property
    def is_trip(self) -> bool:
        """Whether the images come in the order of a trip."""
        return is_trip(np.array([T[:3, 3] for T in self._T if T is not None]).reshape(-1, 3))

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for path, stamp, T in zip(self._images, self._stamps, self._T, strict=True):
            yield file_frame(stamp, path, T)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _is_tum_rgbd(path: Path) -> bool:
    return (path / "groundtruth.txt").is_file() and bool(list_images(path / "rgb"))


def _trajectory_in(folder: Path, images: list[Path]) -> Path | None:
    """The file of poses in TUM's format in a folder, or None: without one, and if images are not named by stamps."""
    files = _files_of(folder, _TUM)
    files = [
        path for path in (folder / "groundtruth.txt", *files[: len(files) == 1]) if path.is_file() and is_tum(path)
    ]
    return (
        files[0] if files and any(_STAMP.fullmatch(image.stem) for image in images) and not numbers_of(images) else None
    )


def _other_tables(folder: Path) -> list[Path]:
    """Files in a folder whose names say that they have poses, in other formats."""
    named = [path for path in entries(folder) if _NAMED_POSES.search(path.name) and path.is_file()]
    pictures = IMAGE_SUFFIXES | OTHER_PICTURES | VIDEOS
    return [path for path in named if path.suffix.lower() not in pictures]


def _table_in(folder: Path) -> Path | None:
    """The CSV file of poses in a folder, or None."""
    tables = list(filter(_is_table, entries(folder)))
    if folder / "poses.csv" in tables:
        return folder / "poses.csv"
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables)
        raise DriveError(f"{folder} has several CSV files ({names}): name the one with the poses poses.csv")
    return tables[0] if tables else None


def _as_on_disk(folder: Path, name: str) -> str:
    """The name of a file that a table names with Windows' separators, or its letters in another form of Unicode."""
    names = (name, name.replace("\\", "/"), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    return next((one for one in names if (folder / one).is_file()), name)


def _one_row_each(table: Table, tally: Tally) -> Table:
    """The table with the first row of each image. Raises DriveError if another row has a different pose."""
    columns = [name for name in POSES if name in table.columns]
    first: dict[str, int] = {}
    unnamed = 0
    for row, cell in enumerate(table.columns["file"]):
        if not cell:
            unnamed += 1
            continue
        kept = first.setdefault(os.path.normpath(table.path.parent / cell), row)
        for name in columns:
            one, other = table.columns[name][kept], table.columns[name][row]
            if one != other:
                raise DriveError(
                    f"{table.path} has two poses of {cell}, with {name} {one} and {other}: keep one row for each image"
                )
        if kept != row:
            tally.add(NAMED_TWICE, f"{table.path}: {cell}")
    tally.add("row(s) left out: they name no image", str(table.path), unnamed)
    columns_kept = {name: [cells[row] for row in first.values()] for name, cells in table.columns.items()}
    return replace(table, columns=columns_kept)


def _stamps(table: Table) -> np.ndarray | None:
    """(N,) int64 nanoseconds of the rows, or None without times."""
    column = next((name for name in TIMES if name in table.columns), None)
    return None if column is None else table.stamps_ns(column, TIMES[column], "times")


def _poses(
    table: Table, stamps: np.ndarray | None, options: DriveOptions, tally: Tally
) -> tuple[list[np.ndarray | None], str]:
    """T_map_camera of each row, None if a cell is empty, and the name of their world. stamps: of the rows, if given."""
    if "lat" in table.columns:
        positions, order, world = _of_receiver(table, stamps, options.world, tally)
    else:
        positions, order, world = _of_metres(table), np.arange(0), LOCAL
    camera = camera_on_body(options.mount)
    if "qx" in table.columns or ("yaw" not in table.columns and world == LOCAL):
        what = "orientations (or give yaw)"
        poses = _on_grid(table.poses(positions, table.numbers(QUATERNION, what)), world)
        # With a mount the quaternions are the robot's, without one the camera's own.
        camera = np.eye(4) if options.mount is None else options.mount
        return [None if T is None else T @ camera for T in poses], world
    known = np.isfinite(positions).all(axis=1)
    yaw = np.full(len(table), np.nan)
    if "yaw" in table.columns:
        yaw = table.radians(("yaw",), "poses")[:, 0]
        tally.add("row(s) without yaw have no pose", str(table.path), int((known & ~np.isfinite(yaw)).sum()))
        known &= np.isfinite(yaw)
    else:
        course = headings_from_track(positions[order])
        if course is None:
            no_heading = f"{table.path} has no column 'yaw', and its positions do not move to give a heading"
            raise DriveError("; ".join([no_heading, *tally.lines()]))
        yaw[order] = course
    poses = [T if ok else None for T, ok in zip(planar_poses(positions, yaw), known, strict=True)]
    if "yaw" in table.columns:  # else it is of the track, on the grid
        poses = _on_grid(poses, world)
    return [None if T is None else T @ camera for T in poses], world


def _on_grid(poses: list[np.ndarray | None], world: str) -> list[np.ndarray | None]:
    """Poses turned to the grid of their world, see ``geodesy.on_grid``."""
    known = [T for T in poses if T is not None]
    turned = iter(on_grid(np.array(known).reshape(-1, 4, 4), world))
    return [None if T is None else next(turned) for T in poses]


def _of_metres(table: Table) -> np.ndarray:
    """(N, 3) positions of the rows, NaN for an empty cell."""
    z = ("z",) if "z" in table.columns else ()
    purpose = "positions (or give lat and lon; if the file holds something else, move it out of the folder)"
    positions = table.numbers(("x", "y", *z), purpose)
    if (large := np.flatnonzero((np.abs(positions) > _LARGEST_M).any(axis=1))).size:
        raise DriveError(f"{table.path} has positions that cannot be metres, the first: {positions[large[0]]}")
    return positions if z else np.column_stack([positions, np.zeros(len(table))])


def _of_receiver(
    table: Table, stamps: np.ndarray | None, world: str, tally: Tally
) -> tuple[np.ndarray, np.ndarray, str]:
    """(N, 3) metres of the rows, NaN for one without a position, the rows with one in order of time, and the world."""
    degrees = table.numbers(("lat", "lon"), "positions")
    altitude = table.numbers(("alt",), "positions")[:, 0] if "alt" in table.columns else np.zeros(len(table))
    given = np.flatnonzero(np.isfinite(degrees).all(axis=1))  # an empty cell means no pose; it is not an error
    if not len(given):
        raise DriveError(f"{table.path} has no row with lat and lon: fill them in, or give x and y")
    times = None if stamps is None else stamps[given]
    once = not {"file", "yaw", "qx"}.intersection(table.columns)  # the track gives headings to interpolate
    rows, known, world = usable_fixes(degrees[given], altitude[given], times, tally, str(table.path), world, once=once)
    positions = np.full((len(table), 3), np.nan)
    positions[given[rows]] = known
    return positions, given[rows], world


_Frames = tuple[list[Path], list[int], list["np.ndarray | None"]]


def _by_file(
    table: Table, poses: list[np.ndarray | None], stamps: np.ndarray | None, options: DriveOptions, tally: Tally
) -> _Frames:
    """Images, stamps and poses of a table with a column for the image."""
    images = [table.path.parent / cell for cell in table.columns["file"]]
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise DriveError(
            f"{len(missing)} image(s) that {table.path} names are missing, the first: {missing[0]}; copy them there "
            "or remove their rows"
        )
    if stamps is None:
        return images, [round(i * 1e9 / options.frame_rate_hz) for i in range(len(images))], poses
    rows, moved = in_order(stamps, tally, table.path.name)
    return [images[row] for row in rows], moved, [poses[row] for row in rows]


def _by_stamp(table: Table, track: Track | None, folder: Path, tally: Tally) -> _Frames:
    """Images named by their stamps, with interpolated poses."""
    if track is None:
        table.text("file", "matching rows to images (or give stamp or stamp_ns)")
        return [], [], []
    unit = next(TIMES[name] for name in TIMES if name in table.columns)
    return _named_by_stamp(folder, unit, track, table.path, tally)


def _named_by_stamp(folder: Path, unit: str, track: Track, path: Path, tally: Tally) -> _Frames:
    """Images named by their stamps, with poses of the track in a file, interpolated."""
    stamps: list[int] = []
    stamped: list[Path] = []
    problem: DriveError | None = None
    others = []
    for image in list_images(folder):
        try:
            stamps.append(nanoseconds(image.stem, unit, str(image)))
            stamped.append(image)
        except DriveError as error:
            problem = problem or error
            others.append(image)
    if problem is not None and not stamped:
        no_names = "names no images" if path.suffix.lower() != ".csv" else "has no column 'file'"
        raise DriveError(f"{others[0]} is not named by its stamp, and {path} {no_names}: {problem}")
    tally.add_files("image(s) left out: their names are not stamps", others)
    rows, moved = in_order(stamps, tally, folder.name)
    return [stamped[row] for row in rows], moved, [track.at(stamps[row]) for row in rows]


FORMAT = Format(
    "a folder of images (with poses in poses.csv or a .tum file, or without)",
    is_folder,
    FolderDrive,
    takes=("frame_rate_hz", "max_pose_gap_s", "T_base_camera"),
)
