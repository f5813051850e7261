"""One place seen twice is one place, whatever odometry did in between; what nothing relates is never taken for one."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.loops.anchors import Anchors

STREET = 40  # keyframes of a pass, 5 m apart


class Town:
    """True poses, what odometry makes of them, and the anchors that ought to undo it."""

    def __init__(self) -> None:
        self.anchors = Anchors()
        self.truth: list[np.ndarray] = []
        self.odometry: list[np.ndarray] = []

    def drive(self, number: int, true_poses: list[np.ndarray], T_odom_truth: np.ndarray) -> None:
        """Further keyframes of a drive."""
        self.truth += true_poses
        self.odometry += [T_odom_truth @ T for T in true_poses]
        for _ in true_poses:
            self.anchors.extend(np.array([number]))

    def close(self, query: int, match: int) -> None:
        """A loop, measured without error."""
        T_match_query = geometry.inverse(self.truth[match]) @ self.truth[query]
        self.anchors.link(query, match, self.odometry[query], self.odometry[match], T_match_query)

    def anchored(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every row: anchor and position."""
        rows = np.arange(len(self.anchors))
        return self.anchors.positions(rows, np.array(self.odometry)[:, :3, 3])


def street(start: float = 0.0) -> list[np.ndarray]:
    """(4, 4) true poses along a straight street."""
    return [geometry.transform(geometry.matrix_from_rpy(0, 0, 0.3), [start + 5.0 * k, 2.0, 1.6]) for k in range(STREET)]


def astray(x: float, y: float, yaw: float = 0.0) -> np.ndarray:
    """(4, 4): another origin, or drift."""
    return geometry.transform(geometry.matrix_from_rpy(0, 0, yaw), [x, y, 0.0])


def test_drift_within_a_drive_is_undone():
    """Four laps, each 14 m further off, with a loop closed by every fourth keyframe: no copy is elsewhere."""
    town = Town()
    for lap in range(4):
        town.drive(0, street(), astray(0.0, 14.0 * lap))
        for k in range(2, STREET if lap else 0, 4):
            town.close(STREET * lap + k, STREET * (k % lap) + k)  # on any of the copies
    anchors, positions = town.anchored()
    laps = positions.reshape(4, STREET, 3)
    assert set(anchors) == {0} and np.linalg.norm(laps[:, 2::4] - laps[:1, 2::4], axis=2).max() < 1e-9
    apart = np.linalg.norm(laps - laps[:1], axis=2).max(axis=0)
    assert np.count_nonzero(apart > 1.0) <= 2 < np.ptp(np.array(town.odometry)[:, 1, 3])  # where the half begins


def test_a_loop_corrects_the_later_half_of_its_way():
    """Drift grew on the way from the match to the query; the match itself is what the query is anchored to."""
    town = Town()
    town.drive(0, street(), np.eye(4))
    town.drive(0, street(), astray(0.0, 14.0))
    town.close(60, 20)
    moved = np.linalg.norm(town.anchored()[1] - np.array(town.odometry)[:, :3, 3], axis=1) > 1.0
    np.testing.assert_array_equal(np.flatnonzero(moved), np.arange(41, 80))


def test_between_two_loops_the_nearer_one_counts():
    """Also where the earlier of them is believed last, as agreement may have it."""
    for order in ([(50, 10), (70, 30)], [(70, 30), (50, 10)]):
        town = Town()
        town.drive(0, street(), np.eye(4))
        town.drive(1, street()[:20], astray(100.0, 0.0, 1.0))
        town.drive(1, street()[20:], astray(120.0, 7.0, 1.1))  # odometry slipped at row 60
        for query, match in order:
            town.close(query, match)
        anchors, positions = town.anchored()
        assert set(anchors) == {0}
        true = np.array(town.truth)[:, :3, 3]
        wrong = np.flatnonzero(np.linalg.norm(positions - true, axis=1) > 1e-6)
        np.testing.assert_array_equal(wrong, [60])  # as near to the one as to the other


def test_drives_of_other_origins_fall_together():
    """The first loop takes all of a drive along, and through it the drives after it."""
    town = Town()
    for number, origin in enumerate([np.eye(4), astray(300, 200, 0.7), astray(-500, 100, -1.0)]):
        town.drive(number, street(), origin)
    assert set(town.anchored()[0]) == {0, 1, 2}  # nothing relates them yet
    town.close(STREET + 30, 30)
    town.close(2 * STREET + 10, STREET + 10)
    anchors, positions = town.anchored()
    assert set(anchors) == {0}
    np.testing.assert_allclose(positions, np.array(town.truth)[:, :3, 3], atol=1e-9)
    town.drive(2, street(), astray(-500, 100, -1.0))  # and what is still to come
    anchors, positions = town.anchored()
    assert set(anchors) == {0}
    np.testing.assert_allclose(positions, np.array(town.truth)[:, :3, 3], atol=1e-9)


def test_loops_of_its_own_go_along_to_another_drive():
    """A drive that had drifted and closed on itself before it met an older one keeps what it had found out."""
    town = Town()
    town.drive(0, street(), np.eye(4))
    town.drive(1, street(1000.0), astray(300, 200, 0.7))
    town.drive(1, street(1000.0), astray(300, 214, 0.7))
    town.close(100, 60)
    town.drive(1, street(), astray(300, 214, 0.7))
    town.close(125, 5)
    anchors, positions = town.anchored()
    assert set(anchors) == {0}
    true = np.array(town.truth)[:, :3, 3]
    np.testing.assert_allclose(positions[81:], true[81:], atol=1e-9)
    np.testing.assert_allclose(positions[40:80], true[40:80], atol=1e-9)


def test_what_is_seen_first_on_another_drive_is_anchored_there():
    """One drive through two towns nothing else relates: its keyframes belong to the one or the other."""
    town = Town()
    town.drive(0, street(), np.eye(4))
    town.drive(1, street(5000.0), astray(300, 200, 0.7))
    town.drive(2, street() + street(5000.0), astray(7, 7, 2.0))
    town.close(2 * STREET + 5, 5)
    town.close(3 * STREET + 5, STREET + 5)
    anchors, _ = town.anchored()
    assert anchors[2 * STREET] == 0 and anchors[-1] == 1 and set(anchors[STREET : 2 * STREET]) == {1}


def test_a_loop_costs_the_same_in_a_large_map():
    """A robot that closes a loop with every keyframe drives on for days; its oldest rows are not gone through."""
    anchors, T = Anchors(), np.eye(4)
    spent = []
    for _ in range(8):
        start = perf_counter()
        for _ in range(2000):
            anchors.extend(np.zeros(1, np.int64))
            if len(anchors) > 50:
                anchors.link(len(anchors) - 1, len(anchors) - 50, T, T, T)
        spent.append(perf_counter() - start)
    assert min(spent[-3:]) < 3 * min(spent[:3])
    assert len(anchors) == 16_000
    with pytest.raises(IndexError):
        anchors.positions(np.array([16_000]), np.zeros((1, 3)))
