"""One process at a time adds to a map."""

from __future__ import annotations

import fcntl
from pathlib import Path

from vpr_ros.base.errors import MapError


class Writing:
    """The right to add to a map, held by one process at a time; a kill gives it back."""

    def __init__(self, path: Path) -> None:
        """Raises MapError where another process holds it, or nothing can be written there."""
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
        """Give it back."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def two_writers(path: Path) -> MapError:
    """What to say to the second."""
    return MapError(f"another process adds to {path} too: give every session its own file")
