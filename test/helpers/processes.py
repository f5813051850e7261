"""Other Pythons that run this code."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**others: str) -> dict[str, str]:
    """This process's variables for one that imports this clone first; others: more of them.

    What PYTHONPATH holds already stays: a ROS installation is found by it.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **others}
