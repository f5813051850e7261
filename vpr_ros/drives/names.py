"""Names of drives: the folder or file, with as many parent folders as are needed to make them unique."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from vpr_ros.base.errors import DriveError
from vpr_ros.drives.drive import Drive, path_of


def names_of(path: Path) -> Iterator[str]:
    """Names for a path, each with one more parent folder: "images", "monday/images", ..."""
    whole = Path(os.path.abspath(path))
    parts = [*whole.parts[1:-1], whole.stem if whole.is_file() else whole.name]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[-count:])
    if whole.is_file():
        yield "/".join(whole.parts[1:])


def tell_apart(drives: Sequence[Drive]) -> None:
    """Give longer names to drives that share one. Raises DriveError if a drive is given twice."""
    paths = {id(drive): path for drive in drives if (path := path_of(drive)) is not None}
    _check_once([drive for drive in drives if id(drive) in paths])
    namesakes = defaultdict(list)
    for drive in drives:
        namesakes[drive.name].append(drive)
    for group in namesakes.values():
        if len(group) > 1 and all(id(drive) in paths for drive in group):
            _rename(group, [list(names_of(paths[id(drive)])) for drive in group])


def _check_once(drives: Sequence[Drive]) -> None:
    """Raises DriveError if a drive is given twice; a folder and the file in it that is read are one drive."""
    read = [os.path.realpath(getattr(drive, "table", None) or path_of(drive) or "") for drive in drives]
    for i, (drive, file) in enumerate(zip(drives, read, strict=True)):
        others = read[:i] + read[i + 1 :]
        if file in others or (os.path.isfile(file) and os.path.dirname(file) in others):
            raise DriveError(f"the drive {path_of(drive)} is given twice: give it once")


def _rename(drives: Sequence[Drive], choices: Sequence[list[str]]) -> None:
    for level in range(max(map(len, choices))):
        names = [options[min(level, len(options) - 1)] for options in choices]
        if len(set(names)) == len(names):
            for drive, name in zip(drives, names, strict=True):
                drive.name = name
            return
