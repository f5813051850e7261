"""Declares ``NodeParams`` as ROS parameters, checks changes, and reads the values."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_ros.base.config import renamed_key, unknown_key
from vpr_ros.base.errors import ConfigError
from vpr_ros.ros.input import qos
from vpr_ros.ros.params import RENAMED, WHERE, NodeParams, fitting, leaves, node_params, plain

# rclpy declares these itself; every other parameter must be a field of NodeParams.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_ARRAYS = {float: Parameter.Type.DOUBLE_ARRAY, str: Parameter.Type.STRING_ARRAY}


def declare(node: Node) -> None:
    """Declare every parameter with its description, range and value, so that one request can read them all.

    The node must be created with ``automatically_declare_parameters_from_overrides``. Then ``read`` reports an override
    with an unknown name or a bad value, and the constructor does not raise.
    """
    for name, field, hint in leaves():
        value = plain(field.default)
        if node.has_parameter(name):
            given = node.get_parameter(name).value
            try:
                value = plain(fitting(name, given))
            except ConfigError:
                node.set_descriptor(name, _descriptor(field, hint, ranged=False))
                continue
            node.undeclare_parameter(name)
        node.declare_parameter(name, None, _descriptor(field, hint), ignore_override=True)
        node.set_parameters([Parameter(name, _type(hint), value)])  # rclpy takes a default of [] for a list of bytes


def refusal(changes: list[Parameter]) -> str:
    """Why one of these values cannot be set, as one sentence; "" if all can."""
    ours = {name for name, _, _ in leaves()}
    for change in changes:
        try:
            if not change.name:  # rclpy would accept it, and it could not be removed again
                raise ConfigError(f"{WHERE}: a parameter without a name cannot be set")
            if change.name in RENAMED:
                raise renamed_key(change.name, RENAMED, WHERE)
            if change.name.startswith(qos.PREFIX):
                qos.read(change.name, change.value)
            if change.name in ours:
                if change.type_ == Parameter.Type.NOT_SET:  # rclpy would accept it, and refuse to set it again
                    raise ConfigError(f"{WHERE}: {change.name} cannot be deleted; set another value")
                fitting(change.name, change.value)
        except ConfigError as error:
            return str(error)
    return ""


def read(node: Node) -> NodeParams:
    """The node's current parameters.

    Raises ConfigError for an unknown name (with the nearest known one), a wrong type or a value out of range.
    """
    known = [name for name, _, _ in leaves()]
    data: dict[str, Any] = {}
    declared = typing.cast(dict[str, Parameter], node.get_parameters_by_prefix(""))  # rclpy's own hint is wrong
    for name, parameter in declared.items():
        if name in _RCLPY_PARAMETERS or name.startswith(qos.PREFIX):
            continue
        if name in RENAMED:
            raise renamed_key(name, RENAMED, WHERE)
        if name not in known:
            raise unknown_key(name, known, WHERE)
        if parameter.value is not None:
            *groups, leaf = name.split(".")
            at = data
            for group in groups:
                at = at.setdefault(group, {})
            at[leaf] = fitting(name, parameter.value)
    params = node_params(data)
    qos.check(node, [*params.image_topics, params.odom])
    return params


def _type(hint: Any) -> Parameter.Type:
    """The ROS parameter type of a field, ignoring None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(inner for inner in typing.get_args(hint) if inner is not type(None))
    return _ARRAYS[typing.get_args(hint)[0]] if typing.get_origin(hint) is tuple else _TYPES[hint]


def _descriptor(field: dataclasses.Field[Any], hint: Any, ranged: bool = True) -> ParameterDescriptor:
    """A field's description, unit and range for ROS tools. ``refusal`` does the actual check."""
    meta = field.metadata
    text = meta["description"] + (f" [{meta['unit']}]" if meta["unit"] else "")
    descriptor = ParameterDescriptor(description=text, dynamic_typing=True)
    if meta["choices"]:
        descriptor.additional_constraints = "one of: " + ", ".join(map(str, meta["choices"]))
    if meta["low"] is not None and ranged:
        if hint is int:
            descriptor.integer_range = [IntegerRange(from_value=int(meta["low"]), to_value=int(meta["high"]), step=0)]
        elif hint is float:
            high = sys.float_info.max if meta["high"] is None else float(meta["high"])
            limits = FloatingPointRange(from_value=float(meta["low"]), to_value=high, step=0.0)
            descriptor.floating_point_range = [limits]
    return descriptor
