"""The unfinished map of a build on many machines: a folder beside it, with a part for each drive.

A part is a map of one drive, to which places are added in the order of the drive; a record beside it says that it is
complete, and what was left out. So a build that was killed continues with what is there, and the parts of all drives,
merged in their order, are the map that one process makes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_ros.base.errors import MapError
from vpr_ros.base.files import write_json
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, path_of
from vpr_ros.maps import map_file
from vpr_ros.maps.editor import merge_maps
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.stages import Described, Progress, store


@dataclass(frozen=True, eq=False)
class Place:
    """A described frame, as a describer sends it. features: local features as stored in a map, or None."""

    described: Described
    features: bytes | None


@dataclass(frozen=True, eq=False)
class End:
    """The end of a drive: what was left out, and the error if it gives no places."""

    tally: Tally
    error: str = ""


def parts_folder(path: Path) -> Path:
    """Where the finished work for a map is, until the map is complete."""
    return path.with_name(f"{path.name}.parts")


class Parts:
    """The parts of a map, by the numbers of its drives. Use as a context manager."""

    def __init__(self, path: Path, drives: Sequence[Drive], options: dict[str, Any]) -> None:
        """path: the map's. options: whatever changes the places of a drive.

        Raises MapError if the map exists, or if the folder's parts were made with other options.
        """
        map_file.check_new(path)
        self.path, self._drives = path, drives
        self.folder = parts_folder(path)
        self.folder.mkdir(exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MapError(f"another process builds {path}: wait for it, or choose another name") from error
        self._check_options(options)
        self._open: dict[int, _Part] = {}

    @property
    def head(self) -> Path:
        """An empty map with all that the parts share. The caller makes it."""
        return self.folder / "head.vprmap"

    def is_complete(self, drive: int) -> bool:
        """Whether all places of a drive are there."""
        return self._record(drive).is_file()

    def stamps(self, drive: int) -> set[int]:
        """Stamps of a drive's places that are there, nanoseconds."""
        path = self._file(drive)
        if not path.exists():
            return set()
        with PlaceMap.open(path, writable=True) as part:  # what a kill left behind is rolled back
            return {stamp for name in part.drive_names() for stamp in part.stamps_of(name)}

    def take(self, drive: int, number: int, item: Place | End) -> bool:
        """Take the number-th item of a drive in this run, in any order; whether the drive is complete now."""
        if drive not in self._open:
            path = self._file(drive)
            if not path.exists():
                map_file.copy(self.head, path)
            self._open[drive] = _Part(self._drives[drive].name, PlaceMap.open(path, writable=True))
        end = self._open[drive].take(number, item)
        if end is None:
            return False
        self._open.pop(drive).place_map.close()
        if not end.error:
            kinds = end.tally.to_list()
            write_json(self._record(drive), {"drive": self._drives[drive].name, "left_out": kinds})
        return True

    def forget(self) -> None:
        """Close the parts, to take the items of incomplete drives anew."""
        for part in self._open.values():
            part.place_map.close()
        self._open = {}

    def merge(self, tally: Tally, on_progress: Progress | None = None) -> PlaceMap:
        """The map, when all drives are complete; the folder is deleted. tally: gets what was left out."""
        for drive in range(len(self._drives)):
            tally.update(Tally.from_list(json.loads(self._record(drive).read_text())["left_out"]))
        parts = [self._file(drive) for drive in range(len(self._drives))]
        made = merge_maps(self.path, [self.head, *parts], tally, on_progress)
        shutil.rmtree(self.folder, ignore_errors=True)
        return made

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        self._lock.close()

    def _check_options(self, options: dict[str, Any]) -> None:
        path = self.folder / "options.json"
        if path.is_file() and json.loads(path.read_text()) != options:
            raise MapError(
                f"{self.folder} holds parts of {self.path.name} that were made with other options: give the same to "
                "continue, or delete the folder"
            )
        write_json(path, options)

    def _file(self, drive: int) -> Path:
        return self.folder / f"{self._key(drive)}.vprmap"

    def _record(self, drive: int) -> Path:
        return self.folder / f"{self._key(drive)}.json"

    def _key(self, drive: int) -> str:
        """A name for a drive that stays when other drives are added or left out."""
        which = self._drives[drive]
        identity = json.dumps([which.name, os.path.realpath(path_of(which) or which.name), len(which)])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class _Part:
    """The map of one drive while items arrive. Those that come early wait for their turn."""

    def __init__(self, name: str, place_map: PlaceMap) -> None:
        self.place_map = place_map
        self._name, self._next = name, 0
        self._waiting: dict[int, Place | End] = {}

    def take(self, number: int, item: Place | End) -> End | None:
        """Store what is in turn, in one transaction; the End when all before it is stored."""
        self._waiting[number] = item
        if self._next not in self._waiting:
            return None
        with self.place_map.together():
            while self._next in self._waiting:
                item = self._waiting.pop(self._next)
                self._next += 1
                if isinstance(item, End):
                    return item
                store(self.place_map, self._name, item.described, [item.features])
        return None
