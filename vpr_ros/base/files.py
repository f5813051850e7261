"""Files that are written whole or not at all, and the folders of files that ship with the package."""

from __future__ import annotations

import glob
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ABANDONED_S = 86400.0


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which replaces ``path`` when the block ends and is removed if the block fails.

    A reader, or a start after a power failure, never finds the file half written. A missing folder is made. Two
    processes may write at once; the last one wins. Temporary files of killed processes are removed after a day. Raises
    OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")  # in containers, all have one pid
    try:
        yield part
        part.replace(path)
    finally:
        for left in (part, part.with_name(f"{part.name}-journal")):  # SQLite's, of a disk that is full
            left.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(data, indent=2) + "\n")


def shipped_folders(*parts: str) -> list[Path]:
    """Where a folder that ships, such as models, may be: in the repository, or where pip or colcon installs it."""
    share = Path("share", "vpr_ros", *parts)
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    # An installed package lies in <prefix>/lib/pythonX.Y/site-packages/vpr_ros, with --user or --target too.
    above = list(Path(__file__).resolve().parents)[1:]
    return [above[1].joinpath(*parts), *(prefix / share for prefix in (Path(sys.prefix), *prefixes, *above[1:6]))]
