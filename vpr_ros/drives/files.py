"""Images and tables on disk: listed in order, read with errors that name the file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.errors import DriveError
from vpr_ros.image_files import read_pixels
from vpr_ros.image_messages import annotate, decode_compressed

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


def list_stamped(folder: Path, suffixes: frozenset[str], purpose: str) -> dict[int, Path]:
    """Files named by an integer stamp, in order of it. Raises DriveError with their purpose where there is none."""
    found: dict[int, Path] = {}
    if folder.is_dir():
        found = {int(p.stem): p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.stem.isdecimal()}
    if not found:
        raise DriveError(f"there are no files named <timestamp>{min(suffixes)} in {folder}: {purpose}")
    return dict(sorted(found.items()))


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
            return np.array([[float(cell or "nan") for cell in column] for column in cells]).T.reshape(-1, len(names))
        except ValueError as error:
            raise DriveError(f"{self.path} has a cell that is no number in {', '.join(names)}: {error}") from error

    def integers(self, column: str, purpose: str) -> np.ndarray:
        """(N,) int64 of a column, exact. Raises DriveError for a missing column or another cell."""
        try:
            return np.array([int(cell) for cell in self.text(column, purpose)], dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise DriveError(f"{self.path} has a cell that is no whole number in {column}: {error}") from error


def read_table(path: Path) -> Table:
    """Read a CSV file with a header. Raises DriveError where it cannot be read or a row is short."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DriveError(f"{path} cannot be read as CSV: {error}") from error
    if len(rows) < 2:
        raise DriveError(f"{path} is empty: it needs a header and rows")
    header = [name.strip().lower() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) < len(header):
            raise DriveError(f"row {number} of {path} has {len(row)} cells, its header {len(header)}")
    return Table(path, {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(header)})
