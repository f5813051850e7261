"""The node's outbox: the keyframes of a drive as ``collect`` chooses them, and never an image that waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiled import settled

from vpr_ros.base.errors import MapError, ModelError
from vpr_ros.base.records import Estimate
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.outbox import GrowingOutbox, collect
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.tiles import write_tiles
from vpr_ros.ros.outputs.live_outbox import LiveOutbox

LENGTH = 100.0


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str, **_: Any) -> None:
        self.lines.append(message)

    error = warning


@pytest.fixture(scope="module")
def localizer(
    tmp_path_factory: pytest.TempPathFactory, describer: Describer, painted_drive: Any
) -> Iterator[Localizer]:
    path = tmp_path_factory.mktemp("street") / "street.vprmap"
    build_map(path, [painted_drive(length=LENGTH)], describer).close()
    with Localizer.open(path, backend="onnx", threads=1) as opened:
        yield opened


@pytest.fixture
def fog(painted_drive: Any) -> Any:
    """The street in another look."""
    return painted_drive(name="fog", length=LENGTH, start=1.0, noise=40.0)


@pytest.fixture
def outbox_in(localizer: Localizer, describer: Describer) -> Iterator[Callable[..., LiveOutbox]]:
    """outbox_in(folder, describer=, most_mb=) -> a LiveOutbox; closed after the test."""
    opened: list[LiveOutbox] = []

    def make(folder: Path, describer: Any = describer, most_mb: float = 100.0) -> LiveOutbox:
        localizer.reset()
        log = Log()
        opened.append(LiveOutbox(folder, most_mb, localizer.place_map, localizer.places, describer, log))
        opened[-1].log = log  # type: ignore[attr-defined]
        return opened[-1]

    yield make
    for outbox in opened:
        outbox.close()


def drive_past(localizer: Localizer, outbox: LiveOutbox, drive: Any, camera: str = "", wait: bool = True) -> int:
    """Localise a drive, as the node does; the number of images."""
    images = 0
    for frame in drive:
        loaded = frame.load()
        outbox.take(frame.stamp_ns, loaded.image_rgb, camera, localizer.localize(loaded))
        images += 1
        while wait and outbox._worker._waiting:
            time.sleep(0.001)
    return images


def stored(folder: Path) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Stamp, position and descriptors of all keyframes that are ready to be sent."""
    found = []
    for path in sorted(folder.glob("*.vprmap")):
        with PlaceMap.open(path) as place_map:
            places = place_map.places
            found += list(zip(places.stamps_ns.tolist(), places.positions, places.descriptors, strict=True))
    return found


def test_what_the_node_stores_is_what_a_recording_would_give(
    localizer: Localizer, outbox_in: Any, fog: Any, tmp_path: Path
) -> None:
    """One piece of code chooses: the same stamps, poses, descriptors, and counts for the operator."""
    outbox = outbox_in(tmp_path / "live")
    images = drive_past(localizer, outbox, fog)
    outbox.close()
    count = collect(localizer, _Unposed(fog), tmp_path / "recorded")
    live, recorded = stored(tmp_path / "live"), stored(tmp_path / "recorded")
    assert len(live) == count > 5
    for (stamp, position, descriptors), (other_stamp, other_position, others) in zip(live, recorded, strict=True):
        assert stamp == other_stamp
        np.testing.assert_allclose(position, other_position, atol=1e-6)
        np.testing.assert_allclose(np.asarray(descriptors, float), np.asarray(others, float), atol=1e-3)
    values = {name: int(value) for name, value in outbox.values().items()}
    assert values["outbox: keyframes stored"] == count
    assert sum(values.values()) <= images


class _Unposed:
    """A drive without its own poses, as a robot sees it."""

    world = ""

    def __init__(self, drive: Any) -> None:
        self.name, self._drive = drive.name, drive

    def __len__(self) -> int:
        return len(self._drive)

    def __iter__(self) -> Iterator[Any]:
        from dataclasses import replace

        return (replace(frame, T_map_camera=None) for frame in self._drive)


class Stuck:
    """A describer that waits until it may go on."""

    def __init__(self, describer: Any) -> None:
        self.manifest, self.batch_sizes, self._describer = describer.manifest, (1,), describer
        self.may = threading.Event()

    def describe(self, images: np.ndarray) -> Any:
        assert self.may.wait(20)
        return self._describer.describe(images)


def test_an_image_never_waits_for_the_outbox(
    localizer: Localizer, outbox_in: Any, describer: Describer, fog: Any, tmp_path: Path
) -> None:
    """A network that hangs, on a busy robot: poses go on, what finds no room in the queue is counted."""
    stuck = Stuck(describer)
    outbox = outbox_in(tmp_path, stuck)
    longest = 0.0
    for frame in fog:
        loaded = frame.load()
        estimate = localizer.localize(loaded)
        start = time.perf_counter()
        outbox.take(frame.stamp_ns, loaded.image_rgb, "", estimate)
        longest = max(longest, time.perf_counter() - start)
        outbox.on_timer()  # once a second, and no image makes way for it
    assert longest < 0.25
    dropped = int(outbox.values()["outbox: dropped (busy)"])
    assert 0 < dropped < len(fog) - OUTBOX.queue_size and outbox.values()["outbox: keyframes stored"] == "0"
    stuck.may.set()
    outbox._worker.stop(finish=True)
    outbox.close()
    assert 1 <= len(stored(tmp_path)) <= 1 + OUTBOX.queue_size


def test_a_full_outbox_drops_and_says_so(localizer: Localizer, outbox_in: Any, fog: Any, tmp_path: Path) -> None:
    """A robot that is never emptied must not fill its disk; what it stored first stays.

    The operator sees it in the node's status, and sees when it is over, without a keyframe that proves it.
    """
    (tmp_path / "older.vprmap").write_bytes(b"x" * 900_000)
    outbox = outbox_in(tmp_path, most_mb=1.0)
    assert outbox.problem == ""
    drive_past(localizer, outbox, fog)
    outbox._worker.stop(finish=True)
    assert "outbox.most_mb 1" in outbox.problem and "vpr fleet push" in outbox.problem
    outbox._rest()
    assert "vpr fleet push" in outbox.problem
    (tmp_path / "older.vprmap").unlink()
    outbox._rest()
    assert outbox.problem == ""
    (tmp_path / "older.vprmap").write_bytes(b"x" * 900_000)
    outbox.close()
    values = outbox.values()
    assert int(values["outbox: keyframes stored"]) > 0 and int(values["outbox: dropped (full)"]) > 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.1e6
    assert any("vpr fleet push" in line for line in outbox.log.lines)


class Broken:
    """A describer whose network fails."""

    def __init__(self, describer: Describer) -> None:
        self.manifest, self.batch_sizes = describer.manifest, (1,)

    def describe(self, images: np.ndarray) -> Any:
        raise ModelError("the network is gone")


def test_keyframes_that_cannot_be_stored_are_a_problem_of_the_node(
    localizer: Localizer, describer: Describer, outbox_in: Any, fog: Any, tmp_path: Path
) -> None:
    """A full disk or a failing network: the log scrolls away, so the status says it, too."""
    outbox = outbox_in(tmp_path, Broken(describer))
    drive_past(localizer, outbox, fog)
    outbox._worker.stop(finish=True)
    assert outbox.problem == "a keyframe is not stored: the network is gone"
    assert int(outbox.values()["outbox: dropped (error)"]) > 0


def test_a_bag_that_starts_again_is_another_drive(
    localizer: Localizer, outbox_in: Any, fog: Any, tmp_path: Path
) -> None:
    """The same stamps come twice, and from two cameras: none may be refused as a duplicate."""
    outbox = outbox_in(tmp_path)
    for _ in range(2):
        drive_past(localizer, outbox, fog)
        outbox.forget()
        localizer.reset()
    drive_past(localizer, outbox, fog, "/rear/image")
    outbox.close()
    assert outbox.values()["outbox: dropped (error)"] == "0"
    (path,) = tmp_path.glob("*.vprmap")
    with PlaceMap.open(path) as place_map:
        names = place_map.drive_names()
        assert len(names) == 3 and names[-1].endswith("/rear/image")


def test_on_tiles(localizer: Localizer, describer: Describer, fog: Any, tmp_path: Path) -> None:
    """A city's map: what the places around show is read from tiles, which may come later than the images."""
    write_tiles(localizer.place_map, tmp_path / "tiles", 50.0)
    with Localizer.open(tmp_path / "tiles", backend="onnx", threads=1, wait=False) as tiled:
        settled(tiled.place_map)
        outbox = LiveOutbox(tmp_path / "outbox", 100.0, tiled.place_map, tiled.places, describer, Log())
        drive_past(tiled, outbox, fog)
        outbox.close()
    assert len(stored(tmp_path / "outbox")) > 5 and outbox.values()["outbox: dropped (error)"] == "0"


def test_one_process_fills_an_outbox(localizer: Localizer, outbox_in: Any, tmp_path: Path) -> None:
    """Two nodes with one folder would write one file."""
    outbox_in(tmp_path)
    with pytest.raises(MapError, match="a folder of its own"):
        GrowingOutbox(tmp_path, localizer.place_map, 1e9)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MapError, match="cannot be written"):
        GrowingOutbox(tmp_path / "file" / "outbox", localizer.place_map, 1e9)


def test_nothing_is_stored_while_the_robot_is_unsure(localizer: Localizer, outbox_in: Any, tmp_path: Path) -> None:
    """An empty estimate, as of a covered camera."""
    outbox = outbox_in(tmp_path)
    for stamp in range(20):
        outbox.take(stamp, np.zeros((8, 8, 3), np.uint8), "", Estimate(stamp, (), (), 1.0))
    outbox.on_timer()
    outbox.close()
    assert outbox.values()["outbox: images not sure of"] == "20" and not list(tmp_path.glob("*.vprmap"))
