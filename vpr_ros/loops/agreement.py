"""Closures are believed when neighbouring keyframes measure the same: a false one seldom finds a second like it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import LoopClosure
from vpr_ros.loops.constants import AGREEMENT


@dataclass(eq=False)
class _Measured:
    """A verified closure on its way to being believed. way: metres driven when it was measured."""

    closure: LoopClosure
    T_odom_camera: np.ndarray
    way: float
    believed: bool = False

    @property
    def T_map_camera(self) -> np.ndarray:
        """(4, 4): where the robot was in the map, if the closure is right."""
        return self.closure.T_map_match @ self.closure.T_match_query


class Agreement:
    """The last measured closures, and which of them odometry makes one.

    Pairwise consistency, as in Mangelson et al., Pairwise Consistent Measurement Set Maximization, 2018.
    """

    def __init__(self, needed: int) -> None:
        """needed: keyframes that have to measure the same, this one among them."""
        self._needed = needed
        self._recent: deque[_Measured] = deque(maxlen=AGREEMENT.remembered)

    def reset(self) -> None:
        """Odometry began anew."""
        self._recent.clear()

    def predicted(self, match_map: str, T_odom_camera: np.ndarray) -> tuple[np.ndarray, int] | None:
        """Where on a map the robot should be by the last believed closure and odometry since, (4, 4), and the id of the
        keyframe that closure met; None where there was none lately.
        """
        for old in reversed(self._recent):
            if old.believed and old.closure.match_map == match_map:
                return old.T_map_camera @ geometry.inverse(old.T_odom_camera) @ T_odom_camera, old.closure.match_id
        return None

    def judge(self, closures: list[LoopClosure], T_odom_camera: np.ndarray, way: float) -> list[LoopClosure]:
        """Closures measured at this keyframe -> those that can be believed now, earlier ones among them.

        T_odom_camera: (4, 4) of the keyframe; way: metres driven so far.
        """
        while self._recent and way - self._recent[0].way > AGREEMENT.reach_m:
            self._recent.popleft()
        believed: list[LoopClosure] = []
        for closure in closures:
            new = _Measured(closure, T_odom_camera, way)
            agreeing = [old for old in self._recent if _agree(old, new)]
            if len(agreeing) + 1 >= self._needed:
                for measured in (*agreeing, new):
                    if not measured.believed:
                        measured.believed = True
                        believed.append(measured.closure)
            self._recent.append(new)
        return believed


def _agree(old: _Measured, new: _Measured) -> bool:
    """Whether two closures on one map, measured at different keyframes, put the robot on one path."""
    same_map = (old.closure.match_map, old.closure.match_drive) == (new.closure.match_map, new.closure.match_drive)
    if not same_map or old.closure.stamp_ns == new.closure.stamp_ns:
        return False
    T_old_new = geometry.inverse(old.T_odom_camera) @ new.T_odom_camera
    T_difference = geometry.inverse(old.T_map_camera @ T_old_new) @ new.T_map_camera
    allowed = AGREEMENT.translation_m + AGREEMENT.translation_share * (new.way - old.way)
    turned = np.linalg.norm(geometry.vector_from_rotation(T_difference[:3, :3]))
    return bool(np.linalg.norm(T_difference[:3, 3]) < allowed and turned < AGREEMENT.rotation)
