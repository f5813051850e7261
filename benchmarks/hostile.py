#!/usr/bin/env python3
"""Inputs that nobody means to give: damaged files, and processes that are killed.

    python benchmarks/hostile.py [--files 2000] [--kills 1000] [--seed 1] [--json FILE]

--files: none may cause anything but one sentence, see ``hostile_files.py``. --kills: nothing but what was in flight may
be lost, see ``hostile_kills.py``. Exits with 1 where a limit is missed. Needs onnx, for a small model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).parent))


def _counted(name: str, trials: Callable[..., dict[str, Any]], count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Trials with a bar, which has no thread of its own: the work is done in forks."""
    with Progress(auto_refresh=False, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=count)

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        return trials(count, seed, folder / name, step)


def main() -> int:
    """Run what was asked for; print and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=0, help="damaged files to open")
    parser.add_argument("--kills", type=int, default=0, help="processes to kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="hostile_") as folder:
        if arguments.files:
            from hostile_files import hostile_files

            found["files"] = _counted("files", hostile_files, arguments.files, arguments.seed, Path(folder))
        if arguments.kills:
            from hostile_kills import hostile_kills

            found["kills"] = _counted("kills", hostile_kills, arguments.kills, arguments.seed, Path(folder))
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(part["faults"] for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
