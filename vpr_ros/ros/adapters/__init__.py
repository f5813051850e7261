"""Ways out of the node, one file per consumer: each turns an Answer or a ClosureAnswer into messages of its own.

Those that a user chooses by name (parameter ``adapters``) are listed here and imported only when chosen.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vpr_ros.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from vpr_ros.ros.params import NodeParams


@dataclass(frozen=True)
class Choice:
    """An adapter that a user may name.

    module, name: of its class, ``Class(node, params)``. modes: of the node that it serves. package: whose messages it
    sends.
    """

    module: str
    name: str
    modes: tuple[str, ...]
    package: str


CHOICES = {
    "loop_closures": Choice("loop_closures", "LoopClosures", ("map",), "vpr_msgs"),
    "lio_sam": Choice("lio_sam", "LioSam", ("map",), "std_msgs"),
    "rtabmap_link": Choice("rtabmap_link", "RtabmapLink", ("map",), "rtabmap_msgs"),
    "rtabmap_pose": Choice("rtabmap_pose", "RtabmapPose", ("localize", "map"), "geometry_msgs"),
    "hydra": Choice("hydra", "Hydra", ("map",), "pose_graph_tools_msgs"),
    "swarm_slam": Choice("swarm_slam", "SwarmSlam", ("map",), "cslam_common_interfaces"),
    "initial_pose": Choice("initial_pose", "InitialPose", ("localize", "map"), "geometry_msgs"),
}


def open_adapters(names: Iterable[str], mode: str, node: LifecycleNode, params: NodeParams) -> list[Any]:
    """The adapters of these names, each once, in their order.

    mode: "localize" gives instances of ``Adapter``, "map" of ``ClosureAdapter``. Raises ConfigError for a name that
    nobody knows (with the nearest) or that does not serve the mode, and MissingDependencyError where its messages are
    not installed.
    """
    names = list(dict.fromkeys(names))
    check_adapters(names, mode)
    opened: list[Any] = []
    try:
        for name in names:
            opened.append(_adapter_class(name)(node, params))
    except Exception:
        for adapter in opened:
            adapter.close()
        raise
    return opened


def check_adapters(names: Iterable[str], mode: str) -> None:
    """Raises as ``open_adapters`` where one of these names cannot be opened; opens nothing."""
    names = list(names)
    check_names(names)
    for name in names:
        if mode not in CHOICES[name].modes:
            raise ConfigError(
                f"adapters: '{name}' hands over loop closures, and mode '{mode}' finds none; set mode:=map"
            )
    for name in names:
        _adapter_class(name)


def check_names(names: Iterable[str]) -> None:
    """Raises ConfigError for a name of no adapter, with the nearest."""
    for name in names:
        if name not in CHOICES:
            nearest = difflib.get_close_matches(name, CHOICES, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(CHOICES)}"
            raise ConfigError(f"adapters: unknown adapter '{name}'; {hint}")


def _adapter_class(name: str) -> Any:
    choice = CHOICES[name]
    try:
        module = importlib.import_module(f"{__name__}.{choice.module}")
    except ImportError as error:
        if (error.name or "").split(".")[0] != choice.package:
            raise
        raise MissingDependencyError(
            f"adapter '{name}' needs the ROS package {choice.package}, which is not installed or too old:"
            f" install or build it, or take '{name}' out of adapters"
        ) from error
    return getattr(module, choice.name)
