"""Images and tables on disk: listed in order, read with errors that name the file."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from shlex import quote
from typing import TextIO

import cv2
import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError, ImageError, VprError
from vpr_ros.base.geometry import matrix_from_quat_xyzw, transform
from vpr_ros.base.image_files import read_pixels
from vpr_ros.base.image_messages import annotate, decode_compressed
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.times import check_spacing, nanoseconds

BAG_SUFFIXES = (".bag", ".mcap", ".db3")
# A date before a time of day, and its hours and minutes if they come before the last number.
_DATE = re.compile(r"(?<!\d)(19|20)\d\d\D?[01]\d\D?[0-3]\d\D*(?P<minute>[0-2]\d\D?[0-5]\d\D*)?$")
_OF_DAY = re.compile(r"(?!00)[0-2]\d[0-5]\d[0-5]\d")  # hours, minutes, seconds
_LARGEST_ANGLE = 6 * np.pi  # radians, three turns
_LEAST_TIME = 100_000_000  # in the name of an image: seconds since 1970 are more
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".webp")
)
# Of cameras and phones, which OpenCV does not read everywhere; videos; archives.
OTHER_PICTURES = frozenset((
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".tga", ".exr", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw",
))  # fmt: skip
VIDEOS = frozenset((
    ".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".h264", ".h265",
    ".hevc", ".insv", ".lrv", ".svo", ".svo2",
))  # fmt: skip
_ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"))


def to_images(video: Path) -> str:
    """What makes a folder of images of a video."""
    name, images = quote(video.name), quote(f"{video.stem}/%06d.jpg")
    return f"take images out of it, such as with `mkdir {quote(video.stem)} && ffmpeg -i {name} -vf fps=2 {images}`"


def how_to_open(path: Path) -> str:
    """What to do with a file that is no drive but may hold one; "" if that is not known."""
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        return to_images(path)
    if suffix in _ARCHIVES:
        return "unpack it"
    return "give its folder" if suffix in IMAGE_SUFFIXES | OTHER_PICTURES else ""


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in order of the names, without hidden files, such as macOS's ._poses.csv."""
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=attrgetter("name"))


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, numbers in names in order of value (2.jpg before 10.jpg); [] without a folder."""
    if not folder.is_dir():
        return []
    return sorted((path for path in entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES), key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], path.name


def numbers_of(images: Sequence[Path]) -> list[int]:
    """The frame numbers in the names of images, such as 12 of "left_0012_crop2.png"; [] if they have none.

    Of all numbers in the names one ascends from image to image, and all else is the same; of a single name it is the
    last. It is no frame number if it is a time: with decimals, beside a date, or as large as seconds since 1970.
    """
    names = [re.split(r"(\d+)", image.stem) for image in images]
    if not names or len({tuple(name[::2]) for name in names}) > 1 or len(names[0]) < 2:
        return []
    columns = list(zip(*([int(digits) for digits in name[1::2]] for name in names), strict=True))
    varying = [number for number, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != (len(names) > 1):
        return []
    (number,) = varying or [len(columns) - 1]
    before, after = "".join(names[0][: 2 * number + 1]), names[0][2 * number + 2 :]
    decimals = re.search(r"^\d+\.$|\d{9,}\.$", before) or (len(after) > 1 and after[0] == ".")
    date = _DATE.search(before)
    clock = date is not None and (date["minute"] or all(_OF_DAY.match(name[2 * number + 1]) for name in names))
    found = list(columns[number])
    ascend = all(first < second for first, second in pairwise(found))
    return found if ascend and not decimals and not clock and found[-1] < _LEAST_TIME else []


def list_stamped(folder: Path, suffixes: frozenset[str], purpose: str) -> dict[int, Path]:
    """Files named by a stamp in whole microseconds, by the stamp in nanoseconds, in order of it.

    Raises DriveError if there is none, with their purpose, if a stamp is not a valid time, or if two files have one.
    """
    found: dict[int, Path] = {}
    for path in entries(folder) if folder.is_dir() else []:
        if path.suffix.lower() in suffixes and path.stem.isdecimal():
            stamp_ns = nanoseconds(path.stem, "microseconds", str(path))
            if stamp_ns in found:
                raise DriveError(f"{found[stamp_ns]} and {path} have the same stamp: remove one of them")
            found[stamp_ns] = path
    if not found:
        suffix = ".png" if ".png" in suffixes else min(suffixes)
        raise DriveError(
            f"there are no files in {folder} named by whole microseconds, <timestamp>{suffix}: {purpose}; name them so"
        )
    check_spacing(list(found), "microseconds", str(folder))
    return dict(sorted(found.items()))


def beside(folder: Path, *places: str) -> Path | None:
    """The first of some paths that exists, relative to a folder; "{name}" in a path is the folder's name.

    If the folder is a link, the paths are tried from the link first, then from the folder it points to.
    """
    for base in (Path(os.path.abspath(folder)), folder.resolve()):
        for place in places:
            path = Path(os.path.normpath(base / place.format(name=base.name)))
            if path.exists():
                return path
    return None


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises DriveError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error


def read_head(path: Path, size: int = 65536) -> bytes:
    """A file's first bytes; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def open_text(path: Path) -> TextIO:
    """A text file, without the mark that some editors put before it. Raises DriveError if it cannot be opened."""
    try:
        return path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """All of ``open_text``."""
    with open_text(path) as file:
        return file.read()


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises DriveError if the file cannot be read, ImageError if it is not a whole image."""
    data = read_bytes(path)
    return annotate(lambda: decode_compressed(data), str(path))


def detached(read: Callable[[], np.ndarray]) -> Callable[[], Callable[[], np.ndarray]]:
    """A frame's ``detach`` for a ``read`` that works in any thread, because it opens the file itself."""
    return lambda: read


def file_frame(
    stamp_ns: int,
    image: Path,
    T_map_camera: np.ndarray | None,
    intrinsics: Intrinsics | None = None,
    read_depth: Callable[[], np.ndarray] | None = None,
) -> DriveFrame:
    """A frame whose image is a file."""
    read = partial(read_image, image)
    return DriveFrame(stamp_ns, read, T_map_camera, read_depth=read_depth, detach=detached(read), intrinsics=intrinsics)


def first_readable(images: Iterable[Path], read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The pixels of the first of some images that can be read. Raises the first one's error if none can."""
    problem: VprError | None = None
    for image in images:
        try:
            return read(image)
        except (DriveError, ImageError) as error:
            problem = problem or error
    raise problem or DriveError("there are no images")


def read_unchanged(path: Path) -> np.ndarray:
    """The pixels as stored, (H, W) or (H, W, C) BGR, uint8 or uint16. Raises DriveError or ImageError."""
    data = read_bytes(path)
    return annotate(lambda: read_pixels(data, cv2.IMREAD_UNCHANGED), str(path))


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file with a header.

    columns: name in lower case -> cells, as text. repeated: names of several columns.
    """

    path: Path
    columns: dict[str, list[str]]
    repeated: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def text(self, column: str, purpose: str) -> list[str]:
        """A column's cells. Raises DriveError if the column is missing, with its purpose, or if two have its name."""
        if column in self.repeated:
            raise DriveError(f"{self.path} has several columns {column!r}: remove or rename all but one")
        if column not in self.columns:
            have = ", ".join(self.columns) or "none"
            raise DriveError(f"{self.path} has no column {column!r}, needed for {purpose}; its columns are {have}")
        return self.columns[column]

    def numbers(self, names: Sequence[str], purpose: str) -> np.ndarray:
        """(N, len(names)) float64 of some columns; an empty cell is NaN. Raises DriveError for other text."""
        cells = [self.text(name, purpose) for name in names]
        try:
            return np.array([[number(cell or "nan") for cell in column] for column in cells]).T.reshape(-1, len(names))
        except ValueError as error:
            raise DriveError(f"{self.path} has a cell that is not a number in {', '.join(names)}: {error}") from error

    def radians(self, names: Sequence[str], purpose: str) -> np.ndarray:
        """As ``numbers``, of angles in radians; an infinite one is NaN.

        Raises DriveError for angles of more than three turns, too.
        """
        angles = self.numbers(names, purpose)
        angles[np.isinf(angles)] = np.nan
        if (largest := np.nanmax(np.abs(angles), initial=0.0)) > _LARGEST_ANGLE:
            raise DriveError(
                f"{self.path} has values up to {largest:g} in {', '.join(names)}, which are in radians: convert degrees"
            )
        return angles

    def stamps_ns(self, column: str, unit: str, purpose: str) -> np.ndarray:
        """(N,) int64 nanoseconds of a column of times, exact.

        unit: see ``times.nanoseconds``. Raises DriveError for a missing column or an invalid time.
        """
        cells, where = self.text(column, purpose), f"{self.path}, column {column}"
        instead = "stamp_ns" if column == "stamp" else ""
        stamps = np.array([nanoseconds(cell, unit, where, instead) for cell in cells], dtype=np.int64)
        check_spacing(stamps, unit, where)
        return stamps

    def poses(self, positions: np.ndarray, quats_xyzw: np.ndarray) -> list[np.ndarray | None]:
        """(N, 3) positions, (N, 4) quaternions of the rows -> (4, 4) poses, None for a row with NaN.

        Raises DriveError if a quaternion is not of unit length.
        """
        known = np.isfinite(np.hstack([positions, quats_xyzw])).all(axis=1)
        try:
            return [
                transform(matrix_from_quat_xyzw(quat), position) if ok else None
                for position, quat, ok in zip(positions, quats_xyzw, known, strict=True)
            ]
        except ValueError as error:
            raise DriveError(f"{self.path} has a row with an invalid pose: {error}") from error


def read_table(path: Path) -> Table:
    """Read a CSV file with a header, which may begin with # (EuRoC). Empty rows and comments are skipped.

    A comment is any other line that begins with #, unless with the name of a file in the table's folder, such as
    #001.jpg. Raises DriveError if the file cannot be read, or a row has too few or too many cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = "it is not UTF-8, so save it as that" if isinstance(error, UnicodeDecodeError) else error
        raise DriveError(f"{path} cannot be read as CSV: {why}") from error
    header, rows = _header(lines, path.parent)
    if not header or not rows:
        raise DriveError(f"{path} is empty: it needs a header and rows")
    if len(header) == 1 and re.search("[;\t]", header[0]):
        raise DriveError(f"{path} has no commas: its header is {header[0]!r}; separate its cells with commas")
    for number, row in rows:
        if len(row) < len(header):
            raise DriveError(f"row {number} of {path} has {len(row)} cells, its header {len(header)}: remove it")
        if any(row[len(header) :]):
            raise DriveError(
                f"row {number} of {path} has {len(row)} cells, its header {len(header)}: write decimals with a point, "
                "and text that holds a comma in quotes"
            )
    repeated = tuple(name for name, count in Counter(header).items() if count > 1)
    return Table(path, {name: [row[i] for _, row in rows] for i, name in enumerate(header)}, repeated)


def number(text: str) -> float:
    """A number in a file. Raises ValueError for any other text; Python alone would read 12_5 as 125."""
    if "_" in text:
        raise ValueError(f"{text!r} is not a number")
    return float(text)


_Line = tuple[int, list[str]]  # line number in the file, cells


def _header(lines: list[_Line], folder: Path) -> tuple[list[str], list[_Line]]:
    """Lower-case names of the columns, and the rows. folder: of the table."""
    rows = [line for line in lines if not line[1][0].startswith("#") or os.path.isfile(folder / line[1][0])]
    if not rows:
        return [], []
    header: list[str] = []
    if any(map(is_number, rows[0][1])):  # not a header: that is the last line with # above
        hashed = [cells for number, cells in lines if number < rows[0][0] and len(cells) > 1]
        header = [hashed[-1][0].lstrip("# "), *hashed[-1][1:]] if hashed else []
    if not header:
        header = rows.pop(0)[1]
    while header and not header[-1]:
        header = header[:-1]
    return [name.lower() for name in header], rows


def is_number(cell: str) -> bool:
    """Whether a cell is a number."""
    try:
        number(cell)
    except ValueError:
        return False
    return True
