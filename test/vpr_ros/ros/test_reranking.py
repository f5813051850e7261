"""A second look, chosen by parameters of the node: it is taken, and what it costs is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")


def test_second_looks_say_what_they_cost(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """Each takes a network pass or more for each image: whoever turns one on must see the price in /diagnostics."""
    second = street.build_map(tmp_path / "second.vprmap")
    start_node(
        map=street.map,
        base_frame="''",
        **{"search.describer": "'multiscale scales=[0.7,1.0,1.5]'"},
        **{"rerank.methods": f"['ensemble map={second} merge=sif', 'local_features']"},
    )
    for attempt in range(3):
        robot.publish("/image", robot.image(street.draw(3), 10.0 + attempt))
        robot.wait_for_count("images answered", attempt + 1)
    robot.wait_for_diagnosis("camera at")
    values = robot.diagnosis()[2]
    steps = ("network", "ensemble", "local_features", "search")
    cost = {step: float(values[f"{step} p50 [ms]"]) for step in steps}
    assert values["backend"].endswith("at 3 scales")
    assert cost["ensemble"] > cost["search"]
    assert cost["local_features"] >= 0, "listed; next to nothing here, where the search is sure"


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("rerank.methods", "['ensemble map=a.vprmap merge=best']", "choose one of nif, sif"),
        ("rerank.method", "['geowarp']", "did you mean 'rerank.methods'"),
        ("rerank.methods", "['ensemble map=nowhere.vprmap']", "no map nowhere.vprmap"),
        ("rerank.methods", "['local_features features=surf']", "choose xfeat, or the path"),
        ("search.describer", "multiscales", "did you mean 'multiscale'"),
        ("localizer.second_map", "b.vprmap", "is called 'rerank.methods: [ensemble map=FILE]' now"),
    ],
)
def test_what_cannot_be_is_said(
    street: Any, robot: Any, start_node: Any, parameter: str, value: str, words: str
) -> None:
    """A node that silently does without what was asked for would be measured as if it had it."""
    node = start_node(map=street.map, base_frame="''", **{parameter: value})
    robot.wait(lambda: words in node.log, f"a log that says '{words}'")
    assert "Traceback" not in node.log
