"""Why no image arrives: the topic, its QoS and its publishers."""

from __future__ import annotations

import re

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

_UNKNOWN = "_NODE_NAME_UNKNOWN_"  # what rmw calls a publisher that it has just begun to find
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def type_name(message_type: type[Image] | type[CompressedImage]) -> str:
    """An image type's name as ROS tools print it."""
    return IMAGE_TYPES[message_type is CompressedImage]


def silence(node: Node, subscription: Subscription, message_type: str, seconds: float) -> str:
    """One sentence about a subscription to images that receives nothing.

    message_type: as ROS tools print it, "sensor_msgs/msg/Image". seconds: how long it has been silent.
    """
    return f"no image for {seconds:.0f} s on {_why_silent(node, subscription, message_type, 'image', 'reliability')}"


def no_odometry(node: Node, subscription: Subscription) -> str:
    """One sentence about a subscription to odometry that received nothing."""
    return f"no odometry on {_why_silent(node, subscription, 'nav_msgs/msg/Odometry', 'odom')}"


def several(node: Node, topic: str) -> str:
    """One sentence if an image topic, resolved, has several publishers; else empty.

    As two robots without namespaces do, or a bag beside the camera: their images are taken for those of one camera. A
    bridge of both directions or a driver in reserve may never send, which cannot be seen from here.
    """
    if node.count_publishers(topic) < 2:
        return ""
    found = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in _publishers(node, topic))
    if len(found) < 2:
        return ""
    return (
        f"{topic} has {len(found)} publishers ({', '.join(found)}): if more than one sends, their images are taken for "
        "those of one camera, so stop or rename one, or name its topic in more_images"
    )


def lost(topic: str, count: int) -> str:
    """One sentence about images that best effort lost. topic: resolved. count: of them, since the activation."""
    return (
        f"{count} image(s) on {topic} were lost on the way to this node: set reliability:=reliable if the publisher "
        "is, or raise net.core.rmem_max, or send compressed images"
    )


def _why_silent(
    node: Node, subscription: Subscription, message_type: str, parameter: str, reliability: str = ""
) -> str:
    """The topic, how it is asked for, and why nothing may come.

    parameter: the node's, with the topic. reliability: the parameter for it; without one it is overridden by name.
    """
    topic = subscription.topic_name  # resolved: namespace and remapping applied
    ours = ReliabilityPolicy(subscription.qos_profile.reliability)
    durability = DurabilityPolicy(subscription.qos_profile.durability)
    head = f"{topic} ({message_type}, {_name(ours)}, depth {subscription.qos_profile.depth}): "
    is_image = message_type in IMAGE_TYPES
    publishers = _publishers(node, topic)
    if not publishers:
        return head + "it has no publisher" + (f"; {_others(node)}" if is_image else f"; set {parameter} to its topic")
    override = f"qos_overrides.{topic}.subscription"
    of_our_type = [info for info in publishers if info.topic_type == message_type]
    if not of_our_type:
        other = is_image and publishers[0].topic_type in IMAGE_TYPES
        what = "the camera's topic" if is_image else f"a topic of {message_type}"
        advice = "set image_type to match" if other else f"set {parameter} to {what}"
    elif ours == ReliabilityPolicy.RELIABLE and all(
        info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in of_our_type
    ):
        set_it = f"set {reliability or f'{override}.reliability'}:=best_effort"
        advice = f"best_effort publishers never reach a reliable subscription; {set_it}"
    elif durability == DurabilityPolicy.TRANSIENT_LOCAL and all(
        info.qos_profile.durability == DurabilityPolicy.VOLATILE for info in of_our_type
    ):
        advice = f"volatile publishers never reach a transient_local subscription; set {override}.durability:=volatile"
    else:
        source = "the camera" if is_image else "what publishes it"
        advice = f"the publisher sends nothing; check {source}, the network and the bag player"
        if is_image and ours == ReliabilityPolicy.BEST_EFFORT:
            advice += ", or set reliability:=reliable if its images are large"
    return head + f"published by {'; '.join(_publisher(info) for info in publishers)}; {advice}"


def _publishers(node: Node, topic: str) -> list[TopicEndpointInfo]:
    return [info for info in node.get_publishers_info_by_topic(topic) if info.node_name != _UNKNOWN]


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
