"""The demo is the first thing that a user runs, perhaps in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

_STARTS = """
import sys
from pathlib import Path
import rclpy
from vpr_ros.demo.run import isolate_ros
isolate_ros(Path(sys.argv[1]))
rclpy.init()
rclpy.create_node("player").get_logger().info("hello")
"""


def test_it_needs_no_home(tmp_path: Path) -> None:
    """`docker run -u 1000` has HOME=/: ROS could not write its log, which ended the demo after its map was built."""
    environment = {name: value for name, value in os.environ.items() if name != "ROS_LOG_DIR"}
    environment |= {"HOME": "/proc/none", "ROS_DOMAIN_ID": str(os.getpid() % 200 + 1)}
    run = subprocess.run(
        [sys.executable, "-c", _STARTS, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert any(log.stat().st_size for log in (tmp_path / "ros_log").iterdir())
