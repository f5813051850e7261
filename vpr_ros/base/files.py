"""Files that no reader, and no start after a power failure, finds half written; and where those lie that ship."""

from __future__ import annotations

import glob
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ABANDONED_S = 86400.0


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, which takes its place when the block ends, or goes when it fails.

    Its folder is made where it is missing. Two processes may write at once; the last one wins. What a kill left of
    earlier writing goes when it is a day old. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(data, indent=2) + "\n")


def shipped_folders(*parts: str) -> list[Path]:
    """Where a folder that ships, such as models, may lie: in the repository, and where pip and colcon install it."""
    share = Path("share", "vpr_ros", *parts)
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    # An installed package lies in <prefix>/lib/pythonX.Y/site-packages/vpr_ros, with --user or --target too.
    above = list(Path(__file__).resolve().parents)[1:]
    return [above[1].joinpath(*parts), *(prefix / share for prefix in (Path(sys.prefix), *prefixes, *above[1:6]))]
