"""Folders of images whose names hold their positions, the habit of place-recognition data sets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.drives.files import IMAGE_SUFFIXES, detached, read_image
from vpr_ros.drives.options import DriveOptions
from vpr_ros.drives.track import camera_on_body
from vpr_ros.errors import DriveError
from vpr_ros.geometry import matrix_from_rpy, transform
from vpr_ros.records import DriveFrame


class UtmFolderDrive:
    """Images named ``@east@north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg``.

    Only east and north (metres, UTM) must be there; trailing fields may be empty or missing. heading: degrees
    clockwise from north; a camera without one is taken to look north. pitch and roll mean different things in
    different sets and are not used. height: metres. Frames are in order of their names, folders within included, 1 /
    frame_rate_hz apart: such sets are places, not trips. Raises DriveError for a name without a position.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        self.name = path.name or path.resolve().name
        self._images = sorted(p for p in path.rglob("@*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self._images:
            raise DriveError(f"there are no images named @utm_east@utm_north@... in {path}")
        self._period_ns = 1e9 / options.frame_rate_hz
        self._camera = camera_on_body(options.mount)
        self.world = options.world or _world(self._images[0])

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for i, path in enumerate(self._images):
            read = partial(read_image, path)
            yield DriveFrame(round(i * self._period_ns), read, self._pose(path), detach=detached(read))

    def _pose(self, path: Path) -> np.ndarray:
        east, north = _number(path, 1), _number(path, 2)
        if np.isnan(east) or np.isnan(north):
            raise DriveError(f"the name of {path} holds no position: it needs @utm_east@utm_north@...")
        compass, height = np.nan_to_num([_number(path, 9), _number(path, 12)])
        R = matrix_from_rpy(0.0, 0.0, np.pi / 2 - np.radians(compass))
        return transform(R, np.array([east, north, height])) @ self._camera


def _field(path: Path, number: int) -> str:
    """A field of the name, "" where it is missing; field 0 is what stands before the first @."""
    fields = path.stem.split("@")
    return fields[number].strip() if number < len(fields) else ""


def _number(path: Path, number: int) -> float:
    text = _field(path, number)
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        raise DriveError(f"field {number} in the name of {path} is {text!r}, not a number") from error


def _world(path: Path) -> str:
    return f"utm {_field(path, 3).lstrip('0')}{_field(path, 4)}".strip()
