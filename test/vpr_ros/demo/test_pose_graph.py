"""The example back end of `vpr demo slam`: closures must take drift away, and a false one must not wreck the map."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gtsam", reason="GTSAM is not installed: pip install 'vpr_ros[slam]'")

from vpr_ros.base.geometry import inverse, matrix_from_rpy, rotation_from_vector, transform
from vpr_ros.base.track import Track
from vpr_ros.demo.pose_graph import Closure, PoseGraph

SECOND = 1_000_000_000
COVARIANCE = np.diag([0.2, 0.2, 0.1, 0.02, 0.02, 0.02]) ** 2


def square(laps: float = 2.25, side_m: int = 60) -> np.ndarray:
    """(N, 4, 4): a pose a metre, the corners cut in three turns."""
    pose, poses = np.eye(4), [np.eye(4)]
    for step in range(round(4 * laps * side_m)):
        yaw = np.pi / 6 if step % side_m in (1, 2, 3) else 0.0
        pose = pose @ transform(matrix_from_rpy(0, 0, yaw), np.array([1.0, 0, 0]))
        poses.append(pose)
    return np.array(poses)


def drifting(truth: np.ndarray, seed: int = 3) -> np.ndarray:
    """(N, 4, 4): a little too long, every step turned a little, most to the left, from another start."""
    rng = np.random.default_rng(seed)
    pose = transform(matrix_from_rpy(0, 0, 1.0), np.array([30.0, -20.0, 0.0]))
    poses = [pose]
    for step in inverse(truth[:-1]) @ truth[1:]:
        step = step.copy()
        step[:3, 3] *= 1.005
        step[:3, :3] = step[:3, :3] @ matrix_from_rpy(0, 0, np.radians(0.03 + 0.3 * rng.standard_normal()))
        pose = pose @ step
        poses.append(pose)
    return np.array(poses)


def stamp(row: int, session: int = 0) -> int:
    return (row + 10_000 * session) * SECOND


def measured(truth: np.ndarray, query: int, match: int, rng: np.random.Generator) -> Closure:
    """A true closure with the noise that its covariance says."""
    T = inverse(truth[match]) @ truth[query]
    noise = np.sqrt(np.diag(COVARIANCE)) * rng.standard_normal(6)
    T_noisy = transform(rotation_from_vector(noise[3:]) @ T[:3, :3], T[:3, 3] + noise[:3])
    return Closure(stamp(query), stamp(match), T_noisy, COVARIANCE)


def ate(found: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square distance in metres after moving the first pose onto the true first."""
    moved = (truth[0] @ inverse(found[0])) @ found
    return float(np.sqrt(np.mean(np.sum((moved[:, :3, 3] - truth[:, :3, 3]) ** 2, axis=1))))


def run(truth: np.ndarray, odometry: np.ndarray, closures: list[Closure], **options) -> PoseGraph:
    graph = PoseGraph(**options)
    by_stamp: dict[int, list[Closure]] = {}
    for closure in closures:
        by_stamp.setdefault(closure.stamp_ns, []).append(closure)
    for row, T in enumerate(odometry):
        for closure in by_stamp.get(stamp(row), []):
            graph.add_closure(closure)  # before odometry has come that far, as messages may
        graph.add_odometry(stamp(row), T)
        if row % 10 == 0 or row == len(odometry) - 1:
            graph.optimise()
    return graph


def lap_closures(truth: np.ndarray) -> list[Closure]:
    rng = np.random.default_rng(1)
    return [measured(truth, query, query - 240, rng) for query in range(250, len(truth), 20)]


@pytest.mark.parametrize("every_m", [0.5, 5.0])
def test_closures_take_the_drift_away(every_m: float) -> None:
    """A second lap closed on the first; closures fall between the graph's poses as well as on them."""
    truth = square()
    odometry = drifting(truth)
    found = run(truth, odometry, lap_closures(truth), every_m=every_m).trajectory()
    assert ate(odometry, truth) > 8
    assert ate(found.T, truth) < 0.25 * ate(odometry, truth)
    assert found.stamps_ns.tolist() == [stamp(row) for row in range(len(truth))]


def test_without_closures_odometry_is_left_alone() -> None:
    """A graph that moves what nobody measured would hide a broken loop closer."""
    truth = square(1.0)
    odometry = drifting(truth)
    found = run(truth, odometry, []).trajectory().T
    np.testing.assert_allclose(inverse(found[0]) @ found, inverse(odometry[0]) @ odometry, atol=1e-6)


def test_a_false_closure_does_not_wreck_the_map() -> None:
    """The robust kernel: one closure between opposite corners, as sure of itself as the true ones."""
    truth = square()
    odometry, closures = drifting(truth), lap_closures(truth)
    false = [Closure(stamp(query), stamp(match), np.eye(4), COVARIANCE) for query, match in ((300, 180), (470, 60))]
    clean = ate(run(truth, odometry, closures).trajectory().T, truth)
    spoiled = ate(run(truth, odometry, [*closures, *false]).trajectory().T, truth)
    assert spoiled < clean + 0.5 and spoiled < 0.3 * ate(odometry, truth)


def test_an_earlier_session_places_this_one_in_its_map() -> None:
    """Closures on the map alone; odometry begins elsewhere, turned; the first closure is false."""
    truth = square()
    odometry = drifting(truth)
    T_map_world = transform(matrix_from_rpy(0, 0, -2.0), np.array([500.0, 100.0, 0.0]))
    rng = np.random.default_rng(2)
    track = Track(np.array([stamp(row, 1) for row in range(len(truth))]), T_map_world @ truth, 2**62)
    closures = [
        Closure(c.stamp_ns, stamp(query, 1), c.T_match_query, COVARIANCE, earlier=True)
        for query in range(40, len(truth), 20)
        for c in [measured(truth, query, query, rng)]
    ]
    false = Closure(stamp(20), stamp(200, 1), np.eye(4), COVARIANCE, earlier=True)
    graph = run(truth, odometry, [false, *closures], earlier=track)
    assert graph.anchored
    error = np.linalg.norm(graph.trajectory().T[:, :3, 3] - (T_map_world @ truth)[:, :3, 3], axis=1)
    assert np.sqrt(np.mean(error**2)) < 0.5


def test_a_closure_on_a_session_that_is_not_here_is_left_out() -> None:
    """Two earlier maps, one of them loaded: the other's closures cannot be used, and must not stop the graph."""
    truth = square(1.0)
    stranger = Closure(stamp(20), stamp(5, 3), np.eye(4), COVARIANCE, earlier=True)
    graph = run(truth, truth, [stranger] * 5)
    assert not graph.anchored and ate(graph.trajectory().T, truth) < 1e-3


def test_covariances_are_about_the_earlier_bases_axes() -> None:
    """A loop known well along the earlier base's x and badly along y corrects x only, whichever way the robot looks."""
    ahead = [transform(np.eye(3), np.array([float(i), 0, 0])) for i in range(6)]
    turned = [ahead[-1] @ transform(matrix_from_rpy(0, 0, np.pi / 2), np.array([0, float(i), 0])) for i in range(1, 6)]
    odometry = np.array(ahead + turned)
    graph = PoseGraph(every_m=0.5)
    for row, T in enumerate(odometry):
        graph.add_odometry(stamp(row), T)
    T_moved = odometry[-1].copy()
    T_moved[:2, 3] += 0.2
    covariance = np.diag([1e-3, 10.0, 1e-1, 0.1, 0.1, 0.1]) ** 2
    graph.add_closure(Closure(stamp(len(odometry) - 1), stamp(0), T_moved, covariance))
    graph.optimise()
    shift = graph.trajectory().T[-1][:2, 3] - odometry[-1][:2, 3]
    assert shift[0] == pytest.approx(0.2, abs=0.02) and abs(shift[1]) < 0.02


def test_a_long_road_without_a_loop() -> None:
    """After 1.7 to 2.3 km the solver's matrix was no longer positive definite, and the node ended with a traceback."""
    graph = PoseGraph()
    for metre in range(4000):
        graph.add_odometry(stamp(metre), transform(np.eye(3), np.array([float(metre), 0.0, 0.0])))
        if metre % 8 == 7:
            graph.optimise()
    path = graph.path()
    assert len(path.T) == 4000
    np.testing.assert_allclose(path.T[-1][:3, 3], [3999.0, 0.0, 0.0], atol=0.1)


def test_closures_on_times_before_the_first_odometry_are_left_out() -> None:
    """As after a restart in the middle of a drive. They waited for ever, and made each optimisation slower."""
    truth = square()
    late = run(truth[100:], truth[100:], [])
    for row in range(50):
        late.add_closure(Closure(stamp(row + 120), -stamp(row + 1), np.eye(4), COVARIANCE))
    late.optimise()
    assert late.too_early == 50 and not late._waiting
