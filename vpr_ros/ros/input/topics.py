"""Names of topics."""

from __future__ import annotations

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from vpr_ros.base.errors import ConfigError


def resolved(node: Node, topic: str) -> str:
    """A topic's name with namespace and remapping applied. Raises ConfigError for a name that ROS does not allow."""
    try:
        return str(node.resolve_topic_name(topic))
    except (rclpy_implementation.RCLError, ValueError) as error:
        reason = str(error).partition(": ")[2].partition(", at ")[0] or str(error)
        raise ConfigError(f"invalid topic name '{topic}': {reason}") from error
