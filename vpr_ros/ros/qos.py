"""QoS of the node's subscriptions to sensors, and the parameters by which ROS users override it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vpr_ros.errors import ConfigError
from vpr_ros.ros.topics import resolved

PREFIX = "qos_overrides."
_POLICIES = {"history": HistoryPolicy, "reliability": ReliabilityPolicy, "durability": DurabilityPolicy, "depth": int}


def overridden(node: Node, topic: str, qos: QoSProfile) -> QoSProfile:
    """The profile, changed as the parameters ``qos_overrides.TOPIC.subscription.POLICY`` say.

    rclpy's own QoSOverridingOptions would declare them for good: a profile from our parameters could not change later.
    Raises ConfigError for a value that no policy has.
    """
    for policy, kind in _POLICIES.items():
        name = _name(resolved(node, topic), policy)
        if not node.has_parameter(name):
            continue
        value = node.get_parameter(name).value
        try:
            setattr(qos, policy, _positive(value) if kind is int else kind[str(value).upper()])  # type: ignore[index]
        except (KeyError, ValueError) as error:
            values = "a whole number from 1 on" if kind is int else f"one of {', '.join(_words(kind))}"
            raise ConfigError(f"node parameters: {name} is {value!r}; it must be {values}") from error
    return qos


def check(node: Node, topics: Iterable[str]) -> None:
    """Raises ConfigError for an override that would do nothing. topics: of the subscriptions that can be overridden."""
    given = [name for name in node.get_parameters_by_prefix("") if name.startswith(PREFIX)]
    known = [_name(resolved(node, topic), policy) for topic in filter(None, topics) for policy in _POLICIES]
    for name in given:
        if name not in known:
            nearest = (difflib.get_close_matches(name, known, n=1) or known or [_name("TOPIC", "reliability")])[0]
            raise ConfigError(f"node parameters: {name} overrides nothing here; did you mean {nearest}?")


def _name(topic: str, policy: str) -> str:
    return f"{PREFIX}{topic}.subscription.{policy}"


def _positive(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(value)
    return value


def _words(kind: type) -> list[str]:
    return [name.lower() for name in kind.__members__ if name.isupper()]  # type: ignore[attr-defined]
