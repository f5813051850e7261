"""An adapter that is registered from outside the repository: "not on this map" as one standard number.

    pip install ./examples/adapter
    ros2 launch vpr_ros localize.launch.py map:=town.vprmap adapters:="[off_map]"

The node then publishes ~/off_map_probability (std_msgs/Float32) with every answer. No vpr_msgs is needed.
"""

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float32

from vpr_ros.ros.outputs.answer import Answer
from vpr_ros.ros.params import NodeParams


class OffMap:
    """See vpr_ros.ros.outputs.answer.Adapter. The worker thread calls publish once per answered image."""

    modes = ("localize",)

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(Float32, "~/off_map_probability", 10)

    def publish(self, answer: Answer) -> None:
        """Send the probability; answer.estimate also has the hypotheses, answer.map_header their frame and stamp."""
        self._publisher.publish(Float32(data=float(answer.estimate.off_map_probability)))

    def forget(self) -> None:
        """This adapter keeps no state."""

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)
