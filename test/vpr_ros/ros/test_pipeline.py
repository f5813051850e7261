"""What the pipeline makes of images' stamps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from rclpy.serialization import serialize_message

from vpr_ros.base.image_order import DUPLICATE, LATE
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.wiring import WiredPipeline


def test_an_image_out_of_order_is_dropped(street: Any, robot: Any) -> None:
    """One that was overtaken on its way must not cost the past; a clock that jumps back does."""
    node, health = ResponsiveNode("localizer"), Health()
    pipeline = WiredPipeline(node, NodeParams(map=str(street.map), base_frame="", threads=1), health)
    try:
        for second, stamp_s in enumerate((10.0, 10.5, 9.6, 10.5, 10.6, 5.0, 5.1), start=100):
            arrival = pipeline.arrival(serialize_message(robot.image(street.draw(3), stamp_s)), "image")
            pipeline.process(replace(arrival, clock_ns=second * 10**9))
    finally:
        pipeline.close()
        node.destroy_node()
    names = "images answered", f"images {LATE}", f"images {DUPLICATE}", "clock jumps", "dropped (bad image)"
    assert [health.counts[name] for name in names] == [5, 1, 1, 1, 0]
