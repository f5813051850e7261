"""A folder of images as a drive, with poses from a CSV file or with none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_quat_xyzw, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span, apart, nanoseconds
from vpr_ros.base.track import NO_GAP, Track, camera_on_body, planar_poses
from vpr_ros.drives.files import Table, detached, list_images, numbers_of, read_image, read_table
from vpr_ros.drives.formats import Format
from vpr_ros.drives.geodesy import good_fixes, headings_from_track, utm_from_latlon
from vpr_ros.drives.options import DriveOptions

# The time columns and their units; and EuRoC's names for columns, of which "timestamp" alone says no unit.
_TIMES = {"stamp_ns": "nanoseconds", "stamp": "seconds"}
_POSES = ("x", "y", "z", "lat", "lon", "alt", "qx", "qy", "qz", "qw", "yaw")
_EUROC = {"timestamp [ns]": "stamp_ns", "filename": "file"}
_EUROC |= {f"p_rs_r_{axis} [m]": axis for axis in "xyz"} | {f"q_rs_{axis} []": f"q{axis}" for axis in "xyzw"}


def is_folder(path: Path) -> bool:
    """Whether a path is a CSV file, or a folder that holds images or a CSV file."""
    if path.is_file():
        return path.suffix == ".csv"
    return bool(list_images(path)) or any(path.glob("*.csv"))


class FolderDrive:
    """Images of one folder and, where there is one, ``poses.csv`` (or the folder's only CSV file).

    The CSV file has a header. Which image a row is for:
        file: name of the image, relative to the CSV file; rows are frames, in order of stamp where given, else of
        rows. Or
        no file column: images are named by their stamps (1700000000123456789.png for stamp_ns, 12.5.png for stamp), and
        poses are interpolated at them; images with other names are left out.
    When: stamp_ns (whole nanoseconds) or stamp (seconds). Images of one stamp are moved on by 1 ns each.
    Where: x, y and optionally z (metres, east north up); or lat, lon and optionally alt (WGS84 degrees, metres; empty
        is 0).
    Looking where: qx, qy, qz, qw of the camera's optical frame (x right, y down, z forward); or yaw of the view,
        radians counter-clockwise from east. With lat and lon both may be missing: the camera then looks along the
        track.
    Where DriveOptions.T_base_camera is given, positions, quaternions and yaw are the robot's, not the camera's.
    A row with an empty cell among these has no pose, nor has one at latitude and longitude 0, 0. A second row of an
    image is left out if its pose is the same, and a DriveError if it is another. Without a CSV file the
    images, in order of their names, have no poses, and lie 1 / frame_rate_hz apart in time. Raises DriveError for a
    missing file, column or image, and for times of another unit.
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
        if table_path is None:
            self._images = list_images(folder)
            self._stamps = [round(i * 1e9 / options.frame_rate_hz) for i in range(len(self._images))]
            self._T = [None] * len(self._images)
        else:
            self._read_table(table_path, folder, options)
        if not self._images:
            raise DriveError(f"there are no images in {folder}")
        self.numbers = numbers_of(self._images)

    def _read_table(self, path: Path, folder: Path, options: DriveOptions) -> None:
        table = read_table(path)
        names = _EUROC | ({"timestamp": "stamp_ns"} if "p_rs_r_x [m]" in table.columns else {})
        table = Table(path, {names.get(name, name): cells for name, cells in table.columns.items()})
        if "file" in table.columns:
            table = _one_row_each(table, self.tally)
        poses, self.world = _poses(table, options, self.tally)
        stamps = _stamps(table)
        by_file = "file" in table.columns  # so that no pose is interpolated
        track = None if stamps is None else _track(stamps, poses, NO_GAP if by_file else options.max_pose_gap_ns)
        self.pose_span = None if track is None or not len(track.stamps_ns) else track.span
        if by_file:
            self._images, self._stamps, self._T = _by_file(table, poses, stamps, options)
            named = {os.path.realpath(image) for image in self._images}
            others = [image for image in list_images(folder) if os.path.realpath(image) not in named]
            self.tally.add("image(s) left out: no row names them", others[0].name if others else "", len(others))
        else:
            self._images, self._stamps, self._T = _by_stamp(table, track, folder, self.tally)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for path, stamp, T in zip(self._images, self._stamps, self._T, strict=True):
            read = partial(read_image, path)
            yield DriveFrame(stamp, read, T, detach=detached(read))


def _table_in(folder: Path) -> Path | None:
    """The CSV file of poses in a folder, or None."""
    tables = sorted(folder.glob("*.csv"))
    if folder / "poses.csv" in tables:
        return folder / "poses.csv"
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables)
        raise DriveError(f"{folder} has several CSV files ({names}): call the one with the poses poses.csv")
    return tables[0] if tables else None


def _one_row_each(table: Table, tally: Tally) -> Table:
    """The table with the first row of each image. Raises DriveError if another row gives it another pose."""
    columns = [name for name in _POSES if name in table.columns]
    first: dict[str, int] = {}
    for row, cell in enumerate(table.columns["file"]):
        kept = first.setdefault(os.path.normpath(table.path.parent / cell), row)
        for name in columns:
            one, other = table.columns[name][kept], table.columns[name][row]
            if one != other:
                raise DriveError(
                    f"{table.path} has two poses of {cell}, {name} {one} and {other}: keep one row of each"
                )
        if kept != row:
            tally.add("row(s) left out: a row before names the same image", f"{table.path}: {cell}")
    return Table(table.path, {name: [cells[row] for row in first.values()] for name, cells in table.columns.items()})


def _stamps(table: Table) -> list[int] | None:
    """Nanoseconds of each row, or None where the table has no times."""
    column = next((name for name in _TIMES if name in table.columns), None)
    return None if column is None else table.stamps_ns(column, _TIMES[column], "times").tolist()


def _track(stamps: list[int], poses: list[np.ndarray | None], max_gap_ns: int) -> Track:
    """The rows that have a pose."""
    known = [(stamp, T) for stamp, T in zip(stamps, poses, strict=True) if T is not None]
    return Track.of([stamp for stamp, _ in known], [T for _, T in known], max_gap_ns)


def _poses(table: Table, options: DriveOptions, tally: Tally) -> tuple[list[np.ndarray | None], str]:
    """T_map_camera of each row, None where a cell is empty, and the name of the world they live in."""
    positions, world = _positions(table, options.world, tally)
    camera = camera_on_body(options.mount)
    if "qx" in table.columns or ("yaw" not in table.columns and world == "local"):
        what = "poses (yaw would do as well)"
        quats = table.numbers(("qx", "qy", "qz", "qw"), what)
        # With a mounting the quaternions are the robot's, without they are the camera's own.
        camera = np.eye(4) if options.mount is None else options.mount
        known = np.isfinite(np.hstack([positions, quats])).all(axis=1)
        try:
            T = [
                transform(matrix_from_quat_xyzw(quat), position) @ camera if ok else None
                for position, quat, ok in zip(positions, quats, known, strict=True)
            ]
        except ValueError as error:
            raise DriveError(f"{table.path} has a row that is no pose: {error}") from error
        return T, world
    known = np.isfinite(positions).all(axis=1)
    yaw = np.full(len(table), np.nan)
    if "yaw" in table.columns:
        yaw = table.numbers(("yaw",), "poses")[:, 0]
        known &= np.isfinite(yaw)
    elif known.any():
        course = headings_from_track(positions[known])
        if course is None:
            raise DriveError(f"{table.path} has no column 'yaw', and its positions never move to give a heading")
        yaw[known] = course
    moved = planar_poses(positions, yaw) @ camera
    return [T if ok else None for T, ok in zip(moved, known, strict=True)], world


def _positions(table: Table, world: str, tally: Tally) -> tuple[np.ndarray, str]:
    """(N, 3) metres, NaN where a cell is empty, and the world's name."""
    if "lat" not in table.columns:
        z = ("z",) if "z" in table.columns else ()
        purpose = "positions (or lat and lon; if the file is of something else, move it out of the folder)"
        positions = table.numbers(("x", "y", *z), purpose)
        return (positions if z else np.column_stack([positions, np.zeros(len(table))])), "local"
    latitude, longitude = table.numbers(("lat", "lon"), "positions").T
    altitude = table.numbers(("alt",), "positions")[:, 0] if "alt" in table.columns else np.zeros(len(table))
    positions = np.full((len(table), 3), np.nan)
    given = np.isfinite(latitude) & np.isfinite(longitude)  # an empty cell is no pose, and no fault
    if not given.any():
        raise DriveError(f"{table.path} has no row with lat and lon")
    known = np.flatnonzero(given)
    known = known[good_fixes(latitude[known], longitude[known], tally, str(table.path))]
    positions[known], world = utm_from_latlon(latitude[known], longitude[known], altitude[known], world)
    return positions, world


_Frames = tuple[list[Path], list[int], list["np.ndarray | None"]]


def _by_file(table: Table, poses: list[np.ndarray | None], stamps: list[int] | None, options: DriveOptions) -> _Frames:
    """Images, stamps, poses of a table whose rows name their images."""
    images = [table.path.parent / cell for cell in table.columns["file"]]
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise DriveError(f"the image {missing[0]} that {table.path} names is missing ({len(missing)} such)")
    if stamps is None:
        return images, [round(i * 1e9 / options.frame_rate_hz) for i in range(len(images))], poses
    order = np.argsort(np.array(stamps, dtype=np.int64), kind="stable")
    return [images[i] for i in order], apart([stamps[i] for i in order]), [poses[i] for i in order]


def _by_stamp(table: Table, track: Track | None, folder: Path, tally: Tally) -> _Frames:
    """Images named by their stamps, poses interpolated at them."""
    if track is None:
        table.text("file", "matching rows to images (stamp or stamp_ns would do as well)")
        return [], [], []
    unit = next(_TIMES[name] for name in _TIMES if name in table.columns)
    stamped: list[tuple[int, Path]] = []
    problem: DriveError | None = None
    others = []
    for image in list_images(folder):
        try:
            stamped.append((nanoseconds(image.stem, unit, str(image)), image))
        except DriveError as error:
            problem = problem or error
            others.append(image)
    if problem is not None and not stamped:
        raise DriveError(f"{others[0]} is not named by a stamp, and {table.path} has no column 'file': {problem}")
    tally.add("image(s) left out: their names are no stamps", others[0].name if others else "", len(others))
    stamped.sort()
    times = [stamp for stamp, _ in stamped]
    return [image for _, image in stamped], apart(times), [track.at(stamp) for stamp in times]


FORMAT = Format("a folder of images (with poses in poses.csv or without)", is_folder, FolderDrive)
