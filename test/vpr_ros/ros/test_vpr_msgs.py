"""The typed way out, for whoever wants places with probabilities instead of one pose."""

from __future__ import annotations

from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
messages = needs.module_with("vpr_msgs.msg", of="Match")


def test_matches_on_their_topic(street: Any, robot: Any, start_node: Any) -> None:
    """The place that was drawn comes first, as the base's pose, with what the map knows of it."""
    robot.listen(messages.Matches, "/localizer/matches")
    start_node(map=street.map, camera_pose="[0.5, 0.0, 1.5, 0.0, 0.0, 0.0]")
    robot.publish("/image", robot.image(street.draw(3), stamp_s=5.0))
    answer = robot.wait(lambda: robot.heard["/localizer/matches"], "matches")[-1]
    assert answer.header.frame_id == "map"
    assert answer.header.stamp.sec == 5
    assert 0.0 <= answer.off_map_probability <= 1.0
    best = answer.matches[0]
    assert (best.drive, best.stamp.sec) == ("drawn", 3)
    assert best.similarity == pytest.approx(1.0, abs=0.02)
    assert 0.0 <= best.probability <= 1.0
    p = best.pose.pose.position
    np.testing.assert_allclose([p.x, p.y, p.z], [street.spacing_m * 3 - 0.5, 0.0, 0.0], atol=1e-6)
    assert np.linalg.eigvalsh(np.array(best.pose.covariance).reshape(6, 6)).min() > 0
    assert [match.similarity for match in answer.matches] == sorted(
        (m.similarity for m in answer.matches), reverse=True
    )
