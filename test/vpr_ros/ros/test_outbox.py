"""A real node that fills its outbox while its robot drives, the push of that, and a release in tiles for the node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.maps.place_map import PlaceMap

WARN, ERROR = 1, 2


def in_fog(street: Any, place: int, seed: int) -> np.ndarray:
    """A place that is recognised but looks otherwise than on the map."""
    noise = np.random.default_rng(seed).normal(0.0, 40.0, (240, 320, 3))
    return np.clip(0.5 * street.draw(place) + 64.0 + noise, 0, 255).astype(np.uint8)


def drive(street: Any, robot: Any, places: range) -> None:
    """Show places in fog, each for eight images; the whole seconds of their stamps are the places."""
    for place in places:
        for k in range(8):
            robot.publish("/image", robot.image(in_fog(street, place, 8 * place + k), place + 0.1 * k))
            robot.spin(0.2)


def test_the_node_fills_its_outbox(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """Images over DDS in, keyframes of what the map does not know out, at the node's poses."""
    outbox = tmp_path / "outbox"
    node = start_node(**{"map": street.map, "base_frame": "''", "outbox.path": outbox})
    drive(street, robot, range(2, 7))
    robot.wait_for_count("outbox: keyframes stored", 4)
    values = robot.diagnosis()[2]
    assert {"outbox: dropped (busy)", "outbox: dropped (full)", "outbox: keyframes known"} <= set(values)
    assert node.stop() == 0
    (path,) = outbox.glob("*.vprmap")
    with PlaceMap.open(path) as sent, PlaceMap.open(street.map) as place_map:
        assert (sent.model, sent.world) == (place_map.model, place_map.world)
        places = sent.places
        assert len(places) >= 4 and np.all(np.diff(places.stamps_ns) > 0)
        steps = np.linalg.norm(np.diff(places.positions, axis=0), axis=1)
        assert np.all(steps >= OUTBOX.every_m)
        np.testing.assert_allclose(places.positions[:, 0], street.spacing_m * (places.stamps_ns // 10**9), atol=1.0)
        assert all(sent.thumbnail(place_id) for place_id in places.ids)


def test_from_the_node_to_the_lake_and_back(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """What the node stored is pushed, and a release is pulled as tiles that the node takes."""
    pytest.importorskip("lancedb", reason="lancedb is not installed (pip install 'vpr_ros[fleet]')")
    outbox = tmp_path / "outbox"
    node = start_node(**{"map": street.map, "base_frame": "''", "outbox.path": outbox})
    drive(street, robot, range(2, 4))
    robot.wait_for_count("outbox: keyframes stored", 1)
    assert node.stop() == 0
    with PlaceMap.open(next(outbox.glob("*.vprmap"))) as sent:
        count = len(sent)
    vpr = [sys.executable, "-m", "vpr_ros.cli.main", "fleet"]
    for arguments, words in (
        (["release", tmp_path / "lake", "--first", street.map], "release 1"),
        (["push", tmp_path / "lake", "--robot", "r1", "--outbox", outbox], f"{count} keyframes sent"),
        (["pull", tmp_path / "lake", "-o", tmp_path / "tiles"], "1 added"),
    ):
        done = subprocess.run([*vpr, *arguments], env=processes.environment(), capture_output=True, text=True)
        assert done.returncode == 0 and words in done.stdout, done.stdout + done.stderr
    assert not list(outbox.glob("*.vprmap"))
    start_node(**{"map": tmp_path / "tiles", "base_frame": "''"})  # of the release
    drive(street, robot, range(2, 4))
    robot.wait_for_diagnosis("camera at")


def test_an_outbox_that_cannot_be_filled_is_named(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """A robot that is thought to fill its outbox, and does not, is found out too late."""
    (tmp_path / "file").write_text("no folder")
    start_node(**{"map": street.map, "outbox.path": tmp_path / "file" / "outbox"})
    robot.wait_for_diagnosis("give another folder", ERROR)


def test_a_full_outbox_is_a_warning_until_it_has_room(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """A fleet that learns nothing from a robot: the operator sees it in the status, and sees when it is over."""
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "older.vprmap").write_bytes(b"x" * 1_100_000)
    given = {"map": street.map, "base_frame": "''", "outbox.path": outbox, "outbox.most_mb": 1.0}
    start_node(**given, image_timeout=60.0)
    drive(street, robot, range(2, 5))
    robot.wait_for_diagnosis("vpr fleet push", WARN)
    (outbox / "older.vprmap").unlink()  # pushed
    robot.wait_for_diagnosis("camera at")


def test_another_map_gets_keyframes_of_its_own(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """~/load_map on a robot that drives: no keyframe of one map may come into a file of the other."""
    from nav_msgs.srv import LoadMap

    other = street.build_map(tmp_path / "other.vprmap", places=8)
    outbox = tmp_path / "outbox"
    node = start_node(**{"map": street.map, "base_frame": "''", "outbox.path": outbox})
    drive(street, robot, range(2, 4))
    robot.wait_for_count("outbox: keyframes stored", 1)
    loaded = robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=str(other)))
    assert loaded.result == LoadMap.Response.RESULT_SUCCESS
    (first,) = outbox.glob("*.vprmap")  # ready to be sent
    with PlaceMap.open(first) as sent:
        assert len(sent) >= 1
    robot.wait(lambda: robot.diagnosis()[2].get("outbox: keyframes stored") == "0", "counters that begin again")
    drive(street, robot, range(4, 6))
    robot.wait_for_count("outbox: keyframes stored", 1)
    assert node.stop() == 0 and len(list(outbox.glob("*.vprmap"))) == 2
