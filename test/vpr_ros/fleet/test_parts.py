"""The folder of an unfinished map: whatever order items come in and whatever is killed, no place is lost or twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.fleet.parts import End, Parts, Place
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.stages import Described, Prepared

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
OPTIONS = {"views": 1}
COUNT = 12


def place(world, drive: int, number: int) -> Place:
    along = 100.0 * drive + 5.0 * number
    frame = DriveFrame(1000 * drive + number, lambda: np.zeros((1, 1, 3), np.uint8), world.pose(along))
    prepared = Prepared(frame, np.zeros(0, np.uint8), b"jpeg", None)
    return Place(Described([prepared], [world.descriptor(along)[None]], [None], []), None)


def begin(path: Path, drives, options=OPTIONS) -> Parts:
    parts = Parts(path, drives, options)
    if not parts.head.exists():
        PlaceMap.create(parts.head, MODEL, "toy").close()
    return parts


@pytest.fixture
def drives(painted_drive):
    return [painted_drive(name=name) for name in ("one", "two")]


def test_items_in_any_order_give_the_drives_in_theirs(tmp_path, toy_world, drives):
    """Describers finish when they finish; ids and order must not show it."""
    items = [(drive, number) for drive in (0, 1) for number in range(COUNT + 1)]
    np.random.default_rng(1).shuffle(items)
    with begin(tmp_path / "m.vprmap", drives) as parts:
        ended = []
        for drive, number in items:
            item = End(Tally()) if number == COUNT else place(toy_world, drive, number)
            if parts.take(drive, number, item):
                ended.append(drive)
        assert sorted(ended) == [0, 1] and all(map(parts.is_complete, (0, 1)))
        with parts.merge(Tally()) as made:
            wanted = [1000 * drive + number for drive in (0, 1) for number in range(COUNT)]
            assert made.places.stamps_ns.tolist() == wanted
            assert made.places.ids.tolist() == list(range(1, 2 * COUNT + 1))
            assert made.drive_names() == ["one", "two"]
    assert not parts.folder.exists()


def test_what_is_there_is_not_done_again(tmp_path, toy_world, drives):
    """A kill after any item: complete drives stay complete, the others continue after what is stored."""
    path = tmp_path / "m.vprmap"
    left_out = Tally()
    left_out.add("image(s) left out: they cannot be read", "3.png")
    with begin(path, drives) as parts:
        for number in range(COUNT):
            parts.take(0, number, place(toy_world, 0, number))
        parts.take(0, COUNT, End(left_out))
        for number in (0, 1, 2, 4, 5):  # the third never came
            parts.take(1, number, place(toy_world, 1, number))
    with begin(path, drives) as parts:
        assert parts.is_complete(0) and not parts.is_complete(1)
        assert parts.stamps(1) == {1000, 1001, 1002}
        for number in range(3, COUNT):
            parts.take(1, number - 3, place(toy_world, 1, number))
        assert parts.take(1, COUNT - 3, End(Tally()))
        tally = Tally()
        with parts.merge(tally) as made:
            assert len(made) == 2 * COUNT
        assert tally.lines() == left_out.lines()


def test_a_drive_that_failed_is_not_complete(tmp_path, toy_world, drives):
    """It would be missing from the map, and nothing would say so."""
    with begin(tmp_path / "m.vprmap", drives) as parts:
        assert parts.take(0, 0, End(Tally(), "drive one has no poses"))
        assert not parts.is_complete(0)


def test_parts_of_other_options_are_not_mixed(tmp_path, drives):
    """Half of the places every 2 m, half every 5 m."""
    path = tmp_path / "m.vprmap"
    begin(path, drives).__exit__()
    with pytest.raises(MapError, match="made with other options"):
        begin(path, drives, {"views": 3})
    begin(path, drives).__exit__()
    path.touch()
    with pytest.raises(MapError, match="exists already"):
        begin(path, drives)


def test_two_commands_do_not_build_one_map(tmp_path, drives):
    """A scheduler that starts a job twice must not spoil what the first one makes."""
    with begin(tmp_path / "m.vprmap", drives), pytest.raises(MapError, match="another process builds"):
        begin(tmp_path / "m.vprmap", drives)
    begin(tmp_path / "m.vprmap", drives).__exit__()
