"""What the pipeline makes of images' stamps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from rclpy.serialization import serialize_message

from vpr_ros.base.image_order import DUPLICATE, LATE
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.modes.mode import ImageSample, Reply
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.wiring import WiredPipeline


def test_an_image_out_of_order_is_dropped(street: Any, robot: Any) -> None:
    """One that was overtaken on its way must not cost the past; a clock that jumps back does."""
    node, health = ResponsiveNode("localizer"), Health()
    pipeline = WiredPipeline(node, NodeParams(map=str(street.map), base_frame="", threads=1), health)
    try:
        for second, stamp_s in enumerate((10.0, 10.5, 9.6, 10.5, 10.6, 5.0, 5.1, 5.2), start=100):
            arrival = pipeline.arrival(serialize_message(robot.image(street.draw(3), stamp_s)), "image")
            pipeline.process(replace(arrival, clock_ns=second * 10**9))
    finally:
        pipeline.close()
        node.destroy_node()
    names = "images answered", f"images {LATE}", f"images {DUPLICATE}", "clock jumps", "dropped (bad image)"
    assert [health.counts[name] for name in names] == [5, 2, 1, 1, 0]


def test_an_image_without_odometry_is_no_restart_of_it(
    street: Any, robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number of restarts is 0: after a restart, every such image would have dropped map -> odom twice."""
    node, restarts, told = ResponsiveNode("localizer"), [], []
    pipeline = WiredPipeline(node, NodeParams(map=str(street.map), base_frame="", threads=1), Health())
    try:
        mode: Any = pipeline.mode
        monkeypatch.setattr(mode.localizer, "restart_odometry", lambda: restarts.append(1))
        monkeypatch.setattr(mode._adapters[-1], "publish", lambda answer: told.append(answer.odometry_start))
        for number, start in enumerate((0, 1, None, 1)):
            T_odom_camera = None if start is None else np.eye(4)
            image = ImageSample(0, number * 10**9, "", street.draw(3), np.eye(4), T_odom_camera, "odom", start or 0)
            mode.answer(image)
    finally:
        pipeline.close()
        node.destroy_node()
    assert len(restarts) == 1 and told == [0, 1, 1, 1]


def test_odometry_of_the_nodes_clock_says_nothing_of_another_ones_times(
    street: Any, robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera 20 s behind got the odometry of 20 s ago. In a bag without sim time both are of another clock."""
    node, seen = ResponsiveNode("localizer"), []
    pipeline = WiredPipeline(node, NodeParams(map=str(street.map), base_frame="", odom="/odom", threads=1), Health())
    try:
        monkeypatch.setattr(pipeline.mode, "answer", lambda sample: seen.append(sample) or Reply("", 0))
        track: Any = pipeline._pipeline._odometry
        monkeypatch.setattr(pipeline._pipeline, "_camera_in_odom", lambda odometry, *_: odometry)
        for k in range(300):
            track.store(robot.odometry(0.1 * k, 100.0 + 0.1 * k))
        for stamp_s, clock_s in ((129.0, 129.5), (109.0, 129.6), (110.0, 5000.0)):
            arrival = pipeline.arrival(serialize_message(robot.image(street.draw(3), stamp_s)), "image")
            pipeline.process(replace(arrival, clock_ns=round(clock_s * 1e9)))
            pipeline._pipeline._cameras.clear()  # its stamps go back here
    finally:
        pipeline.close()
        node.destroy_node()
    assert [sample.T_odom_camera is not None for sample in seen] == [True, False, True]
