"""Agreement: closures are accepted once several neighbouring keyframes measure the same pose.

A false closure seldom finds a second one that agrees with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import LoopClosure
from vpr_ros.loops.constants import AGREEMENT


@dataclass(eq=False)
class _Measured:
    """A verified closure. driven_m: distance driven in this drive, when it was measured."""

    closure: LoopClosure
    T_odom_camera: np.ndarray
    driven_m: float
    accepted: bool = False

    @property
    def T_map_camera(self) -> np.ndarray:
        """(4, 4): pose of the robot in the map, if the closure is right."""
        return self.closure.T_map_match @ self.closure.T_match_query


class Agreement:
    """Recent verified closures, and which of them odometry makes consistent.

    Pairwise consistency, as in Mangelson et al., Pairwise Consistent Measurement Set Maximization, 2018.
    """

    def __init__(self, needed: int, drift: float = 0.0, of_one_frame: Collection[str] = ()) -> None:
        """needed: keyframes that must measure the same pose, the current one included. drift: see the configuration.

        of_one_frame: names of maps whose drives share a frame; those of raw odometry do not.
        """
        self._needed, self._of_one_frame = needed, of_one_frame
        self._share = max(AGREEMENT.translation_share, drift)
        self._recent: deque[_Measured] = deque(maxlen=AGREEMENT.remembered)

    def reset(self) -> None:
        """Forget all closures: odometry has another origin."""
        self._recent.clear()

    def predicted(self, match_map: str, T_odom_camera: np.ndarray) -> tuple[np.ndarray, int] | None:
        """Pose on a map by its last accepted closure and odometry since, and the id of the keyframe matched then.

        The pose is (4, 4). None if no closure on this map was accepted recently.
        """
        for old in reversed(self._recent):
            if old.accepted and old.closure.match_map == match_map:
                return old.T_map_camera @ geometry.inverse(old.T_odom_camera) @ T_odom_camera, old.closure.match_id
        return None

    def add(self, closures: list[LoopClosure], T_odom_camera: np.ndarray, driven_m: float) -> list[LoopClosure]:
        """Add verified closures of one keyframe; return those accepted now, which may be of earlier keyframes.

        T_odom_camera: (4, 4) of the keyframe. driven_m: distance driven so far in this drive.
        """
        while self._recent and driven_m - self._recent[0].driven_m > AGREEMENT.reach_m:
            self._recent.popleft()
        accepted: list[LoopClosure] = []
        for closure in closures:
            new = _Measured(closure, T_odom_camera, driven_m)
            agreeing = [old for old in self._recent if self._agree(old, new)]
            if len(agreeing) + 1 >= self._needed:
                for measured in (*agreeing, new):
                    if not measured.accepted:
                        measured.accepted = True
                        accepted.append(measured.closure)
            self._recent.append(new)
        return accepted

    def _agree(self, old: _Measured, new: _Measured) -> bool:
        """Whether two closures on one map, measured from different places, put the robot on one path."""
        same_map = old.closure.match_map == new.closure.match_map
        same_frame = new.closure.match_map in self._of_one_frame or old.closure.match_drive == new.closure.match_drive
        if not same_map or not same_frame or old.closure.stamp_ns == new.closure.stamp_ns:
            return False
        T_old_new = geometry.inverse(old.T_odom_camera) @ new.T_odom_camera
        moved_m, turned = float(np.linalg.norm(T_old_new[:3, 3])), geometry.angle_of(T_old_new[:3, :3])
        if moved_m < AGREEMENT.moved_m and turned < AGREEMENT.turned:  # one view errs twice in the same way
            return False
        T_difference = geometry.inverse(old.T_map_camera @ T_old_new) @ new.T_map_camera
        allowed = AGREEMENT.translation_m + self._share * (new.driven_m - old.driven_m)
        rotation = geometry.angle_of(T_difference[:3, :3])
        return bool(np.linalg.norm(T_difference[:3, 3]) < allowed and rotation < AGREEMENT.rotation)
