"""An adapter in a lifecycle node of its own, spun in a thread as the real one is, and closures to hand it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.records import Estimate, Hypothesis, LoopClosure

SECOND = 10**9
# The camera a metre ahead of the base and a metre and a half above it, turned 30 degrees to the left.
T_BASE_CAMERA = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi / 6), np.array([1.0, 0.0, 1.5]))
T_BASE_CAMERA = T_BASE_CAMERA @ geometry.T_BODY_OPTICAL


def full_covariance(seed: int = 0) -> np.ndarray:
    """(6, 6) positive definite, with correlations of both signs: decimetres and degrees."""
    root = np.random.default_rng(seed).normal(0, 1, (6, 6)) * np.array([0.2, 0.1, 0.1, 0.01, 0.01, 0.02])[:, None]
    return root @ root.T + 1e-5 * np.eye(6)


class Bench:
    """Everything a test of an adapter needs; ``closure`` is verified unless it is told otherwise."""

    T_base_camera = T_BASE_CAMERA
    T_camera_base = geometry.inverse(T_BASE_CAMERA)
    # Where the base is now, seen from where it was: two metres on, a little to the left, turned by 20 degrees.
    T_match_base = geometry.transform(geometry.matrix_from_rpy(0.02, -0.03, 0.35), np.array([2.0, 0.5, 0.1]))
    covariance = full_covariance()

    def __init__(self) -> None:
        self._opened: list[tuple[Any, Any, Any, threading.Thread]] = []

    def open(self, name: str, mode: str = "map", namespace: str = "", **params: Any) -> Any:
        """An adapter, active."""
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.lifecycle import LifecycleNode

        from vpr_ros.ros.adapters.open import open_adapters
        from vpr_ros.ros.params import NodeParams

        node = LifecycleNode("localizer", namespace=namespace)
        try:
            adapter = open_adapters([name], mode, node, NodeParams(**params))[0]
        except Exception:
            node.destroy_node()
            raise
        node.trigger_configure()
        node.trigger_activate()
        executor = SingleThreadedExecutor()
        executor.add_node(node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        self._opened.append((adapter, node, executor, thread))
        return adapter

    def close(self) -> None:
        for adapter, node, executor, thread in self._opened:
            executor.shutdown()
            thread.join(5)
            adapter.close()
            node.destroy_node()

    def closure(
        self,
        now_s: float = 100.0,
        earlier_s: float = 10.0,
        verified: bool = True,
        probability: float = 0.95,
        match_map: str = "",
        map_frame: str = "odom",
        **changes: Any,
    ) -> Any:
        """A ClosureAnswer on drive "today-1"; changes: other fields of its record."""
        from std_msgs.msg import Header

        from vpr_ros.ros.outputs.answer import ClosureAnswer
        from vpr_ros.ros.outputs.convert import time_message

        now_ns, earlier_ns = round(now_s * 1e9), round(earlier_s * 1e9)
        geometry_of = {
            "T_match_query": self.T_camera_base @ self.T_match_base @ self.T_base_camera,
            "covariance": self.covariance,
            "inliers": 40,
            "reprojection_px": 0.8,
        }
        fields: dict[str, Any] = {
            "stamp_ns": now_ns,
            "keyframe_id": 50,
            "match_stamp_ns": earlier_ns,
            "match_id": 5,
            "match_drive": "today-1",
            "match_map": match_map,
            "T_map_match": np.eye(4),
            "similarity": 0.8,
            "probability": probability,
            **(geometry_of if verified else {}),
            **changes,
        }
        header = Header(stamp=time_message(now_ns), frame_id="base_link")
        T_camera_base = self.T_camera_base
        return ClosureAnswer(LoopClosure(**fields), header, map_frame, T_camera_base, T_camera_base, "today-1")

    def keyframe(self, stamp_s: float, T_odom_base: np.ndarray | None = None, keyframe_id: int = 0) -> Any:
        """A KeyframeRecord with three views of four numbers."""
        from vpr_ros.ros.outputs.answer import KeyframeRecord

        descriptor = np.arange(12, dtype=np.float32).reshape(3, 4)
        return KeyframeRecord(round(stamp_s * 1e9), keyframe_id, descriptor, T_odom_base, "odom")

    def answer(self, stamp_s: float, T_map_base: np.ndarray, probability: float = 0.95, **changes: Any) -> Any:
        """An Answer of localize mode."""
        from std_msgs.msg import Header

        from vpr_ros.ros.outputs.answer import Answer
        from vpr_ros.ros.outputs.convert import time_message

        covariance = changes.pop("covariance", self.covariance)
        best = Hypothesis(T_map_base @ self.T_base_camera, covariance, probability, (1,))
        problem, clock_problem = (changes.pop(name, "") for name in ("problem", "clock_problem"))
        estimate = Estimate(round(stamp_s * 1e9), [best], [], min(0.05, 1.0 - probability), problem=problem)
        stamp = time_message(round(stamp_s * 1e9))
        headers = Header(stamp=stamp, frame_id="camera_optical"), Header(stamp=stamp, frame_id="town")
        T_camera_base = changes.pop("T_camera_base", self.T_camera_base)
        return Answer(0, estimate, *headers, T_camera_base, clock_problem=clock_problem)


@pytest.fixture
def bench(ros: None) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def hear(robot: Any) -> Callable[..., list[Any]]:
    """hear(type, topic, publisher) -> what comes there, once both sides know of each other."""

    def listen(message_type: type, topic: str, publisher: Any, qos: Any = 10) -> list[Any]:
        robot.listen(message_type, topic, qos)
        robot.wait(publisher.get_subscription_count, f"the adapter to see a subscriber of {topic}")
        robot.wait(lambda: robot.node.count_publishers(topic), f"a publisher of {topic}")
        robot.spin(0.1)
        return robot.heard[topic]

    return listen
