"""Hydra: pose graph edges keyed by stamps."""

from __future__ import annotations

from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
messages = needs.module_with("pose_graph_tools_msgs.msg", of="PoseGraph")

from vpr_ros.base import covariance  # noqa: E402
from vpr_ros.base.messages import matrix_from_pose  # noqa: E402


@pytest.fixture
def hydra(bench: Any, hear: Any) -> tuple[Any, list[Any]]:
    adapter = bench.open("hydra")
    heard = hear(messages.PoseGraph, "/external_loop_closures", adapter._publisher)
    return adapter, heard


def test_edge_says_where_now_is_seen_from_then(bench: Any, robot: Any, hydra: Any) -> None:
    """Hydra looks both stamps up in nanoseconds and takes the pose as to_T_from: inverted, a loop opens further."""
    adapter, heard = hydra
    now_ns, earlier_ns = 1_700_000_100_250_000_001, 1_700_000_010_500_000_001
    adapter.closed(bench.closure(stamp_ns=now_ns, match_stamp_ns=earlier_ns))
    graph = robot.wait(lambda: heard, "an edge")[0]
    assert len(graph.nodes) == 0
    (edge,) = graph.edges
    assert (edge.key_from, edge.key_to, edge.type) == (now_ns, earlier_ns, messages.PoseGraphEdge.LOOPCLOSE)
    np.testing.assert_allclose(matrix_from_pose(edge.pose), bench.T_match_base, atol=1e-9)
    sent = np.array(edge.covariance).reshape(6, 6)
    np.testing.assert_array_equal(sent, sent.T)
    assert np.linalg.eigvalsh(sent)[0] > 0
    np.testing.assert_allclose(sent, covariance.about_end(*bench.closure().relative_base()))


@pytest.mark.parametrize(
    "changes",
    [{"verified": False, "probability": 0.99}, {"match_map": "town.vprmap"}, {"match_drive": "today-0"}],
    ids=["unverified", "on another map", "of an earlier drive"],
)
def test_not_sent(bench: Any, robot: Any, hydra: Any, changes: dict[str, Any]) -> None:
    """Hydra believes what it gets: no transform that was not measured, no stamp of another drive."""
    adapter, heard = hydra
    adapter.keyframe(bench.keyframe(1.0))  # the earlier drive was on the same clock
    adapter.closed(bench.closure(**changes))
    robot.spin(0.3)
    assert not heard
