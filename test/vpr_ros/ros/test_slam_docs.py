"""What the guides for SLAM and Nav2, and the configuration of robot_localization, tell a user to type.

What is wrong there fails in silence.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from vpr_ros.ros.adapters.names import CHOICES

ROOT = Path(__file__).resolve().parents[3]
GUIDES = ROOT / "docs" / "guides"
DOCS = "".join((GUIDES / name).read_text() for name in ("slam.md", "nav2.md"))
FILTER = yaml.safe_load((ROOT / "config" / "robot_localization.yaml").read_text())["ekf_map"]["ros__parameters"]


def test_every_adapter_is_told_of() -> None:
    """With its modes, as the node takes them."""
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", DOCS, re.M)
    assert {name: tuple(modes.split(", ")) for name, modes in rows} == {
        name: choice.modes for name, choice in CHOICES.items()
    }


def test_topics_are_those_of_the_adapters() -> None:
    """Who remaps a name that does not exist gets no error."""
    for choice in CHOICES.values():
        source = (ROOT / "vpr_ros" / "ros" / "adapters" / f"{choice.module}.py").read_text()
        for line in re.findall(r"^[A-Z, ]+ = (\".*\")$", source, re.M):
            for name in re.findall(r"\"([^\"]+)\"", line):
                assert f"`{name}`" in DOCS, f"{choice.module}: {name}"


def test_filter_takes_x_y_yaw_and_believes_in_lag() -> None:
    """The rules of robot_localization that cost a day each."""
    names = ["x", "y", "z", "roll", "pitch", "yaw", "vx", "vy", "vz", "vroll", "vpitch", "vyaw", "ax", "ay", "az"]
    used = {key: [n for n, on in zip(names, FILTER[f"{key}_config"], strict=True) if on] for key in ("pose0", "odom0")}
    assert used == {"pose0": ["x", "y", "yaw"], "odom0": ["vx", "vy", "vyaw"]}
    assert FILTER["pose0_differential"] is False and FILTER["smooth_lagged_data"] is True
    assert FILTER["history_length"] >= 1.0 and FILTER["pose0_rejection_threshold"] > 0
    assert FILTER["world_frame"] == FILTER["map_frame"]


def test_filter_starts_anywhere() -> None:
    """Humble reads 225 numbers whatever the file holds; a small variance of x, y or yaw rejects every pose."""
    covariance = np.array(FILTER["initial_estimate_covariance"]).reshape(15, 15)
    np.testing.assert_array_equal(covariance, np.diag(np.diag(covariance)))
    assert covariance[0, 0] == covariance[1, 1] == pytest.approx(1e6)
    assert covariance[5, 5] > np.pi**2
    assert (np.diag(covariance) > 0).all()
    assert all(isinstance(value, float) for value in FILTER["initial_estimate_covariance"])


def test_stand_ins_never_reach_a_robot() -> None:
    """The cut-down messages of tools/wheels would shadow the real ones in a workspace."""
    assert (ROOT / "tools" / "wheels" / "COLCON_IGNORE").is_file()
