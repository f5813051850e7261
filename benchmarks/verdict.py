"""How a benchmark ends: its table, its figures as JSON, and whether a limit is missed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def verdict(table: Table, rows: Sequence[Any], faults: int, path: Path | None, width: int = 140) -> int:
    """Print the table and write its rows to path, if any. faults: rows that miss a limit.

    Returns the exit status: 1 if there are some, or nothing was measured.
    """
    Console(width=width).print(table)
    if path:
        path.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{len(rows)} rows, {faults} miss a limit")
    return int(faults > 0 or not rows)
