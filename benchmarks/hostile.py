#!/usr/bin/env python3
"""Robustness: damaged files, killed processes, hostile messages, and hours of continuous driving.

    python benchmarks/hostile.py [--files 2000] [--kills 1000] [--messages 10000] [--hours 24] [--seed 1] [--json FILE]

--files: a damaged file causes at most one sentence, see ``hostile_files.py``. Needs onnx, for a small model.
--kills: a kill loses only what was in flight, see ``hostile_kills.py``. Needs onnx too.
--messages: the node keeps running and answering, see ``hostile_messages.py``. Needs ROS.
--hours: the node's memory stays flat, see ``hostile_hours.py``. Needs ROS.
Each part runs only if its option is given. Faults are printed at the end; with faults the exit status is 1.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

Found = tuple[dict[str, Any], list[str]]  # figures, and faults


def files(count: int, seed: int, folder: Path) -> Found:
    """Open count damaged files."""
    from hostile_files import hostile_files

    return _counted("files", hostile_files, count, seed, folder)


def kills(count: int, seed: int, folder: Path) -> Found:
    """Kill count processes."""
    from hostile_kills import hostile_kills

    return _counted("kills", hostile_kills, count, seed, folder)


def messages(count: int, seed: int, folder: Path) -> Found:
    """Send count messages, parameters, calls and transitions."""
    from hostile_messages import run

    return run(count, seed, _town(folder))


def hours(count: float, _: int, folder: Path) -> Found:
    """Drive for a number of hours."""
    from hostile_hours import run

    return run(count, _town(folder))


def _counted(name: str, trials: Callable[..., dict[str, Any]], count: int, seed: int, folder: Path) -> Found:
    """Run trials in forks, with a progress bar that uses no thread."""
    with Progress(auto_refresh=False, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=count)

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        found = trials(count, seed, folder / name, step)
    return {name: found}, list(found["examples"])


def _town(folder: Path) -> Path:
    """The demo's map."""
    import forked

    from vpr_ros.drives.open import open_drive
    from vpr_ros.inference.open import open_describer
    from vpr_ros.maps.builder import build_map

    path = folder / "town.vprmap"

    def build() -> None:
        build_map(path, [open_drive(ROOT / "demo" / "bags" / "overcast")], open_describer(backend="onnx")).close()

    if not path.exists() and (outcome := forked.run(build, 600.0)).kind != "read":
        raise RuntimeError(f"the demo's map cannot be built: {outcome}")
    return path


def main() -> int:
    """Run the chosen parts; print and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=0, help="damaged files to open")
    parser.add_argument("--kills", type=int, default=0, help="processes to kill")
    parser.add_argument("--messages", type=int, default=0, help="messages, calls and transitions to send to a node")
    parser.add_argument("--hours", type=float, default=0.0, help="drive time at one image a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hostile_") as folder:
        for part in (files, kills, messages, hours):  # forks first, while there are no threads
            if count := getattr(arguments, part.__name__):
                found, faults = part(count, arguments.seed, Path(folder))
                figures.update(found)
                wrong += faults
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    for fault in wrong:
        print(f"wrong: {fault}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
