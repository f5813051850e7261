"""Services that answer whatever happens, and the copy of a map that is under way when the node lets go of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from std_srvs.srv import Trigger

from vpr_ros.ros.services.saving import SaveMapService
from vpr_ros.ros.services.serving import create_service


@pytest.fixture
def server(ros: None) -> Iterator[Any]:
    """A node that spins in a thread of its own."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    node, executor = rclpy.create_node("server"), SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5)
    node.destroy_node()


def test_a_fault_costs_one_answer(server: Any, robot: Any) -> None:
    """What a callback raises ends rclpy's spin, and with it the robot's localiser: whoever asks could stop it."""

    def fail(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        raise ValueError("a fault")

    async def fail_later(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return fail(request, response)

    def work(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        return response

    for name, answer, success in (("fail", fail, False), ("later", fail_later, False), ("work", work, True)):
        create_service(server, Trigger, f"~/{name}", answer)
        response = robot.call(Trigger, f"/server/{name}")
        assert response.success is success
        assert success or "a fault" in response.message


def test_a_copy_under_way_is_finished_and_answered(server: Any, robot: Any, tmp_path: Path) -> None:
    """Who saves a map and cleans up at once wants the copy, and to know where it is."""
    begun = threading.Event()

    def save(path: Path) -> None:
        begun.set()
        time.sleep(0.5)
        path.write_text("a map")

    saving = SaveMapService(server, save, tmp_path / "day.vprmap", tmp_path)
    future = robot.client(Trigger, "/server/save_map").call_async(Trigger.Request())
    robot.wait(begun.is_set, "the copy to begin")

    cleaning_up = threading.Thread(target=saving.close)  # beside the executor's thread, as a transition
    cleaning_up.start()
    robot.wait(future.done, "the answer")
    assert future.result().success
    assert Path(future.result().message).read_text() == "a map"
    cleaning_up.join(5)
    robot.wait(lambda: not list(server.services) or saving._service not in server.services, "the service to go")
