"""~/loop_closures over DDS: the one topic that says everything."""

from __future__ import annotations

from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
messages = needs.module_with("vpr_msgs.msg", of="Match")
services = needs.module_with("vpr_msgs.srv", of="Query")


def test_closures_arrive_with_and_without_transform(bench: Any, robot: Any, hear: Any) -> None:
    """Stamps, numbers and geometry as measured; an unverified one has no transform at all, not an identity."""
    adapter = bench.open("loop_closures")
    heard = hear(messages.LoopClosure, "/localizer/loop_closures", adapter._publisher)
    adapter.closed(bench.closure(now_s=100.25, earlier_s=10.5, match_drive="today-0"))
    adapter.closed(bench.closure(verified=False, probability=0.4, match_map="town.vprmap"))
    robot.wait(lambda: len(heard) == 2, "two closures")
    verified, other = heard
    assert (verified.header.stamp.sec, verified.header.stamp.nanosec) == (100, 250_000_000)
    assert (verified.match_stamp.sec, verified.match_stamp.nanosec) == (10, 500_000_000)
    assert (verified.header.frame_id, verified.keyframe_id, verified.match_id) == ("base_link", 50, 5)
    assert (verified.match_drive, verified.match_map, verified.verified) == ("today-0", "", True)
    assert verified.drive == other.drive == "today-1"  # else nobody can tell whose past it is
    assert (verified.inliers, verified.similarity, verified.probability) == (40, 0.8, 0.95)
    p = verified.t_match_query[0].pose.position
    np.testing.assert_allclose([p.x, p.y, p.z], bench.T_match_base[:3, 3], atol=1e-9)
    assert np.linalg.eigvalsh(np.array(verified.t_match_query[0].covariance).reshape(6, 6))[0] > 0
    assert not other.verified
    assert len(other.t_match_query) == 0
    assert other.match_map == "town.vprmap"


def test_query_takes_an_image_and_gives_matches() -> None:
    """The service's type, as the node will serve it."""
    assert set(services.Query.Request.get_fields_and_field_types()) == {"image"}
    assert services.Query.Response.get_fields_and_field_types() == {
        "success": "boolean",
        "message": "string",
        "matches": "vpr_msgs/Matches",
    }
