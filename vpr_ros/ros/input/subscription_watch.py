"""Why no image arrives: the topic, its QoS and its publishers."""

from __future__ import annotations

import re

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def type_name(message_type: type[Image] | type[CompressedImage]) -> str:
    """An image type's name as ROS tools print it."""
    return IMAGE_TYPES[message_type is CompressedImage]


def silence(node: Node, subscription: Subscription, message_type: str, seconds: float) -> str:
    """One sentence about a subscription that receives nothing.

    message_type: as ROS tools print it, "sensor_msgs/msg/Image". seconds: how long it has been silent.
    """
    topic = subscription.topic_name  # resolved: namespace and remapping applied
    ours = ReliabilityPolicy(subscription.qos_profile.reliability)
    asked = f"{message_type}, {_name(ours)}, depth {subscription.qos_profile.depth}"
    head = f"no image for {seconds:.0f} s on {topic} ({asked}): "
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return head + "it has no publisher; " + _others(node)
    who = "; ".join(_publisher(info) for info in publishers)
    of_our_type = [info for info in publishers if info.topic_type == message_type]
    if not of_our_type:
        advice = (
            "set image_type to match" if publishers[0].topic_type in IMAGE_TYPES else "set image to the camera's topic"
        )
    elif ours == ReliabilityPolicy.RELIABLE and all(
        info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in of_our_type
    ):
        advice = "best_effort publishers never reach a reliable subscription; set reliability:=best_effort"
    else:
        advice = "the publisher sends nothing; check the camera, the network and the bag player"
    return head + f"published by {who}; {advice}"


def _publisher(info: TopicEndpointInfo) -> str:
    """A publisher, its type and its QoS."""
    namespace = info.node_namespace.rstrip("/")
    qos = info.qos_profile
    words = f"{_name(ReliabilityPolicy(qos.reliability))}, {_name(DurabilityPolicy(qos.durability))}"
    return f"{namespace}/{info.node_name} as {info.topic_type} ({words})"


def _others(node: Node) -> str:
    """The image topics that have a publisher, as a hint."""
    found = sorted(
        name
        for name, types in node.get_topic_names_and_types()
        if any(kind in IMAGE_TYPES for kind in types)
        and node.count_publishers(name)
        and "depth" not in re.split(r"[/_]", name)  # of a depth camera, or of a localizer
    )
    return f"images are published on {', '.join(found)}" if found else "no other image topic has one either"


def _name(policy: ReliabilityPolicy | DurabilityPolicy) -> str:
    return policy.name.lower()
