"""A node that cannot start says why, and what to do about that very cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import processes
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")


def start(folder: Path, *arguments: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """The node as a process. variables: to set, or None to unset."""
    environment = {**processes.environment(), **variables}
    return subprocess.run(
        [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args", *arguments],
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("variables", "arguments", "said", "advice"),
    [
        (
            {"HOME": None, "ROS_LOG_DIR": None, "ROS_HOME": None},
            [],
            "logging directory",
            "set HOME, or set ROS_LOG",
        ),
        ({"ROS_LOG_DIR": "/proc/nowhere"}, [], "'/proc/nowhere'", "ROS_LOG_DIR to a writable folder"),
        ({}, ["-p", "camera_pose:=[1, 2.5]"], "camera_pose", "write a list of all floats or all integers"),
        ({}, ["--params-file", "none.yaml"], "none.yaml", "give --params-file a readable YAML file"),
        ({}, ["--log-level", "loud"], "loud", "debug, info, warn, error or fatal"),
        ({"ROS_DOMAIN_ID": "mine"}, [], "ROS_DOMAIN_ID", "to a number"),
        ({}, ["-r", "__ns:=9"], "__ns:=9", "check the --ros-args"),
    ],
    ids=["no HOME", "no log folder", "mixed list", "no parameters", "log level", "domain", "namespace"],
)
def test_each_cause_has_its_own_advice(
    tmp_path: Path, variables: dict[str, str | None], arguments: list[str], said: str, advice: str
) -> None:
    """A systemd unit without HOME was told to check its lists."""
    done = start(tmp_path, *arguments, **variables)
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("localize: ") and said in sentence and sentence.split("; ")[-1].find(advice) >= 0
    assert "/src/" not in sentence and "Traceback" not in done.stderr


def test_a_parameter_may_be_of_any_letters_under_any_locale(tmp_path: Path) -> None:
    """LC_ALL=C without Python's UTF-8 mode: a map in ö/ü is named as it is called."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    arguments = ["-p", "map:=größe/ü.vprmap", "-p", "autostart:=false", "--log-level", "loud"]
    said = start(tmp_path, *arguments, **locale).stderr
    assert "surrogates" not in said and "loud" in said  # its arguments were read, to the mistake at their end


@pytest.mark.parametrize("arguments", [["map:=town.vprmap"], ["--map", "town.vprmap"], ["town.vprmap"]])
def test_arguments_that_are_not_ros_s_end_with_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    """They were ignored, and the node waited for a map, with the advice to give what had been given."""
    command = [sys.executable, "-m", "vpr_ros.ros.node", *arguments, "--ros-args", "-p", "image:=/camera"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=processes.environment(), text=True, capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 1 and "usage: localize --ros-args -p NAME:=VALUE" in ended.stderr
