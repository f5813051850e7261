"""Answers in a file, beside everything else that the node publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

import numpy as np
from std_msgs.msg import Header

from vpr_ros.base.records import Estimate
from vpr_ros.ros.adapters.answers_file import AnswersFile
from vpr_ros.ros.outputs.answer import Answer


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is full")
def test_a_full_disk_is_said_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The adapters after it got nothing, and the log spoke of an internal error."""
    file = AnswersFile(Path("/dev/full"))
    for _ in range(3):
        file.publish(Answer(0, Estimate(1, [], [], 0.5), Header(), Header(), np.eye(4)))
    file.close()
    (record,) = caplog.records
    assert "answers_file: cannot write /dev/full (No space left on device)" in record.getMessage()
