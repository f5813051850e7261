"""Metric poses from the node: measured once the camera is known, and one sentence until then."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import CameraInfo

from vpr_ros.drives.open import open_drive
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.config import LocalizerConfig, MetricConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.features import choose_extractor
from vpr_ros.ros.params import node_params
from vpr_ros.ros.replay import BagReplay

BAGS = Path(__file__).parents[3] / "demo" / "bags"


class Start:
    """The first 60 m of a drive."""

    name, world = "overcast", "town 9001"

    def __len__(self) -> int:
        return 25

    def __iter__(self) -> Any:
        return islice(open_drive(BAGS / "overcast"), 25)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, describer: Describer) -> Path:
    path = tmp_path_factory.mktemp("town") / "town.vprmap"
    build_map(path, [Start()], describer, extractor=choose_extractor("xfeat")).close()
    return path


def test_poses_are_measured_once_the_camera_is_known(town: Path, robot: Any, start_node: Any) -> None:
    """Without CameraInfo the reason is said; with it, ~/pose is the measured one, and says how sure it is."""
    start_node(map=town, base_frame="''", **{"metric.enabled": True})
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    frames = list(islice(open_drive(BAGS / "sun"), 3, 8))
    stamps = iter(range(10, 1000))

    def send() -> None:
        robot.publish("/image", robot.image(frames[0].read(), float(next(stamps))))
        robot.spin(0.5)

    for _ in range(8):  # a problem is said once it has lasted for two seconds
        send()
    robot.wait_for_diagnosis("no CameraInfo on /camera_info yet, so poses are not measured")
    camera = frames[0].intrinsics
    assert camera is not None
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = camera.K.ravel()
    for _ in range(10):
        robot.publish("/camera_info", info)
        send()
        if "features agree" in robot.diagnosis()[2].get("last answer", ""):
            break
    else:
        raise AssertionError("no pose was measured")
    pose = robot.heard["/localizer/pose"][-1].pose
    truth = frames[0].T_map_camera
    assert truth is not None
    error = np.array([pose.pose.position.x, pose.pose.position.y, pose.pose.position.z]) - truth[:3, 3]
    assert np.linalg.norm(error) < 0.5
    assert 0 < np.reshape(pose.covariance, (6, 6))[0, 0] < 0.25
    send()
    robot.spin(1.1)
    assert "CameraInfo" not in robot.diagnosis()[1]


def test_a_map_without_local_features_is_named(street: Any, robot: Any, start_node: Any) -> None:
    """Asked for, and the map cannot: the operator reads it in the log and in /diagnostics."""
    node = start_node(map=street.map, base_frame="''", **{"metric.enabled": True})
    for attempt in range(8):
        robot.publish("/image", robot.image(street.draw(3), 10.0 + attempt))
        robot.spin(0.5)
    robot.wait_for_diagnosis("has no local features, so poses are not measured")
    robot.wait(lambda: "has no local features" in node.log, "the sentence in the log")


def test_replay_measures_as_the_node_does(town: Path) -> None:
    """Offline figures stand for the robot's: with the bag's CameraInfo, or with the parameter intrinsics."""
    drive = open_drive(BAGS / "sun")
    config = LocalizerConfig(metric=MetricConfig(enabled=True))
    for given in ({}, {"intrinsics": [1.0, 1.0, 0.0, 0.0]}):  # a camera that cannot be: nothing agrees
        params = node_params({"map": str(town), "metric": {"enabled": True}, **given})
        with Localizer.open(town, config=config, threads=1) as localizer:
            replay = BagReplay(localizer, drive, params)  # type: ignore[arg-type]
            estimates = [estimate for _, _, estimate in islice(replay, 8) if estimate is not None]
        measured = [estimate.best is not None and estimate.best.measured for estimate in estimates]
        assert sum(measured) >= 5 if not given else not any(measured)
