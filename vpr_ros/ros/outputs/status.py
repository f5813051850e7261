"""Whether the pose can be relied on now, as one of four states. No ROS here."""

from __future__ import annotations

import enum
from dataclasses import dataclass

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
    """

    state: State
    probability: float
    reason: str


class StatusTracker:
    """The state from the latest answer and its age. Times are seconds of any clock that does not jump."""

    def __init__(self, timeout_s: float) -> None:
        """timeout_s: silence after which the latest answer counts no more."""
        self._timeout_s = timeout_s
        self._last: tuple[float, Status] | None = None

    def answered(self, estimate: Estimate, now_s: float, obstacle: str = "", gap: str = "") -> None:
        """Take an answer.

        obstacle: why its pose cannot be used, however probable it is; empty if it can. gap: see ``PlaceMap.gap``.
        """
        self._last = now_s, _status(estimate, obstacle, gap)

    def forget(self) -> None:
        """The latest answer counts no more: another map, or another clock."""
        self._last = None

    def at(self, now_s: float, active: bool = True) -> Status:
        """The state now. active: whether the node takes images; what came before a pause does not count."""
        if not active:
            self._last = None
            return _unknown("the node is not active")
        if self._last is None:
            return _unknown("no image has been answered yet")
        answered_s, status = self._last
        if now_s - answered_s > self._timeout_s:
            return _unknown(f"no image has been answered for {now_s - answered_s:.0f} s")
        return status


def _unknown(reason: str) -> Status:
    return Status(State.UNKNOWN, 0.0, reason)


def _status(estimate: Estimate, obstacle: str, gap: str) -> Status:
    best, off_map = estimate.best, estimate.off_map_probability
    if why := estimate.problem or obstacle:
        return _unknown(why)
    if best is None and gap:  # it may be in what is missing
        return _unknown(gap)
    if best is None:
        return Status(State.OFF_MAP, off_map, f"the robot is not on this map ({off_map:.0%})")
    words, missing = f"the best pose has a probability of {best.probability:.0%}", f"; {gap}" if gap else ""
    if best.probability < SURE:
        return Status(State.UNSURE, best.probability, f"{words}, less than {SURE:.0%}{missing}")
    return Status(State.LOCALIZED, best.probability, f"{words}{missing}")
