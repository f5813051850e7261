"""The node's parameters as one frozen dataclass. ROS declarations, checks and the reference table come from it."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.config import checked, from_dict, merged, nested, option, read_yaml
from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.open import backend_names
from vpr_ros.localize.config import (
    FilterConfig,
    HypothesesConfig,
    LocalizerConfig,
    MetricConfig,
    RerankConfig,
    SearchConfig,
)
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.ros.adapters.names import CHOICES, check_names
from vpr_ros.ros.services import map_url

Pose6 = tuple[float, float, float, float, float, float]
Pinhole = tuple[float, float, float, float]
# Parameters of one mode only. Setting them in the other mode is an error.
_OF_MODE = {
    "localize": ("map", "publish_tf", "answers_file", "more_images"),
    "map": ("session", "earlier", "save_folder"),
}
_PATHS = ("map", "session", "earlier", "save_folder", "answers_file")
RENAMED = {
    "depth": "queue_size",
    **{f"localizer.{old}": new for old, new in LocalizerConfig.RENAMED.items()},
}
WHERE = "node parameters"
_ROS = "ros__parameters"


@dataclass(frozen=True)
class PriorConfig:
    """Priors: where other sources say that the robot is."""

    pose: str = option(
        "", "topic of base_frame's pose in the map by another localiser, PoseWithCovarianceStamped; empty: none"
    )
    fix: str = option("", "topic of NavSatFix, for maps in UTM coordinates; empty: none")
    initial_pose: str = option(
        "", "topic of poses at which the filter starts again, such as initialpose of RViz; empty: none"
    )
    wrong: float = option(
        0.2, "probability that a prior is wrong by more than its covariance says", low=0.001, high=0.999
    )
    max_age: float = option(5.0, "maximum time between a prior and an image", "s", low=0.0, high=3600.0)

    @property
    def topics(self) -> dict[str, str]:
        """Source -> topic of those that are set."""
        return {name: getattr(self, name) for name in ("pose", "fix", "initial_pose") if getattr(self, name)}


@dataclass(frozen=True)
class WatchdogConfig:
    """The adapter watchdog: another localiser's pose against ours."""

    topic: str = option(
        "", "topic of the other's pose, PoseWithCovarianceStamped, PoseStamped or Odometry; empty: TF map -> base_frame"
    )
    send_again: bool = option(
        False, "sending of initialpose (adapter initial_pose) whenever both disagree, at most every 30 s"
    )


@dataclass(frozen=True)
class OutboxConfig:
    """Keyframes for a fleet's lake, collected while the robot drives."""

    path: str = option(
        "", "folder for keyframes of what the map does not know, which `vpr fleet push` sends; empty: none"
    )
    most_mb: float = option(
        500.0, "maximum size of that folder; further keyframes are dropped", "MB", low=1.0, high=1e6
    )


@dataclass(frozen=True)
class NodeParams:
    """Parameters of the localizer node. Frames follow REP-103 and REP-105."""

    mode: str = option(
        "localize", "task: localize finds poses on a map, map builds a map and closes loops", choices=tuple(_OF_MODE)
    )
    map: str = option("", "map to localise on, a .vprmap file, or a folder or http(s) address of tiles")
    session: str = option("", "mode map: map to build, a .vprmap file; extended if it exists")
    earlier: tuple[str, ...] = option((), "mode map: other maps to close loops on, a list of .vprmap files")
    save_folder: str = option("", "mode map: folder for the copies of ~/save_map; empty: the session's folder")
    model: str = option("", "network, by name or path of its .onnx file; empty: the map's own")
    backend: str = option("auto", "inference backend of the network", choices=backend_names())
    threads: int = option(0, "CPU threads of the network; 0: all cores but one", low=0, high=256)
    autostart: bool = option(True, "automatic configure and activate at start; false: a lifecycle manager does it")

    image: str = option("image", "topic of the camera's images")
    more_images: tuple[str, ...] = option(
        (), "topics of further cameras on the robot, whose mountings come from TF, for the same belief"
    )
    image_type: str = option(
        "auto",
        "message type of the image topic; auto: CompressedImage if the remapped name ends in 'compressed'",
        choices=("auto", "Image", "CompressedImage"),
    )
    reliability: str = option(
        "best_effort",
        "QoS reliability of the image subscription; best_effort fits every publisher, reliable suits large raw images",
        choices=("best_effort", "reliable"),
    )
    queue_size: int = option(5, "QoS history depth of the image subscription", "messages", low=1, high=1000)
    image_timeout: float = option(
        5.0, "silence on the image topic until the node warns and map -> odom stops", "s", low=0.1, high=3600.0
    )

    camera_info: str = option(
        "auto", "topic of the camera's CameraInfo; auto: camera_info next to the image topic; empty: none"
    )
    intrinsics: Pinhole | None = option(  # noqa: RUF009
        None, "intrinsics fx fy cx cy of undistorted images, instead of CameraInfo; []: unset", "pixels"
    )

    odom: str = option(
        "", "topic of nav_msgs/Odometry, required in mode map; empty: distance is estimated from the images"
    )
    odom_gap: float = option(0.5, "maximum time between odometry and image", "s", low=0.0, high=10.0)

    map_frame: str = option("", "frame_id of published poses; empty: the frame stored in the map")
    base_frame: str = option(
        "base_link", "frame whose pose is published; empty: the camera's optical frame, from the image's header"
    )
    camera_pose: Pose6 | None = option(  # noqa: RUF009
        None,
        "pose of the URDF's camera_link (x forward, y left, z up; not optical) in base_frame, x y z roll pitch yaw;"
        " []: from TF",
        "m, rad",
    )
    publish_tf: bool = option(False, "broadcast of map -> odom (needs odom)")
    transform_tolerance: float = option(0.1, "post-dating of map -> odom", "s", low=0.0, high=10.0)

    answers_file: str = option("", "file to append each answer to, as a line of JSON; empty: none")
    adapters: tuple[str, ...] = option((), f"outputs for other packages: a list of {', '.join(CHOICES)}")

    watchdog: WatchdogConfig = dataclasses.field(default_factory=WatchdogConfig)

    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    filter: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    rerank: RerankConfig = dataclasses.field(default_factory=RerankConfig)
    hypotheses: HypothesesConfig = dataclasses.field(default_factory=HypothesesConfig)
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    metric: MetricConfig = dataclasses.field(default_factory=MetricConfig)
    outbox: OutboxConfig = dataclasses.field(default_factory=OutboxConfig)
    loops: LoopCloserConfig = dataclasses.field(default_factory=LoopCloserConfig)

    @property
    def localizer(self) -> LocalizerConfig:
        """Configuration of the localiser."""
        return LocalizerConfig(self.search, self.filter, self.rerank, self.hypotheses, self.metric)

    @property
    def T_base_camera(self) -> np.ndarray | None:
        """camera_pose as T_base_camera (4, 4), optical, or None."""
        if self.camera_pose is None:
            return None
        x, y, z, *rpy = self.camera_pose
        return geometry.transform(geometry.matrix_from_rpy(*rpy), np.array([x, y, z])) @ geometry.T_BODY_OPTICAL

    @property
    def image_topics(self) -> tuple[str, ...]:
        """Topics of all cameras, as they were set."""
        return (self.image, *self.more_images)

    @property
    def network_threads(self) -> int:
        """CPU threads for the network. By default one core is left to the node's own threads."""
        return self.threads or max(1, (os.cpu_count() or 2) - 1)

    def image_is_compressed(self, topic: str) -> bool:
        """Whether the image topic carries CompressedImage. topic: its name with namespace and remapping applied."""
        if self.image_type == "auto":
            return topic.endswith("compressed")
        return self.image_type == "CompressedImage"


def is_of(name: str, mode: str) -> bool:
    """Whether a parameter may be set in a mode."""
    return not any(name in names for other, names in _OF_MODE.items() if other != mode)


def leaves(cls: Any = NodeParams, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(ROS name, field, type) of each parameter, nested configurations flattened with dots."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, hint


def read_params_file(path: Path) -> dict[str, Any]:
    """Parameters of the node in a YAML file, nested. The file is as ROS takes it (``NODE: ros__parameters:``) or plain.

    Raises ConfigError if the file cannot be read.
    """
    data = read_yaml(path)
    sections = [value[_ROS] for value in data.values() if isinstance(value, dict) and _ROS in value]
    if not sections:
        return nested(data)
    named = [data[key][_ROS] for key in data if key.strip("/") in ("**", "localizer") and isinstance(data[key], dict)]
    out: dict[str, Any] = {}
    for section in named:
        out = merged(out, nested(section or {}))
    return out


def node_params(data: dict[str, Any]) -> NodeParams:
    """NodeParams from names and values; data is nested like NodeParams.

    Raises ConfigError for an unknown name, a wrong type, a value out of range, or parameters that contradict each
    other.
    """
    for name in set(_PATHS) & set(data):
        where_is = map_url.location_of if name == "map" else map_url.path_of
        data = {**data, name: _expanded(data[name], where_is)}
    params = from_dict(NodeParams, data, WHERE)
    if params.outbox.path:
        outbox = dataclasses.replace(params.outbox, path=str(map_url.path_of(params.outbox.path)))
        params = dataclasses.replace(params, outbox=outbox)
    _check(params)
    return params


def fitting(name: str, value: Any) -> Any:
    """A ROS parameter's value converted for the field of this name. Raises ConfigError if it does not fit."""
    field, hint = next((field, hint) for known, field, hint in leaves() if known == name)
    if not isinstance(value, (bool, int, float, str)) and value is not None:
        value = list(value)
    if typing.get_origin(hint) is tuple and (value is None or isinstance(value, str)):  # [] in a file has no type
        value = [value] if value else []
    if value in ([], "") and hint in (Pose6 | None, Pinhole | None):
        value = None  # ROS tools cannot read a parameter without a value, so [] stands for None
    value = checked(hint, field, value, f"{WHERE}: {name}")
    if name == "adapters":
        check_names(value)
    if name == "intrinsics" and value is not None:
        pinhole(value)
    if name == "camera_pose" and value is not None:
        _check_angles(value)
    if name == "image" and not value:
        raise ConfigError(f"{WHERE}: image is empty; set image:=TOPIC of the camera's images")
    return value


def _check_angles(pose: Pose6) -> None:
    """Raises ConfigError if the angles of a mounting are none in radians."""
    if angle := geometry.beyond_a_turn(pose[3:]):
        raise ConfigError(
            f"{WHERE}: camera_pose has an angle of {angle:g}, and its angles are in radians: convert degrees"
        )


def pinhole(values: Pinhole, width: int = 1, height: int = 1) -> Intrinsics:
    """fx fy cx cy as intrinsics of images of this size. Raises ConfigError if they are invalid."""
    fx, fy, cx, cy = values
    return Intrinsics(width, height, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]))


def plain(value: Any) -> Any:
    """A field's value as a ROS parameter value."""
    return list(value or ()) if value is None or isinstance(value, tuple) else value


def _expanded(value: Any, where_is: Callable[[str], Path | str]) -> Any:
    """A path or several, with ~, file:// and package:// resolved."""
    if isinstance(value, (list, tuple)):
        return tuple(_expanded(item, where_is) for item in value)
    return str(where_is(value)) if value else value


def _check(params: NodeParams) -> None:
    """Raises ConfigError if a parameter is missing or belongs to the other mode."""
    if params.mode == "localize" and not (params.map or params.session):
        raise ConfigError(f"{WHERE}: no map given; set map:=FILE.vprmap (vpr map build makes one)")
    for mode, names in _OF_MODE.items():
        for name in names if mode != params.mode else ():
            if getattr(params, name) != NodeParams.__dataclass_fields__[name].default:
                raise ConfigError(f"{WHERE}: {name} needs mode:={mode}, but mode is {params.mode}; change one")
    if params.mode == "map" and params.prior.topics:
        raise ConfigError(f"{WHERE}: prior.{next(iter(params.prior.topics))} needs mode:=localize, but mode is map")
    if params.mode == "map" and params.outbox.path:
        raise ConfigError(f"{WHERE}: outbox.path needs mode:=localize, but mode is map; change one")
    if params.publish_tf and not params.odom:
        raise ConfigError(f"{WHERE}: publish_tf broadcasts map -> odom and needs odometry; set odom:=TOPIC")
    if params.camera_pose is not None:
        _check_angles(params.camera_pose)
    _check_watchdog(params)
    _check_cameras(params)
    if params.mode == "map" and not params.session:
        raise ConfigError(f"{WHERE}: no session given; set session:=FILE.vprmap, the map to build")
    if params.mode == "map" and not params.odom:
        raise ConfigError(f"{WHERE}: mode map needs odometry; set odom:=TOPIC of nav_msgs/Odometry")


def _check_cameras(params: NodeParams) -> None:
    """Raises ConfigError if a parameter of one camera is set for several, or a topic is named twice."""
    if not params.more_images:
        return
    if not all(params.image_topics) or len(set(params.image_topics)) < len(params.image_topics):
        raise ConfigError(f"{WHERE}: more_images repeats a topic, or has an empty one: name each camera's once")
    if not params.base_frame:
        raise ConfigError(f"{WHERE}: more_images needs base_frame, the frame that the cameras are mounted on; set it")
    for name, unset in (("camera_pose", None), ("intrinsics", None), ("camera_info", "auto")):
        if getattr(params, name) != unset:
            raise ConfigError(
                f"{WHERE}: {name} is of one camera, and more_images names others: take it out; the mountings come from "
                "TF, calibrations from the camera_info beside each image topic"
            )


def _check_watchdog(params: NodeParams) -> None:
    """Raises ConfigError if the watchdog's parameters have no effect, or it would compare our pose with itself."""
    config, chosen = params.watchdog, set(params.adapters)
    if config != WatchdogConfig() and "watchdog" not in chosen:
        raise ConfigError(f"{WHERE}: watchdog.* is set, but the adapter is not chosen; add watchdog to adapters")
    if config.send_again and "initial_pose" not in chosen:
        raise ConfigError(f"{WHERE}: watchdog.send_again needs the adapter initial_pose; add it to adapters")
    if "watchdog" in chosen and params.publish_tf and not config.topic:
        raise ConfigError(
            f"{WHERE}: with publish_tf, map -> odom in TF is ours, and watchdog would compare it with itself;"
            " set watchdog.topic to the other's pose"
        )
    if config.topic and config.topic.strip("/") == params.prior.pose.strip("/"):
        raise ConfigError(
            f"{WHERE}: watchdog.topic is prior.pose, so the other localiser would be compared with what it says "
            "itself; leave prior.pose out"
        )
    if "initial_pose" in chosen and params.prior.initial_pose.strip("/") == "initialpose":
        raise ConfigError(
            f"{WHERE}: the adapter initial_pose sends to /initialpose, and prior.initial_pose would hear it; give "
            "prior.initial_pose another topic"
        )


def table() -> str:
    """The parameters as a Markdown table."""
    rows = ["| parameter | default | unit | range | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field, _ in leaves():
        meta = field.metadata
        limits = ", ".join(map(str, meta["choices"])) if meta["choices"] else ""
        if meta["low"] is not None:
            limits = f"{meta['low']:g} .." + (f" {meta['high']:g}" if meta["high"] is not None else "")
        rows.append(f"| `{name}` | {shown_default(field)} | {meta['unit']} | {limits} | {meta['description']} |")
    return "\n".join(rows) + "\n"


def shown_default(field: dataclasses.Field[Any]) -> str:
    """A default as written on the command line."""
    written: dict[Any, str] = {None: "[]", "": '""', (): "[]"}
    default = written.get(field.default, str(field.default))
    return default.lower() if isinstance(field.default, bool) else default
