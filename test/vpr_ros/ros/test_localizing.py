"""What the localising node does for others: several of them on one map, and questions about single images."""

from __future__ import annotations

from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from std_srvs.srv import Trigger


def test_two_cameras_on_one_map(street: Any, robot: Any, start_node: Any) -> None:
    """Several cameras are one node each, in namespaces of their own, on one map; neither hears the other's images."""
    from geometry_msgs.msg import PoseWithCovarianceStamped

    for name in ("front", "rear"):
        robot.listen(PoseWithCovarianceStamped, f"/{name}/localizer/pose")
        start_node(namespace=f"/{name}", map=street.map, base_frame="''", adapters="initial_pose")
    for name, place in (("front", 3), ("rear", 7)):
        poses = robot.heard[f"/{name}/localizer/pose"]
        for attempt in range(20):
            robot.publish(f"/{name}/image", robot.image(street.draw(place), stamp_s=10.0 + 0.1 * attempt))
            robot.spin(0.3)
            if poses and abs(poses[-1].pose.pose.position.x - street.spacing_m * place) < 1.0:
                break
        else:
            raise AssertionError(f"{name} did not recognise place {place}")
        assert robot.call(Trigger, f"/{name}/localizer/send_initial_pose").success  # chosen adapters are there
    front = robot.heard["/front/localizer/pose"][-1].pose.pose.position
    expected = {f"/{name}/localizer: visual localisation" for name in ("front", "rear")}

    def both_report() -> bool:
        return expected == {status.name for message in robot.heard["/diagnostics"] for status in message.status}

    robot.wait(both_report, "diagnostics of both nodes, once a second")
    assert front.x == pytest.approx(street.spacing_m * 3, abs=1.0)


def test_query_looks_without_remembering(street: Any, robot: Any, start_node: Any) -> None:
    """Somebody else's image, an operator's say, is looked up and the robot's own belief stays as it is."""
    services = needs.module_with("vpr_msgs.srv", of="Query")
    start_node(map=street.map, camera_pose="[0.5, 0.0, 1.5, 0.0, 0.0, 0.0]")
    for stamp_s in range(1, 6):  # best effort may lose some
        robot.publish("/image", robot.image(street.draw(2), float(stamp_s)))
        robot.spin(0.2)
    robot.wait_for_count("images answered", 2)
    before = robot.diagnosis()[2]["last answer"]
    request = services.Query.Request(image=robot.image(street.draw(6), stamp_s=0.5))
    for _ in range(2):
        found = robot.call(services.Query, "/localizer/query", request)
        assert found.success, found.message
        best = found.matches.matches[0]
        assert best.similarity == pytest.approx(1.0, abs=0.02)
        np.testing.assert_allclose(best.pose.pose.position.x, street.spacing_m * 6 - 0.5, atol=1e-6)
        assert found.matches.header.frame_id == "map" and found.matches.header.stamp.nanosec == 500_000_000
    robot.spin(1.1)
    assert robot.diagnosis()[2]["last answer"] == before
    assert robot.diagnosis()[2].get("clock jumps") is None

    found = robot.call(services.Query, "/localizer/query", services.Query.Request())
    assert not found.success and "empty" in found.message
