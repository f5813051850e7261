"""Callbacks that come while their node is configured: the executor's thread runs beside that of the transition."""

from __future__ import annotations

import contextlib
import inspect
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base.errors import MissingDependencyError
from vpr_ros.ros.adapters import open as adapters
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.params import NodeParams, OutboxConfig, PriorConfig, WatchdogConfig
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.wiring import WiredPipeline


class EagerNode(ResponsiveNode):
    """Calls a callback as soon as its entity exists, as an executor does whose thread is the faster one."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.called: list[str] = []

    def create_timer(self, period: float, callback: Any, *args: Any, **options: Any) -> Any:
        timer = super().create_timer(period, callback, *args, **options)
        self._call("timer", callback)
        return timer

    def create_subscription(self, kind: Any, topic: str, callback: Any, *args: Any, **options: Any) -> Any:
        subscription = super().create_subscription(kind, topic, callback, *args, **options)
        self._call(topic, callback, kind())
        return subscription

    def create_service(self, kind: Any, name: str, callback: Any, *args: Any, **options: Any) -> Any:
        service = super().create_service(kind, name, callback, *args, **options)
        response = kind.Response()
        self._call(name, callback, kind.Request(), response)
        assert "internal error" not in getattr(response, "message", ""), f"{name}: {response.message}"
        return service

    def _call(self, name: str, callback: Any, *messages: Any) -> None:
        if not hasattr(self, "called"):  # one of rclpy's own
            return
        self.called.append(name)
        answer = callback(*messages)
        if inspect.iscoroutine(answer):
            with contextlib.suppress(StopIteration):
                while True:  # as an executor does until it ends
                    answer.send(None)
                    time.sleep(0.01)


def chosen(mode: str) -> tuple[str, ...]:
    """The adapters of a mode whose messages are installed."""
    names = []
    for name, choice in adapters.CHOICES.items():
        if mode in choice.modes:
            try:
                adapters._adapter_class(name)
            except MissingDependencyError:
                continue
            names.append(name)
    return tuple(names)


@pytest.mark.parametrize("mode", ["localize", "map"])
def test_a_callback_may_come_as_soon_as_it_is_registered(mode: str, street: Any, ros: None, tmp_path: Path) -> None:
    """One that used what its object got a line later failed on a busy machine: the first call after the start."""
    common = {"threads": 1, "odom": "/odom", "adapters": chosen(mode)}
    if mode == "localize":
        params = NodeParams(
            map=str(street.map),
            publish_tf=True,
            prior=PriorConfig(pose="/pose", initial_pose="/initialpose"),
            watchdog=WatchdogConfig(send_again=True),
            outbox=OutboxConfig(path=str(tmp_path / "outbox")),
            **common,
        )
    else:
        params = NodeParams(mode="map", session=str(tmp_path / "session.vprmap"), **common)
    node = EagerNode("localizer", namespace="/r0")  # Swarm-SLAM's of a robot
    try:
        pipeline = WiredPipeline(node, params, Health())
        pipeline.on_timer()
        pipeline.close()
    finally:
        node.destroy_node()
    assert len(node.called) > 5
