"""The structure stays as planned only while a test holds it: who may import whom, and what starting up may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vpr_ros", "vpr_lab")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

# One package a layer. Each imports those before it and itself; localize and loops do not see each other.
LAYERS = (
    *("base", "drives", "inference", "matching", "maps", "localize", "loops", "evaluation", "fleet", "ros", "demo"),
    "cli",
)
NEIGHBOURS = ({"localize", "loops"},)
LAB_LAYERS = ("simulation", "network", "training", "plugins", "export", "comparison", "systems", "cli")
# What the lab may use of vpr_ros: what runs without ROS.
FOR_THE_LAB = (*LAYERS[: LAYERS.index("evaluation") + 1],)
# vpr_lab's commands share the helpers of the command line.
EXCEPTIONS = {("vpr_lab.cli", "vpr_ros.cli.common")}
ONLY_IN = {
    "rclpy": ("vpr_ros/ros", "vpr_ros/demo"),
    "torch": ("vpr_lab",),
    "moderngl": ("vpr_lab/simulation",),
    "faiss": ("vpr_ros/maps/index.py",),
    "tensorrt": ("vpr_ros/inference/tensorrt.py",),
    "tensorrt_rtx": ("vpr_ros/inference/tensorrt.py",),
    "rosbags": ("vpr_ros/drives",),
    "ray": ("vpr_ros/fleet/ray_build.py",),
    "lancedb": ("vpr_ros/fleet/lake.py",),
    "typer": ("vpr_ros/cli", "vpr_lab/cli"),
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside functions, absolute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """The modules of these packages that a file imports; a package itself only if that is all that is imported."""
    found = imports(path) & set(MODULES)
    return {module for module in found if not any(other.startswith(f"{module}.") for other in found)}


def layer(module: str) -> str:
    """The part of a module below its package, such as maps."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """A layer that imports a later one, or a neighbour, is the first arrow of a ring."""
    package, own = module.split(".")[0], layer(module)
    if own == "":
        return
    order = LAYERS if package == "vpr_ros" else LAB_LAYERS
    assert own in order, f"{module}: no layer is called {own}; no file lies beside the layers"
    for other in own_imports(MODULES[module]):
        theirs = layer(other)
        if theirs == "" or any(module.startswith(f"{ours}.") and other == it for ours, it in EXCEPTIONS):
            continue
        if package == "vpr_ros":
            assert other.startswith("vpr_ros."), f"{module} must not import {other}: a robot runs without vpr_lab"
        elif other.startswith("vpr_ros."):
            assert theirs in FOR_THE_LAB, f"{module} must not import {other}"
            continue
        assert order.index(theirs) <= order.index(own), f"{module} must not import {other}"
        assert {own, theirs} not in NEIGHBOURS, f"{module} must not import {other}: they are neighbours"


def test_no_two_files_import_each_other() -> None:
    """Nor three in a ring, through imports inside functions or for types only: whoever changes one changes all."""
    graph = {module: own_imports(path) - {module} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_lies_beside_the_layers() -> None:
    """A package with loose files at its top is a package whose plan cannot be read."""
    for package, order in (("vpr_ros", LAYERS), ("vpr_lab", LAB_LAYERS)):
        top = {path.name for path in (ROOT / package).iterdir() if path.name not in ("__pycache__", "py.typed")}
        assert top == {"__init__.py", *order}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    """A robot without torch, a laptop without ROS and a server without FAISS each import the rest."""
    relative = path.relative_to(ROOT)
    for module in imports(path):
        allowed = ONLY_IN.get(module.split(".")[0])
        if allowed is not None:
            parts = {str(relative), *map(str, relative.parents)}
            assert parts & set(allowed), f"{relative} must not import {module}"


def test_starting_up_is_quick_and_light() -> None:
    """`import vpr_ros` and `vpr --help` load no torch, FAISS, OpenCV or ROS and take under half a second of a CPU (best
    of five; wall time would be that of the machine's other work too).
    """
    heavy = ["torch", "faiss", "cv2", "rclpy", "onnxruntime", "matplotlib", "moderngl", "rosbags", "ray", "lancedb"]
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
