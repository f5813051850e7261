#!/usr/bin/env python3
"""Run what a robot uses with the oldest versions that setup.cfg allows (tools/oldest.txt), in environments of its own.

python tools/test_oldest.py FOLDER [PYTHON...]    makes FOLDER-3.10 and so on

PYTHON: interpreters; Python 3.10 (Ubuntu 22.04) and 3.12 (Ubuntu 24.04) by default, from PATH or pyenv, and where
neither is there this one. Nothing is built: the node runs as in a clone whose vpr_msgs nobody has compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = ("3.10", "3.12")
NEWEST = (3, 12)  # later ones have no wheels of such old versions
TESTS = (
    "test/vpr_ros/cli",
    "test/test_readme.py",
    "test/test_packaging.py",
    "test/vpr_ros/maps/test_features.py",
    "test/vpr_ros/loops/test_loop_closer.py",
    "test/vpr_ros/drives/test_bag.py",
    "test/vpr_ros/evaluation/test_report.py",
    "test/vpr_ros/matching/test_relative_pose.py",
    "test/vpr_ros/localize/test_thumbnails.py",
    "test/vpr_ros/ros/test_node.py",
)


def version(python: str) -> str:
    """Major and minor, such as 3.12; empty where it does not run (pyenv's stand-ins on PATH often do not)."""
    command = [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def find(wanted: str) -> str | None:
    """An interpreter of this version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [f"python{wanted}", *map(str, sorted(pyenv.glob(f"{wanted}.*/bin/python"), reverse=True))]
    return next((python for python in candidates if version(python) == wanted), None)


def test(python: str, folder: Path) -> int:
    """Install, where that is not done, and run the tests. Returns the worst status."""
    print(f"== the oldest versions, on Python {version(python)} ({python}) in {folder}", flush=True)
    inside, stamp = folder / "bin" / "python", folder / ".installed"
    pins = ROOT / "tools" / "oldest.txt"
    if not stamp.is_file() or stamp.stat().st_mtime < max(pins.stat().st_mtime, (ROOT / "setup.cfg").stat().st_mtime):
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [str(inside), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-c", str(pins), "-e", f"{ROOT}[ros,test]"], check=True)
        stamp.touch()
    return subprocess.run([str(inside), "-m", "pytest", *TESTS], cwd=ROOT, check=False).returncode


def main() -> int:
    folder, *pythons = sys.argv[1:]
    pythons = pythons or [python for python in map(find, WANTED) if python is not None]
    if not pythons and sys.version_info[:2] <= NEWEST:
        pythons = [sys.executable]
    if not pythons:
        print(f"nothing tested: there is no Python {' or '.join(WANTED)} here, and no old versions for this one")
    return max([test(python, Path(f"{folder}-{version(python)}").absolute()) for python in pythons], default=0)


if __name__ == "__main__":
    sys.exit(main())
