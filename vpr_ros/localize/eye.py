"""What is kept from image to image of one camera, and whether it hangs."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from vpr_ros.localize.constants import FILTER, VIEW_CHANGE
from vpr_ros.localize.view_change import Change, ViewChange
from vpr_ros.maps.centring import SessionMean

STUCK = (
    "the image stays the same while the robot drives by its odometry, so it is no evidence: see whether the camera "
    "hangs, or the wheels slip"
)


@dataclass
class Eye:
    """What is kept from image to image of one camera."""

    session_mean: SessionMean
    view_change: ViewChange
    last: tuple[int, np.ndarray | None] = (0, None)  # stamp and pose by odometry of its last image
    moved_m: float = 0.0  # by odometry while it showed one view
    moved_s: float = 0.0
    is_stuck: bool = False  # whether it shows one view while the robot drives

    def look(self, stamp_ns: int, change: Change, T_odom_camera: np.ndarray | None, spacing: float) -> bool:
        """Take an image. Whether the camera is stuck since this one: drivers repeat their last image when it hangs.

        A step that no robot makes is a restart of odometry, and a very slow one is drift. change: since the last view.
        spacing: of the map's places, metres.
        """
        was_stuck, self.is_stuck = self.is_stuck, False
        (last_ns, T_last), self.last = self.last, (stamp_ns, T_odom_camera)
        if T_odom_camera is None or T_last is None or not change.same_view:
            self.moved_m = self.moved_s = 0.0
            return False
        step_m, seconds = float(np.linalg.norm(T_odom_camera[:3, 3] - T_last[:3, 3])), (stamp_ns - last_ns) * 1e-9
        if VIEW_CHANGE.stuck_slowest * seconds < step_m <= FILTER.fastest * seconds:
            self.moved_m, self.moved_s = self.moved_m + step_m, self.moved_s + seconds
        far = self.moved_m > np.clip(VIEW_CHANGE.stuck_spacings * spacing, *VIEW_CHANGE.stuck_m)
        self.is_stuck = bool(far and self.moved_s >= VIEW_CHANGE.stuck_s)
        return self.is_stuck and not was_stuck

    def reset(self) -> None:
        """Forget the camera's images."""
        self.session_mean.reset()
        self.view_change.reset()
        self.forget_odometry()

    def forget_odometry(self) -> None:
        """The next pose of odometry is unrelated to those before."""
        self.last, self.moved_m, self.moved_s, self.is_stuck = (0, None), 0.0, 0.0, False

    def another(self) -> Eye:
        """For another camera, without this one's images."""
        other = Eye(copy(self.session_mean), copy(self.view_change))
        other.reset()
        return other
