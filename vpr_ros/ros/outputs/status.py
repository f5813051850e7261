"""Whether the pose can be relied on now, as one of four states. No ROS here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from vpr_ros.base.records import Estimate

SURE = 0.9  # minimum probability for consumers that do not weigh answers themselves


class State(enum.IntEnum):
    """The states, with the numbers of vpr_msgs/Status."""

    UNKNOWN = 0
    LOCALIZED = 1
    UNSURE = 2
    OFF_MAP = 3


@dataclass(frozen=True)
class Status:
    """A state.

    probability: of the best pose, or of not being on this map if that is the state; 0 if unknown.
    reason: one sentence.
    camera: whose image it is of, where there are several cameras; else empty.
    """

    state: State
    probability: float
    reason: str
    camera: str = ""


@dataclass(frozen=True)
class _Answered:
    """The latest answer of a camera: when, the status by it, and what keeps its images from being used, or empty."""

    at_s: float
    status: Status
    obstacle: str


class StatusTracker:
    """The state from the latest answer and its age. Times are seconds of any clock that does not jump.

    With several cameras one that cannot be used is named, and the state is that of the others.
    """

    def __init__(self, timeout_s: float) -> None:
        """timeout_s: silence after which the latest answer counts no more."""
        self._timeout_s = timeout_s
        self._last: dict[str, _Answered] = {}  # of each camera

    def answered(self, estimate: Estimate, now_s: float, obstacle: str = "", gap: str = "", camera: str = "") -> None:
        """Take an answer.

        obstacle: why its pose cannot be used, however probable it is; empty if it can. gap: see ``PlaceMap.gap``.
        camera: its topic, where there are several.
        """
        obstacle = estimate.problem or obstacle
        status = _unknown(obstacle) if obstacle else _status(estimate, gap)
        self._last[camera] = _Answered(now_s, replace(status, camera=camera), obstacle)

    def left_out(self, camera: str, why: str, now_s: float) -> None:
        """One of several cameras has an image that cannot be used."""
        self._last[camera] = _Answered(now_s, _unknown(why, camera), why)

    def forget(self) -> None:
        """The latest answers count no more: another map, or another clock."""
        self._last.clear()

    def at(self, now_s: float, active: bool = True) -> Status:
        """The state now. active: whether the node takes images; what came before a pause does not count."""
        if not active:
            self._last.clear()
            return _unknown("the node is not active")
        if not self._last:
            return _unknown("no image has been answered yet")
        latest = max(self._last.values(), key=lambda answered: answered.at_s)
        if now_s - latest.at_s > self._timeout_s:
            return _unknown(f"no image has been answered for {now_s - latest.at_s:.0f} s", latest.status.camera)
        lately = [answered for answered in self._last.values() if now_s - answered.at_s <= self._timeout_s]
        used = [answered for answered in lately if not answered.obstacle]
        status = max(used, key=lambda answered: answered.at_s).status if used else latest.status
        obstacles = {answered.status.camera: answered.obstacle for answered in lately if answered.obstacle}
        if not obstacles:
            return status
        named = "; ".join(f"{camera}: {why}" if camera else why for camera, why in sorted(obstacles.items()))
        return replace(status, reason=f"{status.reason}; {named}" if used else named)


def _unknown(reason: str, camera: str = "") -> Status:
    return Status(State.UNKNOWN, 0.0, reason, camera)


def _status(estimate: Estimate, gap: str) -> Status:
    best, off_map = estimate.best, estimate.off_map_probability
    if best is None and gap:  # it may be in what is missing
        return _unknown(gap)
    if best is None:
        return Status(State.OFF_MAP, off_map, f"the robot is not on this map ({off_map:.0%})")
    sure, missing = best.probability >= SURE, f"; {gap}" if gap else ""
    shown = best.probability if sure else min(best.probability, SURE - 0.01)  # rounded, it is less as well
    words = f"the best pose has a probability of {shown:.0%}"
    if not sure:
        return Status(State.UNSURE, best.probability, f"{words}, less than {SURE:.0%}{missing}")
    return Status(State.LOCALIZED, best.probability, f"{words}{missing}")
