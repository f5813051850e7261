"""QoS of the node's subscriptions to sensors, and the parameters by which ROS users override it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vpr_ros.base.errors import ConfigError
from vpr_ros.ros.input.topics import resolved

PREFIX = "qos_overrides."
_WORDS = ("KEEP_LAST", "KEEP_ALL", "RELIABLE", "BEST_EFFORT", "VOLATILE", "TRANSIENT_LOCAL")
_POLICIES: dict[str, Any] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "depth": int,
}


def overridden(node: Node, topic: str, qos: QoSProfile) -> QoSProfile:
    """The profile, changed as the parameters ``qos_overrides.TOPIC.subscription.POLICY`` say.

    rclpy's own QoSOverridingOptions would declare them for good: a profile from our parameters could not change later.
    Raises ConfigError for a value that no policy has.
    """
    for policy in _POLICIES:
        name = _name(resolved(node, topic), policy)
        if node.has_parameter(name):
            setattr(qos, policy, read(name, node.get_parameter(name).value))
    return qos


def read(name: str, value: object) -> Any:
    """What a parameter of this name says of its policy. Raises ConfigError for a value that the policy has not."""
    kind = _POLICIES.get(name.rpartition(".")[2], int)
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise ConfigError(f"node parameters: {name} is {value!r}; it must be a whole number from 1 on")
    words = {name.lower(): member for name, member in kind.__members__.items() if name in _WORDS}
    if value not in words:
        raise ConfigError(f"node parameters: {name} is {value!r}; it must be one of {', '.join(words)}")
    return words[str(value)]


def check(node: Node, topics: Iterable[str]) -> None:
    """Raises ConfigError for an override that would do nothing. topics: of the subscriptions that can be overridden."""
    given = [name for name in node.get_parameters_by_prefix("") if name.startswith(PREFIX)]
    known = [_name(resolved(node, topic), policy) for topic in filter(None, topics) for policy in _POLICIES]
    for name in given:
        if name not in known:
            nearest = (difflib.get_close_matches(name, known, n=1) or known or [_name("TOPIC", "reliability")])[0]
            raise ConfigError(f"node parameters: {name} overrides nothing here; did you mean {nearest}?")
        read(name, node.get_parameter(name).value)


def _name(topic: str, policy: str) -> str:
    return f"{PREFIX}{topic}.subscription.{policy}"
