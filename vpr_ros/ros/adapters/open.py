"""Opens the adapters of the parameter ``adapters``. Only these are imported."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable
from typing import Any

from rclpy.lifecycle import LifecycleNode

from vpr_ros.base.errors import ConfigError, MissingDependencyError, VprError, brief
from vpr_ros.base.registry import load
from vpr_ros.ros.adapters.guard import GuardedAdapter
from vpr_ros.ros.adapters.names import CHOICES, GROUP, check_names
from vpr_ros.ros.params import NodeParams

_METHODS = {"localize": ("publish",), "map": ("keyframe", "closed")}  # beside forget and close


def open_adapters(names: Iterable[str], mode: str, node: LifecycleNode, params: NodeParams) -> list[Any]:
    """The adapters of these names in order, without duplicates.

    mode: "localize" gives instances of ``Adapter``, "map" of ``ClosureAdapter``. A registered class may have ``modes``,
    a tuple; without it, it supports both. Raises ConfigError for an unknown name (with the nearest one) or a mode that
    is not supported, MissingDependencyError if its messages are not installed.
    """
    names = list(dict.fromkeys(names))
    check_adapters(names, mode)
    opened: list[Any] = []
    try:
        for name in names:
            opened.append(_open(name, node, params))
    except Exception:
        for adapter in opened:
            adapter.close()
        raise
    if names:
        node.get_logger().info(f"adapters: {', '.join(names)}")
    return opened


def _open(name: str, node: LifecycleNode, params: NodeParams) -> Any:
    """An adapter; one of another package is guarded, so that its faults are logged by its name and stop nothing."""
    adapter_class = _adapter_class(name)
    if name in CHOICES:
        return adapter_class(node, params)
    try:
        return GuardedAdapter(name, adapter_class(node, params), node.get_logger())
    except VprError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {brief(error)}, {last.filename} line {last.lineno}"
        raise ConfigError(f"adapter '{name}' cannot be opened: {what}") from error


def check_adapters(names: Iterable[str], mode: str) -> None:
    """Raises like ``open_adapters`` if one of these names cannot be opened; opens nothing."""
    names = list(names)
    check_names(names)
    for name in names:
        if name in CHOICES:  # the mode first, as its messages may not be installed
            _check_mode(name, CHOICES[name].modes, mode)
    for name in names:
        adapter_class = _adapter_class(name)
        _check_mode(name, getattr(adapter_class, "modes", (mode,)), mode)
        for method in (*_METHODS[mode], "forget", "close"):
            if not callable(getattr(adapter_class, method, None)):
                raise ConfigError(f"adapter '{name}' has no method {method}, which mode {mode} calls: add it")


def _check_mode(name: str, modes: tuple[str, ...], mode: str) -> None:
    if not modes or not set(modes) <= set(_METHODS):
        raise ConfigError(f"adapter '{name}' has modes {modes!r}; give some of {', '.join(_METHODS)}")
    if mode not in modes:
        raise ConfigError(f"adapters: '{name}' does not work in mode '{mode}'; set mode:={modes[0]}")


def _adapter_class(name: str) -> Any:
    choice = CHOICES.get(name)
    if choice is None:
        return load(GROUP, name, {}, "adapter")
    try:
        module = importlib.import_module(f"vpr_ros.ros.adapters.{choice.module}")
    except ImportError as error:
        if (error.name or "").split(".")[0] != choice.package:
            raise
        raise MissingDependencyError(
            f"adapter '{name}' needs the ROS package {choice.package}, which is not installed or too old:"
            f" install or build it, or remove '{name}' from adapters"
        ) from error
    return getattr(module, choice.name)
