"""Images and tables on disk: listed in order, read with errors that name the file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.image_files import read_pixels
from vpr_ros.base.image_messages import annotate, decode_compressed
from vpr_ros.base.times import check_spacing, nanoseconds

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"))


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, numbers in names in order of value (2.jpg before 10.jpg); [] where there is none."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], path.name


def numbers_of(images: Sequence[Path]) -> list[int]:
    """The numbers that names of images end in, such as 12 of "frame_0012.png"; [] if they do not count the images.

    They do if every name has one, behind the same text, and they ascend, most of them there: a name's last digits may
    be the tenths of a second, or the seconds of a minute.
    """
    found = [re.fullmatch(r"(.*?)(\d+)\D*", image.stem, re.DOTALL) for image in images]
    names = [(match[1], int(match[2])) for match in found if match is not None]
    numbers = [number for _, number in names]
    if len(numbers) < len(images) or len({before for before, _ in names}) > 1:
        return []
    ascend = all(first < second for first, second in pairwise(numbers))
    return numbers if numbers and ascend and numbers[-1] < 10 * len(images) + 10 else []


def list_stamped(folder: Path, suffixes: frozenset[str], purpose: str) -> dict[int, Path]:
    """Files named by a stamp in whole microseconds, by the stamp in nanoseconds, in order of it.

    Raises DriveError with their purpose if there is none, and for a stamp that is no time or that two files have.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in suffixes and path.stem.isdecimal():
            stamp_ns = nanoseconds(path.stem, "microseconds", str(path))
            if stamp_ns in found:
                raise DriveError(f"{found[stamp_ns]} and {path} are of one stamp: remove one of them")
            found[stamp_ns] = path
    if not found:
        raise DriveError(f"there are no files named <timestamp>{min(suffixes)} in {folder}: {purpose}")
    check_spacing(list(found), "microseconds", f"the names in {folder}")
    return dict(sorted(found.items()))


def beside(folder: Path, *places: str) -> Path | None:
    """The first file or folder there is of some places, relative to a folder, whose name is {name} in a place.

    A folder that is a link has neighbours where the link is, and where it points to: those of the link go first.
    """
    for base in (Path(os.path.abspath(folder)), folder.resolve()):
        for place in places:
            path = Path(os.path.normpath(base / place.format(name=base.name)))
            if path.exists():
                return path
    return None


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises DriveError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriveError(f"{path} cannot be read: {error.strerror}") from error


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises DriveError where the file cannot be read, ImageError where it is no whole image."""
    data = read_bytes(path)
    return annotate(lambda: decode_compressed(data), str(path))


def detached(read: Callable[[], np.ndarray]) -> Callable[[], Callable[[], np.ndarray]]:
    """A frame's detach where read is good in any thread already: it opens a file of its own."""
    return lambda: read


def read_unchanged(path: Path) -> np.ndarray:
    """The pixels as stored, (H, W) or (H, W, C) BGR, uint8 or uint16. Raises DriveError or ImageError."""
    data = read_bytes(path)
    return annotate(lambda: read_pixels(data, cv2.IMREAD_UNCHANGED), str(path))


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file with a header, all cells text. columns: lower-case name -> cells."""

    path: Path
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def text(self, column: str, purpose: str) -> list[str]:
        """A column's cells. Raises DriveError, saying what the column was for, where it is missing."""
        if column not in self.columns:
            have = ", ".join(self.columns) or "none"
            raise DriveError(f"{self.path} has no column {column!r}, needed for {purpose}; its columns are {have}")
        return self.columns[column]

    def numbers(self, names: Sequence[str], purpose: str) -> np.ndarray:
        """(N, len(names)) float64 of some columns; an empty cell is NaN. Raises DriveError where missing or text."""
        cells = [self.text(name, purpose) for name in names]
        try:
            return np.array([[number(cell or "nan") for cell in column] for column in cells]).T.reshape(-1, len(names))
        except ValueError as error:
            raise DriveError(f"{self.path} has a cell that is no number in {', '.join(names)}: {error}") from error

    def stamps_ns(self, column: str, unit: str, purpose: str) -> np.ndarray:
        """(N,) int64 nanoseconds of a column of times, exact.

        unit: see ``times.nanoseconds``. Raises DriveError for a missing column, and for a cell that is no such time.
        """
        cells, where = self.text(column, purpose), f"{self.path}, column {column}"
        instead = "stamp_ns" if column == "stamp" else ""
        stamps = np.array([nanoseconds(cell, unit, where, instead) for cell in cells], dtype=np.int64)
        check_spacing(stamps, unit, where)
        return stamps


def read_table(path: Path) -> Table:
    """Read a CSV file with a header, which may begin with # (EuRoC). Empty rows and comments are left out.

    A comment is any other line with #, unless it begins with the name of a file beside the table, such as #001.jpg.
    Raises DriveError where it cannot be read or a row is short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DriveError(f"{path} cannot be read as CSV: {error}") from error
    header, rows = _header(lines, path.parent)
    if not header or not rows:
        raise DriveError(f"{path} is empty: it needs a header and rows")
    if len(header) == 1 and re.search("[;\t]", header[0]):
        raise DriveError(f"{path} has no commas: its header is {header[0]!r}; separate its cells with commas")
    for number, row in rows:
        if len(row) < len(header):
            raise DriveError(f"row {number} of {path} has {len(row)} cells, its header {len(header)}")
    return Table(path, {name: [row[i] for _, row in rows] for i, name in enumerate(header)})


def number(text: str) -> float:
    """A number as files have it. Raises ValueError for anything else; Python alone would read 12_5 as 125."""
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


_Line = tuple[int, list[str]]  # its number in the file, its cells


def _header(lines: list[_Line], folder: Path) -> tuple[list[str], list[_Line]]:
    """Lower-case names of the columns, and the rows. folder: of the table."""
    rows = [line for line in lines if not line[1][0].startswith("#") or os.path.isfile(folder / line[1][0])]
    if not rows:
        return [], []
    header: list[str] = []
    if any(map(_is_number, rows[0][1])):  # so it is no header, which then is the last line with # above it
        hashed = [cells for number, cells in lines if number < rows[0][0] and len(cells) > 1]
        header = [hashed[-1][0].lstrip("# "), *hashed[-1][1:]] if hashed else []
    if not header:
        header = rows.pop(0)[1]
    while header and not header[-1]:
        header = header[:-1]
    return [name.lower() for name in header], rows


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True
