"""A fault of the node must show offline: a bag goes through the node's own pipeline, without ROS."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.messages import stamp_ns
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.bag import BagDrive, write_bag
from vpr_ros.drives.options import DriveOptions
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.ros.params import NodeParams, read_params_file
from vpr_ros.ros.replay import DROPPED, BagReplay


@pytest.fixture
def town(tmp_path: Path, painted_drive: Any) -> Path:
    """A map of a painted street, and a bag of another drive along it."""
    with build_map(tmp_path / "town.vprmap", [painted_drive(name="a")], open_describer(backend="onnx", threads=1)):
        pass
    write_bag(tmp_path / "live", painted_drive(name="live", start=2.0))
    return tmp_path


def replayed(town: Path, bag: str, pace: float = 0.0, **params: Any) -> tuple[list[Any], BagReplay]:
    with Localizer.open(town / "town.vprmap", backend="onnx", threads=1) as localizer:
        replay = BagReplay(localizer, BagDrive(town / bag, DriveOptions()), NodeParams(**params), pace)
        return list(replay), replay


def test_answers_are_the_localisers_own(town: Path) -> None:
    """Image for image what the localiser says of the same frames, with the truth in the map's frame."""
    found, _ = replayed(town, "live")
    drive = BagDrive(town / "live", DriveOptions())
    with Localizer.open(town / "town.vprmap", backend="onnx", threads=1) as localizer:
        expected = [localizer.localize(frame.load()) for frame in drive]
    assert len(found) == len(expected) > 3
    for (frame, answer, _), estimate in zip(found, expected, strict=True):
        assert answer.answered and answer.off_map_probability == pytest.approx(estimate.off_map_probability)
        assert answer.place_ids.tolist() == [match.place_id for match in estimate.matches[:25]]
        assert frame.T_map_camera is not None and answer.latency_ms > 0


def test_late_images_and_images_that_come_twice_are_left_out(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the node does, and counted as it counts them."""
    whole = BagDrive.messages

    def shuffled(drive: BagDrive, more: Any) -> Any:
        messages = list(whole(drive, more))
        images = [row for row, (topic, _, _) in enumerate(messages) if topic == drive.image_topic]
        topic, log_ns, last = messages[images[-1]]
        late, last_ns = deepcopy(last), stamp_ns(last.header.stamp)
        late.header.stamp.sec, late.header.stamp.nanosec = divmod(last_ns - 300_000_000, 10**9)
        return iter([*messages, (topic, log_ns, late), (topic, log_ns, last)])

    monkeypatch.setattr(BagDrive, "messages", shuffled)
    found, replay = replayed(town, "live")
    assert len(found) == len(BagDrive(town / "live", DriveOptions()))
    lines = " ".join(replay.tally.lines())
    assert "1 images late" in lines and "1 images duplicate" in lines


def test_the_mounting_and_odometry_are_the_nodes(town: Path) -> None:
    """A base_frame that no transform reaches is what the node would complain of: odometry cannot be used then."""
    _, replay = replayed(town, "live", base_frame="nowhere")
    assert replay.tally.count("images without odometry") == 0  # TF reaches from odometry's own frame
    assert "no transform nowhere" in replay._pipeline._cameras[""].mount._sentence


def test_at_a_pace_the_newest_image_wins(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A localiser that takes longer than the images are apart drops the older ones, in the report too."""
    import time

    real = Localizer.localize

    def slow(self: Localizer, frame: Any) -> Any:
        time.sleep(0.3)
        return real(self, frame)

    monkeypatch.setattr(Localizer, "localize", slow)
    found, _ = replayed(town, "live", pace=10.0)  # an image each 0.1 s
    problems = [answer.problem for _, answer, _ in found]
    assert problems.count(DROPPED) >= len(found) // 3
    assert [answer.frame_index for _, answer, _ in found] == list(range(len(found)))
    with pytest.raises(DriveError, match="the pace is"):
        replayed(town, "live", pace=-1.0)


def test_no_ros_is_needed(town: Path) -> None:
    """An engineer replays on a laptop without ROS; what was used is written beside the figures."""
    params = town / "node.yaml"
    params.write_text("/**:\n  ros__parameters:\n    filter.speed: 1.5\n    search: {matches: 9}\n")
    code = "import sys; sys.modules['rclpy'] = None; from vpr_ros.cli.main import main; main()"
    arguments = ["replay", "town.vprmap", "live", "-o", "out", "--params-file", "node.yaml", "-s", "filter.speed=2.0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=town, env=processes.environment(COLUMNS="120"), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used = (town / "out" / "node.yaml").read_text()
    assert "speed: 2.0" in used and "matches: 9" in used
    assert json.loads((town / "out" / "results.json").read_text())


def test_parameter_files_are_ros_own(tmp_path: Path) -> None:
    """The file of the robot is the file of the replay, and a wrong name is one sentence."""
    path = tmp_path / "node.yaml"
    path.write_text("localizer:\n  ros__parameters: {search.matches: 7}\nother:\n  ros__parameters: {x: 1}\n")
    assert read_params_file(path) == {"search": {"matches": 7}}
    path.write_text("search: {matches: 8}\n")
    assert read_params_file(path) == {"search": {"matches": 8}}
    with pytest.raises(ConfigError):
        read_params_file(tmp_path / "none.yaml")


def test_a_frame_is_read_again_for_the_report(town: Path) -> None:
    """The report shows the image that was localised."""
    (frame, _, _), *_ = replayed(town, "live")[0]
    assert isinstance(frame, DriveFrame) and frame.read().ndim == 3 and frame.read().dtype == np.uint8
