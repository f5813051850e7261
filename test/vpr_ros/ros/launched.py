"""What launch_testing runs for test_launch.py: each launch file started as a user starts it, and its node asked."""

from __future__ import annotations

import os
import time
import unittest
from pathlib import Path

import launch_testing
import launch_testing.asserts
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.srv import GetState

from launch import LaunchDescription

FOLDER = Path(__file__).resolve().parents[3] / "launch"
# launch file -> arguments, node, topics that somebody has to listen to
CASES = {
    "localize": ({"image": "/camera/image_raw", "base_frame": "''"}, "/left/localizer", ["/camera/image_raw"]),
    "map": (
        {"odom": "/odom", "camera_pose": "[0, 0, 1.6, 0, 0, 0]", "adapters": "lio_sam", "name": "mapper"},
        "/left/mapper",
        ["/left/image", "/odom", "/left/camera_info"],
    ),
    "slam_demo": (
        {"name": "mapper"},
        "/left/mapper",
        ["/camera/image_raw/compressed", "/camera/camera_info", "/left/mapper/loop_closures"],
    ),
}
arguments, node_name, topics = CASES[os.environ["LAUNCHED"]]


def generate_test_description() -> LaunchDescription:
    source = PythonLaunchDescriptionSource(str(FOLDER / f"{os.environ['LAUNCHED']}.launch.py"))
    given = {**arguments, "namespace": "left", os.environ["LAUNCHED_FILE"]: os.environ["LAUNCHED_PATH"]}
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=given.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestLaunched(unittest.TestCase):
    """While it runs."""

    def test_the_node_is_active_and_listens(self) -> None:
        context = rclpy.Context()
        rclpy.init(context=context)
        node = rclpy.create_node("visitor", context=context)
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
        state = ""
        client = node.create_client(GetState, f"{node_name}/get_state")
        end = time.monotonic() + 30.0
        while time.monotonic() < end:
            future = client.call_async(GetState.Request()) if client.wait_for_service(0.5) else None
            if future is not None:
                executor.spin_until_future_complete(future, timeout_sec=1.0)
                state = future.result().current_state.label if future.done() else ""
            heard = [topic for topic in topics if node.get_subscriptions_info_by_topic(topic)]
            if state == "active" and heard == topics:
                break
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        assert (state, heard) == ("active", topics)


@launch_testing.post_shutdown_test()
class TestStopped(unittest.TestCase):
    """After Ctrl-C."""

    def test_it_ends_quietly(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
