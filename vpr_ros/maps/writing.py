"""A lock: one process at a time adds to a map."""

from __future__ import annotations

import fcntl
from pathlib import Path

from vpr_ros.base.errors import MapError


class Writing:
    """Exclusive right to add to a map. The operating system releases it if the process dies."""

    def __init__(self, path: Path) -> None:
        """Raises MapError if another process holds the lock or the folder cannot be written to."""
        path = path.resolve()  # by whatever name
        self._path = path.with_name(path.name + ".lock")
        if not path.parent.is_dir():
            raise MapError(f"cannot write {path}: the folder {path.parent} does not exist")
        try:
            self._file = self._path.open("w")
        except OSError as error:
            raise MapError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise two_writers(path) from error

    def end(self) -> None:
        """Release the lock."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def two_writers(path: Path) -> MapError:
    """The error of the second process that adds to a map."""
    return MapError(f"another process adds to {path}: wait for its end, or take another file")
