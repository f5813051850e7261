"""Folders of images with UTM positions in their names, as in many place-recognition data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import camera_on_body, is_trip
from vpr_ros.base.world import canonical_world, utm_of, utm_world
from vpr_ros.drives.files import IMAGE_SUFFIXES, file_frame, number
from vpr_ros.drives.formats import Format
from vpr_ros.drives.geodesy import on_grid, warn_unless_utm
from vpr_ros.drives.options import DriveOptions

_NAME = "@*@*"  # of an image with a position


def is_utm_folder(path: Path) -> bool:
    """Whether a folder, or one within, holds an image whose name begins with a field between two @."""
    return path.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.rglob(_NAME))


class UtmFolderDrive:
    """Images named ``@east@north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg``.

    Only east and north (metres, UTM) are required; other fields may be empty, trailing ones missing.
    letter: the MGRS band, which gives the hemisphere if lat is empty.
    heading: degrees clockwise from true north; north if empty, which is counted.
    height: metres.
    pitch, roll: not used, because data sets disagree on their meaning.
    Frames are in order of their names, subfolders included, and 1 / frame_rate_hz apart, since such sets are places,
    not trips. Images with other names are left out. Raises DriveError for a name without a position and for positions
    in several zones.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        self.path, self.name = path, path.name or path.resolve().name
        images = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        images = [p for p in images if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        self._images = [p for p in images if fnmatchcase(p.name, _NAME)]
        if not self._images:
            raise DriveError(f"there are no images named @utm_east@utm_north@... in {path}")
        self.tally = Tally()
        others = [p for p in images if not fnmatchcase(p.name, _NAME)]
        self.tally.add_files("image(s) left out: no position in their names", others)
        self._period_ns = 1e9 / options.frame_rate_hz
        self._camera = camera_on_body(options.mount)
        self.world = self._world()
        poses = np.array([self._pose(p) for p in self._images])
        named = self.world if utm_of(self.world) else options.world  # names may lack the zone or the hemisphere
        self._T = on_grid(poses, named) @ self._camera
        if utm_of(self.world):
            warn_unless_utm(self.name, poses[0, :3, 3], self.world)
        unturned = [path for path in self._images if not _field(path, 9)]
        self.tally.add_files("image(s) have no heading in their names and are taken to look north", unturned)

    @property
    def is_trip(self) -> bool:
        """Whether the images come in the order of a trip."""
        return is_trip(self._T[:, :3, 3])

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for i, (path, T_map_camera) in enumerate(zip(self._images, self._T, strict=True)):
            yield file_frame(round(i * self._period_ns), path, T_map_camera)

    def _world(self) -> str:
        """The world of all names that give a zone. Raises DriveError if there are several."""
        worlds = {_world(path): path for path in reversed(self._images)}
        # A name may lack the zone or the hemisphere; others then give it.
        worlds = {world: path for world, path in worlds.items() if utm_of(world)} or worlds
        if len(worlds) > 1:
            listing = ", ".join(f"{world} ({path.name})" for world, path in sorted(worlds.items()))
            raise DriveError(
                f"the images in {self.path} lie in several UTM zones: {listing}; make one folder for each zone"
            )
        return next(iter(worlds))

    def _pose(self, path: Path) -> np.ndarray:
        east, north = _number(path, 1), _number(path, 2)
        if not np.isfinite([east, north]).all():
            raise DriveError(f"the name of {path} has no position: name it @utm_east@utm_north@...")
        compass, height = np.nan_to_num([_number(path, 9), _number(path, 12)], posinf=np.nan, neginf=np.nan)
        if not np.isfinite([compass, height]).all():
            raise DriveError(f"the name of {path} has an infinite heading or height")
        R = matrix_from_rpy(0.0, 0.0, np.pi / 2 - np.radians(compass))
        return transform(R, np.array([east, north, height]))


def _field(path: Path, field: int) -> str:
    """A field of the name, "" if it is missing; field 0 is the text before the first @."""
    fields = path.stem.split("@")
    return fields[field].strip() if field < len(fields) else ""


def _number(path: Path, field: int) -> float:
    text = _field(path, field)
    try:
        return number(text) if text else float("nan")
    except ValueError as error:
        raise DriveError(f"field {field} in the name of {path} is {text!r}, not a number") from error


def _world(path: Path) -> str:
    """The world that a name gives; "utm" without a zone."""
    zone, letter, latitude = _field(path, 3).lstrip("0"), _field(path, 4), _field(path, 5)
    if zone.isdecimal() and re.fullmatch(r"[+-]?\d+(\.\d*)?", latitude):
        return utm_world(int(zone), float(latitude) >= 0)
    return canonical_world(f"utm {zone}{letter}".strip())


FORMAT = Format(
    "a folder of images with @utm names",
    is_utm_folder,
    UtmFolderDrive,
    takes=("frame_rate_hz", "T_base_camera"),
)
