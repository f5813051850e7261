"""The house stays as planned only while something says so: who may import whom, and what starting up may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vpr_ros"
FILES = sorted(PACKAGE.rglob("*.py"))

# A room may import the rooms on its line and those below it, besides itself.
LAYERS = [
    {"records", "errors", "config", "files", "geometry", "camera", "image"}
    | {"camera_messages", "image_files", "image_messages", "image_order", "tally", "utf8", "world"},
    {"drives", "retrieval", "network", "training", "export", "inference", "simulation"},
    {"localizer", "loop_closer", "map_builder", "map_drives", "map_editor", "map_features", "calibrator", "quantise"},
    {"evaluation"},
    {"lab"},
    {"cli", "ros", "demo"},
]
ONLY_IN = {
    "rclpy": {"ros", "demo"},
    "torch": {"network", "training", "lab", "export.py", "inference/torch.py"},
    "faiss": {"retrieval/index.py"},
    "tensorrt": {"inference/tensorrt.py"},
    "tensorrt_rtx": {"inference/tensorrt.py"},
    "rosbags": {"drives"},
    "moderngl": {"simulation"},
    "typer": {"cli"},
}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Every module a file imports, absolute; of those inside functions only when asked for."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    """records <- drives, retrieval, network, inference <- localizer <- evaluation <- cli, ros."""
    level = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    own = room(path)
    if own == "__init__":
        assert not imports(path) - {"__future__"}
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "vpr_ros" and len(parts) > 1 and parts[1] in level:
            assert level[parts[1]] <= level[own], f"{own} must not import {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_parts_stay_in_their_rooms(path):
    """A robot without torch, a laptop without ROS and a server without FAISS each import the rest."""
    relative = str(path.relative_to(PACKAGE))
    for module in imports(path):
        allowed = ONLY_IN.get(module.split(".")[0])
        if allowed is not None:
            assert relative in allowed or relative.split("/")[0] in allowed, f"{relative} must not import {module}"


def test_starting_up_is_quick_and_light():
    """`import vpr_ros` and `vpr --help` load no torch, FAISS, OpenCV or ROS and take under half a second of a CPU (best
    of five; wall time would be that of the machine's other work too).
    """
    heavy = ["torch", "faiss", "cv2", "rclpy", "onnxruntime", "matplotlib", "moderngl", "rosbags"]
    check = (
        "import sys, vpr_ros.cli.main;"
        f"loaded = [module for module in {heavy!r} if module in sys.modules];"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    for arguments in (["-c", "import vpr_ros"], ["-m", "vpr_ros.cli.main", "--help"]):
        times = []
        for _ in range(5):
            before = os.times()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            times.append(spent)
        assert min(times) < 0.5, f"{arguments} took {min(times):.2f} s"
