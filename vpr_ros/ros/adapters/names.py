"""Names of the adapters, built-in and registered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vpr_ros.base.errors import ConfigError, nearest_name
from vpr_ros.base.registry import registered

GROUP = "vpr.adapters"


@dataclass(frozen=True)
class Choice:
    """A built-in adapter.

    module: of its class, in this folder.
    name: of its class, called as ``Class(node, params)``.
    modes: of the node that it supports.
    package: ROS package of its messages.
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
    "watchdog": Choice("watchdog", "Watchdog", ("localize",), "diagnostic_msgs"),
}


def known_names() -> list[str]:
    """Names of this package's adapters, then of those that other packages register (entry points ``vpr.adapters``)."""
    return [*CHOICES, *sorted(set(registered(GROUP)) - set(CHOICES))]


def check_names(names: Iterable[str]) -> None:
    """Raises ConfigError for an unknown name, with the nearest one."""
    known = known_names()
    for name in names:
        if name not in known:
            raise ConfigError(f"adapters: unknown adapter '{name}'; {nearest_name(name, known)}")
