"""What the node hands to every way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from std_msgs.msg import Header

from vpr_ros.records import Estimate


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate with what is needed to speak of it to the rest of the robot.

    arrived_ns: when the image's callback ran, monotonic clock. image_header: the image's own. map_header: the same
    stamp, the map's frame. T_camera_base: (4, 4), or None where nothing tells how the camera sits on the robot: no pose
    of the base may be published then. T_odom_base: (4, 4) in odom_frame at the image's stamp, or None.
    """

    arrived_ns: int
    estimate: Estimate
    image_header: Header
    map_header: Header
    T_camera_base: np.ndarray | None
    T_odom_base: np.ndarray | None = None
    odom_frame: str = ""


class Adapter(Protocol):
    """One way out. Called from the worker's thread, after construction and before ``close`` only."""

    def publish(self, answer: Answer) -> None:
        """Send what this consumer needs of an answer."""
        ...

    def forget(self) -> None:
        """The past is void: the clock jumped back, the map changed or somebody asked for it."""
        ...

    def close(self) -> None:
        """Destroy publishers."""
        ...
