"""What a test needs and may not be there."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest


def module_with(name: str, of: str, reason: str = "") -> ModuleType:
    """A module that has the class ``of``; the test, or the whole file, is skipped where it has not.

    pytest.importorskip asks for a module alone, and any folder is one: in a clone, vpr_msgs/ and launch/ are.
    """
    try:
        module = importlib.import_module(name)
        getattr(module, of)
    except (ImportError, AttributeError):
        package = name.partition(".")[0]
        reason = reason or f"{package} is not built (python tools/build_messages.py)"
        pytest.skip(reason, allow_module_level=True)
    return module


def starting_weights(name: str) -> Path:
    """The file of published weights in the folder beside the real recordings; skips without it."""
    data = Path(os.environ.get("VPR_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = data.parent / "weights" / name
    if not path.is_file():
        pytest.skip(f"the starting weights {name} are not here")
    return path
