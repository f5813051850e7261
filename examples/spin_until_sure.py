"""Turns the robot on the spot until the localiser is sure where it is, with the action localizer/localize.

Needs vpr_msgs, a running localiser and a base that follows cmd_vel (geometry_msgs/Twist):

    python examples/spin_until_sure.py --ros-args -p timeout:=60.0
"""

from typing import Any

import rclpy
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist
from rclpy.action import ActionClient
from rclpy.node import Node

from vpr_msgs.action import Localize


class SpinUntilSure(Node):
    """Sends the goal, turns while it is worked on, stops when it ends. ``result`` is then the action's result."""

    def __init__(self, **options: Any) -> None:
        super().__init__("spin_until_sure", **options)
        self._turn: float = self.declare_parameter("turn", 0.5).value  # rad/s: slow enough for sharp images
        self._timeout_s: float = self.declare_parameter("timeout", 60.0).value
        self._publisher = self.create_publisher(Twist, "cmd_vel", 1)
        self._client = ActionClient(self, Localize, "localizer/localize")
        self._command = Twist()
        self.result: Localize.Result | None = None
        self.create_timer(0.1, lambda: self._publisher.publish(self._command))

    def start(self) -> None:
        """Send the goal. Waits for the server first."""
        self._client.wait_for_server()
        goal = Localize.Goal(probability=0.9, timeout=Duration(sec=int(self._timeout_s)))
        self._client.send_goal_async(goal).add_done_callback(self._on_accepted)

    def _on_accepted(self, future: Any) -> None:
        self._command.angular.z = self._turn
        future.result().get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Any) -> None:
        self._command, result = Twist(), future.result().result
        where = result.pose.pose.pose.position
        self.get_logger().info(f"at {where.x:.1f} {where.y:.1f}" if result.success else result.message)
        self._publisher.publish(self._command)
        self.result = result


def main() -> None:
    rclpy.init()
    node = SpinUntilSure()
    node.start()
    while node.result is None:
        rclpy.spin_once(node)


if __name__ == "__main__":
    main()
