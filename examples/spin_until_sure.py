"""Turns the robot on the spot until the action localizer/localize is sure where it is. It stops in every case.

Needs vpr_msgs, a running localiser and a base that follows cmd_vel (geometry_msgs/Twist):

    python examples/spin_until_sure.py --ros-args -p timeout:=60.0
"""

import contextlib
import signal
import time
from typing import Any

import rclpy
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from vpr_msgs.action import Localize


class SpinUntilSure(Node):
    """Sends the goal and turns while it is worked on. ``result`` is then the action's result."""

    def __init__(self, **options: Any) -> None:
        super().__init__("spin_until_sure", **options)
        self._turn: float = self.declare_parameter("turn", 0.5).value  # rad/s: slow enough for sharp images
        self.timeout_s: float = self.declare_parameter("timeout", 60.0).value
        self._publisher = self.create_publisher(Twist, "cmd_vel", 1)
        self._client = ActionClient(self, Localize, "localizer/localize")
        self.command, self.result = Twist(), None
        self.create_timer(0.1, lambda: self._publisher.publish(self.command))

    def start(self) -> None:
        """Send the goal and turn. Waits for the server first."""
        self._client.wait_for_server()
        goal = Localize.Goal(probability=0.9, timeout=Duration(sec=int(self.timeout_s)))
        sent = self._client.send_goal_async(goal)
        sent.add_done_callback(lambda sent: sent.result().get_result_async().add_done_callback(self._on_result))
        self.command.angular.z = self._turn

    def _on_result(self, future: Any) -> None:
        self.result, self.command = future.result().result, Twist()
        self._publisher.publish(self.command)


if __name__ == "__main__":
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # so that the last command goes out after a signal
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    node = SpinUntilSure()
    with contextlib.suppress(KeyboardInterrupt):
        node.start()
        end = time.monotonic() + (node.timeout_s + 2.0 if node.timeout_s else 1e9)  # if the server is alive, it answers
        while node.result is None and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
    node._publisher.publish(Twist())
    found = node.result or Localize.Result(message="stopped without an answer")
    node.get_logger().info(found.message or str(found.pose.pose.pose.position))
