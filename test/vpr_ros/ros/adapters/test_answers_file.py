"""Answers in a file, beside everything else that the node publishes."""

from __future__ import annotations

import logging
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
        assert file.problem.startswith("answers_file: cannot write /dev/full")  # on /diagnostics
    file.close()
    (record,) = caplog.records
    assert "answers_file: cannot write /dev/full (No space left on device)" in record.getMessage()


def test_a_disk_that_has_room_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log said that answers are left out, and nothing else ever after."""
    caplog.set_level(logging.INFO)
    file = AnswersFile(tmp_path / "answers.jsonl")
    file.problem = "answers_file: cannot write it"
    file.publish(Answer(0, Estimate(1, [], [], 0.5), Header(), Header(), np.eye(4)))
    file.close()
    assert not file.problem and "answers.jsonl again" in caplog.text
