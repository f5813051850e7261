"""How the node finds its camera: topics after remapping, QoS that users override, CameraInfo however it is sent."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

ERROR = 2
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_auto_looks_at_the_topic_after_remapping(street: Any, robot: Any, start_node: Any) -> None:
    """`-r image:=/camera/image_raw/compressed` is how ROS users name a camera."""
    start_node(map=street.map, base_frame="''", remap="image:=/camera/image_raw/compressed")
    robot.publish("/camera/image_raw/compressed", robot.compressed(street.jpeg(2), time.time()))
    robot.wait_for_count("images answered", 1)


def test_qos_overrides_work_or_are_refused(street: Any, robot: Any, start_node: Any) -> None:
    """An override that is swallowed costs an evening: the camera is silent and the file says why it should not be."""
    prefix = "qos_overrides./image.subscription"
    start_node(map=street.map, base_frame="''", reliability="best_effort", **{f"{prefix}.reliability": "reliable"})

    def reliabilities() -> list[Any]:
        found = robot.node.get_subscriptions_info_by_topic("/image")
        return [info.qos_profile.reliability for info in found]

    assert robot.wait(reliabilities, "the subscription") == [ReliabilityPolicy.RELIABLE]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("/image.subscription.reliability", "sure", "is 'sure'; it must be one of"),
        ("/image.subscription.depth", 0, "is 0; it must be an integer"),
        ("/image.subscription.history", "unknown", "is 'unknown'; it must be one of keep_last, keep_all"),
        (
            "/imagee.subscription.depth",
            3,
            "matches no subscription; did you mean qos_overrides./image.subscription.depth",
        ),
        ("/image.publisher.depth", 3, "matches no subscription"),
    ],
)
def test_a_wrong_override_is_one_sentence(
    name: str, value: Any, words: str, street: Any, robot: Any, start_node: Any
) -> None:
    node = start_node(map=street.map, base_frame="''", **{f"qos_overrides.{name}": value})
    robot.wait_for_diagnosis(words, level=ERROR)
    assert "Traceback" not in node.log


def test_depth_comes_with_its_camera(street: Any, robot: Any, start_node: Any) -> None:
    """depth_image_proc takes depth and CameraInfo of one size and one stamp, and without distortion. The camera's own
    CameraInfo may be sent once and latched, as by a bag or a simple driver.
    """
    if not street.describer.manifest.depth:
        pytest.skip("needs a model with depth")
    robot.listen(Image, "/localizer/depth/image_rect")
    robot.listen(CameraInfo, "/localizer/depth/camera_info")
    height, width = street.draw(3).shape[:2]
    K = np.array([[200.0, 0.0, width / 2], [0.0, 210.0, height / 2], [0.0, 0.0, 1.0]])
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.1] * 5, k=K.ravel())
    latched = robot.node.create_publisher(CameraInfo, "/camera_info", LATCHED)
    latched.publish(info)
    start_node(map=street.map, base_frame="''")

    def camera() -> Any:
        robot.publish("/image", robot.image(street.draw(3), time.time()))
        robot.spin(0.2)
        return robot.heard["/localizer/depth/camera_info"]

    (sent, *_) = robot.wait(camera, "the CameraInfo of the depth")
    depth = next(d for d in robot.heard["/localizer/depth/image_rect"] if d.header.stamp == sent.header.stamp)
    assert (depth.width, depth.height) == (sent.width, sent.height)
    assert sent.k[0] == pytest.approx(200.0 * sent.width / width)
    assert sent.k[4] == pytest.approx(210.0 * sent.height / height)
    assert not any(sent.d)
    robot.wait(lambda: not robot.node.get_subscriptions_info_by_topic("/camera_info"), "no more listening")
    robot.node.destroy_publisher(latched)


def test_paths_are_understood_as_people_write_them(
    street: Any, robot: Any, start_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell expands ~ behind :=, and a launch file says package://."""
    monkeypatch.setenv("HOME", str(tmp_path))
    os.symlink(street.map, tmp_path / "town.vprmap")
    start_node(map="~/town.vprmap", base_frame="''")
    robot.wait_for_state("active")
