"""kill -9 while a map is written: what was confirmed is there, the map opens, and the work goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_two_dozen_kills(tmp_path: Path) -> None:
    """Of build, add, merge, calibrate, set-poses and mapping with save, at random moments."""
    pytest.importorskip("onnx.helper", reason="onnx is not installed")
    command = [sys.executable, str(ROOT / "benchmarks" / "hostile.py"), "--kills", "24", "--seed", "7", "--json"]
    done = subprocess.run([*command, str(tmp_path / "found.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())["kills"]
    assert found["trials"] == 24 and all(kinds.get("killed") for kinds in found["outcomes"].values())
