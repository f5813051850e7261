#!/usr/bin/env python3
"""Inputs that nobody means to give: damaged files, and processes that are killed.

    python benchmarks/hostile.py [--files 2000] [--kills 1000] [--seed 1] [--json FILE]

--files: see ``hostile_files.py``; none may cause anything but one sentence. Exits with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import Progress  # without its thread: the work is done in forks

sys.path.insert(0, str(Path(__file__).parent))


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

            with Progress(auto_refresh=False) as bar:
                task = bar.add_task("files", total=arguments.files)
                found["files"] = hostile_files(
                    arguments.files, arguments.seed, Path(folder) / "files", lambda: bar.advance(task)
                )
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(part["faults"] for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
