#!/usr/bin/env python3
"""Hostile input: damaged files, killed processes, a node under hostile messages, a day without a pause.

    python benchmarks/hostile.py [--files 2000] [--kills 1000] [--messages 10000] [--hours 24] [--seed 1] [--json FILE]

--files: none may cause anything but one sentence, see ``hostile_files.py``. --kills: nothing but what was in flight may
be lost, see ``hostile_kills.py``. Both need onnx, for a small model. --messages: the node lives and answers, see
``hostile_messages.py``. --hours: its memory stays flat, see ``hostile_hours.py``. Both need ROS. What is not asked for
is left out; what is wrong is printed at the end, and makes the exit status 1.
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

Found = tuple[dict[str, Any], list[str]]  # figures, and what is wrong


def files(count: int, seed: int, folder: Path) -> Found:
    """Damage files count times."""
    from hostile_files import hostile_files

    return _counted("files", hostile_files, count, seed, folder)


def kills(count: int, seed: int, folder: Path) -> Found:
    """Kill processes count times."""
    from hostile_kills import hostile_kills

    return _counted("kills", hostile_kills, count, seed, folder)


def messages(count: int, seed: int, folder: Path) -> Found:
    """Send messages, parameters, calls and transitions count times."""
    from hostile_messages import run

    return run(count, seed, _town(folder))


def hours(count: float, _: int, folder: Path) -> Found:
    """Drive for so many hours."""
    from hostile_hours import run

    return run(count, _town(folder))


def _counted(name: str, trials: Callable[..., dict[str, Any]], count: int, seed: int, folder: Path) -> Found:
    """Trials in forks, with a bar that has no thread of its own."""
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
    """Run what was asked for; print and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=0, help="damaged files to open")
    parser.add_argument("--kills", type=int, default=0, help="processes to kill")
    parser.add_argument("--messages", type=int, default=0, help="messages, calls and transitions to send to a node")
    parser.add_argument("--hours", type=float, default=0.0, help="drive time at one image a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
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
