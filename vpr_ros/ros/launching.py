"""Shared by the launch files: the node, and its parameters as launch arguments. Needs ROS 2's launch."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.action import Action
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from vpr_ros.ros import params

_UNSET = "(unset)"
_SHARE = FindPackageShare("vpr_ros")
_OTHERS = {
    "params_file": (
        PathJoinSubstitution([_SHARE, "config", "localizer.yaml"]),
        "YAML file of parameters; arguments beat it",
    ),
    "use_sim_time": (_UNSET, "true: take the time from /clock"),
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("localizer", "name of the node and prefix of its topics"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "rviz": ("false", "true: start RViz with a prepared view"),
}


def arguments(names: Iterable[str], **defaults: str) -> list[DeclareLaunchArgument]:
    """Launch arguments for the node's parameters of these names, with the node's descriptions: those used most.

    defaults: values of this launch file that replace the node's defaults.
    """
    fields = {name: field for name, field, _ in params.leaves()}
    ours = {name: (defaults.get(name, _UNSET), _description(fields[name])) for name in names}
    return [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in (ours | _OTHERS).items()
    ]


def node(**fixed: Any) -> OpaqueFunction:
    """The node. Its parameters are the launch arguments of their names, and ``fixed``.

    That is every parameter of the node, whether the launch file declares it or not.
    """

    def create(context: LaunchContext) -> list[Action]:
        params_file = LaunchConfiguration("params_file").perform(context)
        if not Path(params_file).is_file():  # an error here would end all of a robot's launch
            return [
                LogInfo(msg=f"[ERROR] params_file: there is no file {params_file}, so the localiser is not started")
            ]
        return [
            LifecycleNode(
                package="vpr_ros",
                executable="localize",
                exec_name="localize",
                name=LaunchConfiguration("name"),
                namespace=LaunchConfiguration("namespace"),
                parameters=[params_file, given_parameters(context.launch_configurations, fixed["mode"]) | fixed],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
                prefix=signals_wait(),
                output="screen",
                emulate_tty=True,
            )
        ]

    return OpaqueFunction(function=create)


def given_parameters(texts: Mapping[str, str], mode: str) -> dict[str, Any]:
    """The node's parameters of a mode among launch arguments, name -> text, that are set.

    One that is misspelt in a group, such as filter.sped, is among them: the node names the nearest known one. Those of
    the other mode are not: they may be a parent launch file's.
    """
    hints: dict[str, Any] = {name: hint for name, _, hint in params.leaves() if params.is_of(name, mode)}
    hints["use_sim_time"] = bool
    groups = {name.partition(".")[0] for name in hints if "." in name}
    ours = {name for name in texts if name in hints or ("." in name and name.partition(".")[0] in groups)}
    return {name: _value(hints.get(name, str), texts[name]) for name in sorted(ours) if texts[name] != _UNSET}


def signals_wait() -> str:
    """A prefix for our executables that blocks signals until Python has started and handles them (0.2 s).

    Empty if the system's env does not support it (GNU coreutils does from 8.31 on).
    """
    prefix = ["env", "--block-signal=INT", "--block-signal=TERM"]
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except OSError:
        return ""
    return " ".join(prefix) if done.returncode == 0 else ""


def rviz(view: str) -> OpaqueFunction:
    """RViz with a view of config/, if rviz:=true, on the topics of this namespace and node name."""

    def create(context: LaunchContext) -> list[Action]:
        wanted = _value(bool, LaunchConfiguration("rviz").perform(context))
        if wanted in (False, 0, "", None):
            return []
        if wanted not in (True, 1):
            return [LogInfo(msg=f"[ERROR] rviz is '{wanted}', expected true or false: RViz is not started")]
        path = PathJoinSubstitution([_SHARE, "config", view]).perform(context)
        namespace, name = (LaunchConfiguration(key).perform(context) for key in ("namespace", "name"))
        sim_time = LaunchConfiguration("use_sim_time").perform(context)
        return [
            if_installed(
                "rviz2",
                Node(
                    package="rviz2",
                    executable="rviz2",
                    arguments=["-d", path],
                    parameters=[] if sim_time == _UNSET else [{"use_sim_time": _value(bool, sim_time)}],
                    remappings=_remappings(Path(path).read_text(), namespace, name),
                    output="log",
                ),
            )
        ]

    return OpaqueFunction(function=create)


def _remappings(view: str, namespace: str, name: str) -> list[tuple[str, str]]:
    """Remappings of a view's topics to a namespace and to a node of another name than localizer."""
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    topics = sorted(set(re.findall(r"Value: (/[\w/]+)", view)))
    return [(topic, prefix + re.sub("^/localizer/", f"/{name}/", topic)) for topic in topics]


def if_installed(package: str, action: Action) -> OpaqueFunction:
    """An action that needs an optional ROS package. If it is missing, a sentence is logged instead."""

    def create(context: LaunchContext) -> list[Action]:
        try:
            get_package_prefix(package)
        except PackageNotFoundError:
            name = f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-{package.replace('_', '-')}"
            return [LogInfo(msg=f"{package} is not installed, and not started: apt install {name}")]
        return [action]

    return OpaqueFunction(function=create)


def _description(field: dataclasses.Field[Any]) -> str:
    """A parameter's description, choices and default."""
    choices = ", ".join(field.metadata["choices"])
    default = params.shown_default(field)
    return field.metadata["description"] + (f" ({choices})" if choices else "") + f"; default {default}"


def _value(hint: Any, text: str) -> Any:
    """The text of a launch argument as a parameter of this type. The node reports a value that does not fit."""
    if hint is str:
        return ParameterValue("" if text in ("''", '""') else text, value_type=str)
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:  # the node says which parameter it is, and what it expects
        return ParameterValue(text, value_type=str)
    kind = next((a for a in (hint, *typing.get_args(hint)) if typing.get_origin(a) is tuple), None)
    if kind is None:
        return value
    items = value if isinstance(value, list) else [value] if value not in ("", None) else []
    if typing.get_args(kind)[0] is float and all(isinstance(item, (int, float)) for item in items):
        return [float(item) for item in items]  # whole numbers among them would make a list of mixed types
    return [str(item) for item in items] or ""
