"""The front door: the names that a user imports from vpr_ros, and what importing them may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest

import vpr_ros

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", vpr_ros.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """A name that is listed but cannot be imported, or says nothing, is a door into a wall."""
    thing = getattr(vpr_ros, name)
    assert thing.__doc__
    assert name in dir(vpr_ros)


def test_type_checkers_see_the_same_names() -> None:
    """They read the TYPE_CHECKING block, Python reads the table: a name in one alone would be missing for the other."""
    tree = ast.parse((ROOT / "vpr_ros" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(declared) == sorted(vpr_ros.__all__)
    for name, module in declared.items():
        assert getattr(sys.modules[module or ""], name) is getattr(vpr_ros, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """hasattr, mock and pickle rely on it."""
    assert not hasattr(vpr_ros, "Localiser")


def cpu_seconds(code: str) -> float:
    """CPU time of a Python that runs this code, best of five (wall time would be that of other work too)."""
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=processes.environment())
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(times)


def test_importing_the_localizer_is_quick() -> None:
    """Under 2.5 times what numpy takes beyond it, and no ROS or network runtime: a script must not wait for them."""
    code = (
        "import sys; from vpr_ros import Localizer;"
        "heavy = {'cv2', 'onnxruntime', 'rclpy', 'torch', 'matplotlib', 'rosbags'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert cpu_seconds(code) < 3.5 * cpu_seconds("import numpy")
