"""The node's parameters: one frozen dataclass; ROS declarations, checks and the README's table all come from it."""

from __future__ import annotations

import dataclasses
import os
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.config import checked, from_dict, option, renamed_key, unknown_key
from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.open import backend_names
from vpr_ros.localize.config import FilterConfig, HypothesesConfig, LocalizerConfig, RerankConfig, SearchConfig
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.ros import map_url, qos
from vpr_ros.ros.adapters.names import CHOICES, check_names

Pose6 = tuple[float, float, float, float, float, float]
Pinhole = tuple[float, float, float, float]
# What rclpy itself declares on a node; everything else has to be a field of NodeParams.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_ARRAYS = {float: Parameter.Type.DOUBLE_ARRAY, str: Parameter.Type.STRING_ARRAY}
# What means something in one mode only. Set in the other, it is a mistake.
_OF_MODE = {
    "localize": ("map", "publish_tf", "answers_file"),
    "map": ("session", "earlier", "save_folder"),
}
_PATHS = ("map", "session", "earlier", "save_folder", "answers_file")
_RENAMED = {
    "depth": "queue_size",
    **{f"localizer.{old}": new for old, new in LocalizerConfig.RENAMED.items()},
}
_WHERE = "node parameters"


@dataclass(frozen=True)
class NodeParams:
    """Parameters of the localizer node. Frames follow REP-103 and REP-105."""

    mode: str = option("localize", "tell poses on a map, or grow a map and close loops", choices=tuple(_OF_MODE))
    map: str = option("", "map to localise on, a .vprmap file")
    session: str = option("", "mode map: the .vprmap file that grows; made where missing, else gone on with")
    earlier: tuple[str, ...] = option((), "mode map: other maps to close loops on, a list of .vprmap files")
    save_folder: str = option("", "mode map: where ~/save_map puts its copies; empty: beside the session")
    model: str = option("", "network, by name or path of its .onnx file; empty: the one the map was made with")
    backend: str = option("auto", "what runs the network", choices=backend_names())
    threads: int = option(0, "CPU threads the network may use; 0: all cores but one", low=0, high=256)
    autostart: bool = option(True, "configure and activate at start; false leaves that to a lifecycle manager")

    image: str = option("image", "topic of the camera's images")
    image_type: str = option(
        "auto",
        "message type of the image topic; auto: CompressedImage if the topic's name, remapped, ends in 'compressed'",
        choices=("auto", "Image", "CompressedImage"),
    )
    reliability: str = option(
        "best_effort",
        "QoS asked of the image's publisher; best_effort fits every one, reliable loses none of large raw images",
        choices=("best_effort", "reliable"),
    )
    queue_size: int = option(5, "QoS history depth of the image subscription", "messages", low=1, high=1000)
    image_timeout: float = option(
        5.0, "silence on the image topic before the node says why, and map -> odom ends", "s", low=0.1, high=3600.0
    )

    camera_info: str = option(
        "auto", "topic of the camera's CameraInfo; auto: camera_info beside the image topic; empty: none"
    )
    intrinsics: Pinhole | None = option(  # noqa: RUF009
        None, "fx fy cx cy of images without distortion, instead of CameraInfo; []: not known", "pixels"
    )

    odom: str = option("", "topic of nav_msgs/Odometry; empty: motion is judged from time alone (mode map needs it)")
    odom_gap: float = option(0.5, "odometry further from the image's stamp is not used", "s", low=0.0, high=10.0)

    map_frame: str = option("", "frame_id of the poses published; empty: the frame kept in the map")
    base_frame: str = option(
        "base_link", "frame whose pose is published; empty: the camera's own (optical) frame, as named in the image"
    )
    camera_pose: Pose6 | None = option(  # noqa: RUF009
        None,
        "camera in base_frame as x y z roll pitch yaw: the URDF's camera_link (x forward, y left, z up), not the"
        " optical frame; []: taken from TF",
        "m, rad",
    )
    publish_tf: bool = option(False, "broadcast map -> odom (needs odom)")
    transform_tolerance: float = option(0.1, "how far map -> odom is dated ahead of now", "s", low=0.0, high=10.0)

    answers_file: str = option("", "file that every answer is appended to as a line of JSON; empty: none")
    adapters: tuple[str, ...] = option((), f"what else is published, for whom: a list of {', '.join(CHOICES)}")

    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    filter: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    rerank: RerankConfig = dataclasses.field(default_factory=RerankConfig)
    hypotheses: HypothesesConfig = dataclasses.field(default_factory=HypothesesConfig)
    loops: LoopCloserConfig = dataclasses.field(default_factory=LoopCloserConfig)

    @property
    def localizer(self) -> LocalizerConfig:
        """Configuration of the localiser."""
        return LocalizerConfig(self.search, self.filter, self.rerank, self.hypotheses)

    @property
    def network_threads(self) -> int:
        """Threads for the network: a core is left to the node's own."""
        return self.threads or max(1, (os.cpu_count() or 2) - 1)

    def image_is_compressed(self, topic: str) -> bool:
        """Whether the image topic carries CompressedImage. topic: its name with namespace and remapping applied."""
        if self.image_type == "auto":
            return topic.endswith("compressed")
        return self.image_type == "CompressedImage"


def leaves(cls: Any = NodeParams, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(ROS name, field, type) of each parameter, nested configurations flattened with dots."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, hint


def declare(node: Node) -> None:
    """Declare every parameter with its description, range and a value, so that one request can read them all.

    The node must have been made with ``automatically_declare_parameters_from_overrides``: so overrides of an unknown
    name or of a value that does not fit are kept for ``read`` to report, instead of throwing in the constructor.
    """
    for name, field, hint in leaves():
        value = _plain(field.default)
        if node.has_parameter(name):
            given = node.get_parameter(name).value
            try:
                value = _plain(_fitting(name, given))
            except ConfigError:
                node.set_descriptor(name, _descriptor(field, hint, ranged=False))
                continue
            node.undeclare_parameter(name)
        node.declare_parameter(name, None, _descriptor(field, hint), ignore_override=True)
        node.set_parameters([Parameter(name, _type(hint), value)])  # rclpy takes a default of [] for one of bytes


def refusal(changes: list[Parameter]) -> str:
    """Why one of these values cannot be set, as one sentence; "" if all can."""
    ours = {name for name, _, _ in leaves()}
    for change in changes:
        try:
            if not change.name:  # rclpy would take it, and nothing could take it away again
                raise ConfigError(f"{_WHERE}: a parameter without a name cannot be set")
            if change.name in _RENAMED:
                raise renamed_key(change.name, _RENAMED, _WHERE)
            if change.name.startswith(qos.PREFIX):
                qos.read(change.name, change.value)
            if change.name in ours:
                _fitting(change.name, change.value)
        except ConfigError as error:
            return str(error)
    return ""


def read(node: Node) -> NodeParams:
    """The node's parameters as they are now.

    Raises ConfigError for an unknown name (with the nearest known one), a wrong type or a value out of range.
    """
    known = [name for name, _, _ in leaves()]
    data: dict[str, Any] = {}
    declared = typing.cast(dict[str, Parameter], node.get_parameters_by_prefix(""))  # rclpy's own hint is wrong
    for name, parameter in declared.items():
        if name in _RCLPY_PARAMETERS or name.startswith(qos.PREFIX):
            continue
        if name in _RENAMED:
            raise renamed_key(name, _RENAMED, _WHERE)
        if name not in known:
            raise unknown_key(name, known, _WHERE)
        if parameter.value is not None:
            *groups, leaf = name.split(".")
            at = data
            for group in groups:
                at = at.setdefault(group, {})
            at[leaf] = _fitting(name, parameter.value)
    for name in set(_PATHS) & set(data):
        data[name] = _expanded(data[name])
    params = from_dict(NodeParams, data, _WHERE)
    _check(params)
    qos.check(node, [params.image, params.odom])
    return params


def _fitting(name: str, value: Any) -> Any:
    """A ROS parameter's value as the field of this name wants it. Raises ConfigError if it does not fit."""
    field, hint = next((field, hint) for known, field, hint in leaves() if known == name)
    if not isinstance(value, (bool, int, float, str)) and value is not None:
        value = list(value)
    if typing.get_origin(hint) is tuple and (value is None or isinstance(value, str)):  # [] in a file has no type
        value = [value] if value else []
    if value in ([], "") and hint in (Pose6 | None, Pinhole | None):
        value = None  # ROS has no parameter without a value that tools can read
    value = checked(hint, field, value, f"{_WHERE}: {name}")
    if name == "adapters":
        check_names(value)
    if name == "intrinsics" and value is not None:
        pinhole(value)
    if name == "image" and not value:
        raise ConfigError(f"{_WHERE}: image is empty; name the topic of the camera's images")
    return value


def pinhole(values: Pinhole, width: int = 1, height: int = 1) -> Intrinsics:
    """fx fy cx cy as a camera of images of this size. Raises ConfigError if they are none's."""
    fx, fy, cx, cy = values
    return Intrinsics(width, height, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]))


def _plain(value: Any) -> Any:
    """A field's value as a ROS parameter's."""
    return list(value or ()) if value is None or isinstance(value, tuple) else value


def _expanded(value: Any) -> Any:
    """A path, or several, with ~, file:// and package:// understood."""
    if isinstance(value, (list, tuple)):
        return tuple(_expanded(item) for item in value)
    return str(map_url.path_of(value)) if value else value


def _check(params: NodeParams) -> None:
    """Raises ConfigError for what is missing, or belongs to the other mode."""
    if params.mode == "localize" and not (params.map or params.session):
        raise ConfigError(f"{_WHERE}: no map given; set map:=FILE.vprmap (vpr map build makes one)")
    for mode, names in _OF_MODE.items():
        for name in names if mode != params.mode else ():
            if getattr(params, name) != NodeParams.__dataclass_fields__[name].default:
                raise ConfigError(f"{_WHERE}: {name} is for mode:={mode}, and this is mode:={params.mode}; change one")
    if params.publish_tf and not params.odom:
        raise ConfigError(f"{_WHERE}: publish_tf broadcasts map -> odom and needs odometry; set odom:=TOPIC")
    if params.mode == "map" and not params.session:
        raise ConfigError(f"{_WHERE}: no session given; set session:=FILE.vprmap, the file that the map grows in")
    if params.mode == "map" and not params.odom:
        raise ConfigError(f"{_WHERE}: a map grows by odometry; set odom:=TOPIC of nav_msgs/Odometry")


def table() -> str:
    """The parameters as a Markdown table, for the README."""
    rows = ["| parameter | default | unit | range | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field, _ in leaves():
        meta = field.metadata
        limits = ", ".join(map(str, meta["choices"])) if meta["choices"] else ""
        if meta["low"] is not None:
            limits = f"{meta['low']:g} .." + (f" {meta['high']:g}" if meta["high"] is not None else "")
        rows.append(f"| `{name}` | {shown_default(field)} | {meta['unit']} | {limits} | {meta['description']} |")
    return "\n".join(rows) + "\n"


def shown_default(field: dataclasses.Field[Any]) -> str:
    """A default as people write it on the command line."""
    written: dict[Any, str] = {None: "[]", "": '""', (): "[]"}
    default = written.get(field.default, str(field.default))
    return default.lower() if isinstance(field.default, bool) else default


def _type(hint: Any) -> Parameter.Type:
    """A field's type, or the one that it may have besides None, as a ROS parameter's."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(inner for inner in typing.get_args(hint) if inner is not type(None))
    return _ARRAYS[typing.get_args(hint)[0]] if typing.get_origin(hint) is tuple else _TYPES[hint]


def _descriptor(field: dataclasses.Field[Any], hint: Any, ranged: bool = True) -> ParameterDescriptor:
    """A field's description, unit and range as ROS tools show them. What fits is decided by ``refusal``."""
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
