"""The parts of the node that know no ROS, or only its messages: small enough to be wrong in silence."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import MapError
from vpr_ros.base.track import PoseTrack
from vpr_ros.ros.health.counters import FrameTiming, Health
from vpr_ros.ros.input.worker import Worker
from vpr_ros.ros.services.map_url import path_of

SECOND = 10**9


def at_x(x: float) -> np.ndarray:
    return geometry.transform(np.eye(3), np.array([x, 0.0, 0.0]))


@pytest.mark.parametrize(("queue_size", "answered"), [(1, [0, 3]), (2, [0, 2, 3]), (5, [0, 1, 2, 3])])
def test_worker_drops_the_oldest_that_wait_and_counts_them(queue_size: int, answered: list[int]) -> None:
    """A localiser must never work on an old image while a newer one waits; a map must not lose one it has time for."""
    done: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def work(item: int) -> None:
        started.set()
        go_on.wait(5)
        done.append(item)

    worker = Worker(work, on_error=lambda error: None, queue_size=queue_size)
    worker.offer(0)
    assert started.wait(5)
    for item in (1, 2, 3):
        worker.offer(item)
    go_on.set()
    deadline = time.monotonic() + 5
    while len(done) < len(answered) and time.monotonic() < deadline:
        time.sleep(0.005)
    worker.stop()
    assert done == answered
    assert worker.dropped == 4 - len(answered)


def test_worker_survives_what_its_work_raises() -> None:
    """One image that breaks something must not end localisation."""
    errors: list[Exception] = []
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        raise RuntimeError(str(item)) if item == 1 else SystemExit(str(item))  # a library may call sys.exit

    worker = Worker(work, errors.append)
    for item in (1, 2):
        worker.offer(item)
        deadline = time.monotonic() + 5
        while len(errors) < item and time.monotonic() < deadline:
            time.sleep(0.005)
    worker.stop()
    assert seen == [1, 2]
    assert [str(error) for error in errors] == ["1", "sys.exit(2) was called"]


def test_worker_says_how_long_its_item_takes() -> None:
    """Work that never ends looks like a robot that stands: nothing fails, and nothing is published."""
    started, go_on = threading.Event(), threading.Event()

    def work(_: int) -> None:
        started.set()
        go_on.wait(5)

    worker = Worker(work, on_error=lambda error: None)
    assert worker.busy_s == 0
    worker.offer(0)
    assert started.wait(5)
    time.sleep(0.05)
    assert 0.05 <= worker.busy_s < 5
    go_on.set()
    worker.stop(finish=True)
    assert worker.busy_s == 0


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [(1.7, 1.7), (2.0, 2.0), (2.2, 2.2), (2.6, None), (0.9, None)],
    ids=["between", "exactly", "just after, at the same speed", "too long after", "before"],
)
def test_track_interpolates_and_looks_a_little_ahead(stamp: float, expected: float | None) -> None:
    """Images come before the odometry that brackets them: constant velocity bridges that, and no more than that."""
    track = PoseTrack(SECOND // 2)
    for second in (1.0, 1.5, 2.0):
        track.add(int(second * SECOND), at_x(second))
    T = track.at(int(stamp * SECOND))
    assert (T is None) == (expected is None)
    assert T is None or T[0, 3] == pytest.approx(expected)


def test_track_does_not_bridge_a_gap() -> None:
    """Ten seconds without odometry may hide a turn: no straight line across them."""
    track = PoseTrack(SECOND // 2)
    for second in (1, 11):
        track.add(second * SECOND, at_x(float(second)))
    assert track.at(6 * SECOND) is None
    assert track.at(int(10.8 * SECOND)) is None
    np.testing.assert_allclose(track.at(int(11.2 * SECOND)), at_x(11.0))


def test_track_forgets_when_the_clock_jumps_back() -> None:
    """A bag that starts again must not be mixed with its own end."""
    track = PoseTrack(SECOND)
    for second in (10, 11, 1, 2):
        track.add(second * SECOND, at_x(float(second)))
    assert track.at(10 * SECOND) is None
    np.testing.assert_allclose(track.at(2 * SECOND), at_x(2.0))


def test_track_stays_small() -> None:
    """Hours of odometry must not fill the robot's memory, and the newest poses must stay."""
    track = PoseTrack(SECOND, keep=10)
    for second in range(1000):
        track.add(second * SECOND, at_x(float(second)))
    assert len(track._stamps_ns) <= 20
    np.testing.assert_allclose(track.at(995 * SECOND), at_x(995.0))


def test_health_reports_percentiles_and_counts() -> None:
    """These figures are what a user tunes by."""
    health = Health()
    for latency in range(1, 101):
        health.answered(FrameTiming(float(latency), 5.0, {"network": 3.0}), "here")
    health.count("clock jumps")
    figures = health.figures()
    assert figures["latency p50 [ms]"] == "50.5"
    assert figures["latency p95 [ms]"] == "95.0"
    assert figures["network p50 [ms]"] == "3.0"
    assert figures["clock jumps"] == "1"
    assert figures["last answer"] == "here"


def test_a_package_where_no_ros_is_sourced(monkeypatch: pytest.MonkeyPatch) -> None:
    """ament_index raises an OSError then, which ended the node."""
    pytest.importorskip("ament_index_python", reason="ROS 2 is not installed (pip install '.[ros]')")
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(MapError, match=r"package 'nope' of .* is not installed"):
        path_of("package://nope/x")


def test_map_urls() -> None:
    """~/load_map takes what people type: a path, or the URLs its message's definition speaks of."""
    assert path_of("/maps/town.vprmap") == Path("/maps/town.vprmap")
    assert path_of("file:///maps/my%20town.vprmap") == Path("/maps/my town.vprmap")
    assert path_of("file:///maps/a#1%23.vprmap") == Path("/maps/a#1#.vprmap")
    assert path_of("drive-10:00.vprmap") == Path("drive-10:00.vprmap")
    assert path_of("~/town.vprmap") == Path.home() / "town.vprmap"
    for url in ("", "https://example.org/town.vprmap", "file://town.vprmap", "~nosuchuser/town.vprmap"):
        with pytest.raises(MapError):
            path_of(url)
