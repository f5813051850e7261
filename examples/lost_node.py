"""A node that reacts to "lost": it says so on a topic, and asks the localiser to start again from scratch.

Lost means that "not on this map" has been likelier than not for a while, or that no answer came for as long.
Needs vpr_msgs and a running localiser:

    python examples/lost_node.py --ros-args -p patience:=3.0
"""

import contextlib
import time
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vpr_msgs.msg import Matches


class LostNode(Node):
    """Subscribes to localizer/matches, publishes ~/lost (std_msgs/Bool), calls localizer/relocalize once per loss."""

    def __init__(self, **options: Any) -> None:
        super().__init__("lost", **options)
        self._patience_s: float = self.declare_parameter("patience", 3.0).value
        self._on_map_s = time.monotonic()  # no ROS time: that of a bag begins late, and jumps back
        self._lost = False
        self._publisher = self.create_publisher(Bool, "~/lost", 1)
        self._relocalize = self.create_client(Trigger, "localizer/relocalize")
        self.create_subscription(Matches, "localizer/matches", self._on_matches, 10)
        self.create_timer(0.1, self._on_timer)

    def _on_matches(self, message: Matches) -> None:
        if message.off_map_probability < 0.5:
            self._on_map_s = time.monotonic()

    def _on_timer(self) -> None:
        since_s = time.monotonic() - self._on_map_s
        lost = since_s > self._patience_s
        if lost and not self._lost:
            self.get_logger().warning(f"lost for {since_s:.1f} s: stop the robot here")
            if self._relocalize.service_is_ready():
                self._relocalize.call_async(Trigger.Request())
        self._lost = lost
        self._publisher.publish(Bool(data=lost))


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(LostNode())


if __name__ == "__main__":
    main()
