"""A refreshed map is a map as any other, only smaller: what stays is as it was, and what goes cannot be read."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.editor import rewritten
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap, Refreshed, session_world
from vpr_ros.maps.refresh import check_refreshable, drop_redundant

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
DATE_NS = 1_700_000_000 * 10**9


@pytest.fixture
def street(tmp_path, toy_world):
    """Five drives alike, with thumbnails and features that name their place, and closed loops between two of them."""
    path = tmp_path / "street.vprmap"
    with (
        PlaceMap.create(path, MODEL, "town", np.array([100.0, 0, 0]), Calibration(source="tuesday")) as place_map,
        place_map.together(),
    ):
        for number in range(400):
            day, k = divmod(number, 80)
            along, name = 5.0 * k + 0.1 * day, f"{day} {k} ".encode()
            place_map.add(
                f"day {day}",
                DATE_NS + (day * 86_400 + k) * 10**9,
                toy_world.pose(along),
                toy_world.descriptor(along, 0.05, number),
                thumbnail=name + b"picture" * 50,
                features=name + b"features" * 50,
            )
        place_map.add_links([Link(81 + k, 1 + k, np.eye(4)) for k in range(10)])
    return path


def test_what_stays_is_as_it_was(street):
    """Poses, descriptors, pictures, features, calibration, origin; and the map says what was dropped, and why."""
    with PlaceMap.open(street) as old:
        before = old.places
    with rewritten(street) as part, PlaceMap.open(part, writable=True) as place_map:
        dropped = drop_redundant(place_map, 3)
    assert dropped.closures == 10 and dropped.notes == ()
    with PlaceMap.open(street) as new:
        new.check_intact()
        places = new.places
        assert len(places) < 160 and "day 4" in new.drive_names()
        rows = np.searchsorted(before.ids, places.ids)
        for name in ("ids", "drives", "stamps_ns", "T_map_camera", "descriptors"):
            np.testing.assert_array_equal(getattr(before, name)[rows], getattr(places, name))
        for place_id, drive in zip(places.ids.tolist(), places.drives.tolist(), strict=True):
            name = f"{drive[4:]} {(place_id - 1) % 80} ".encode()
            assert new.thumbnail(place_id).startswith(name) and new.features(place_id).startswith(name)
        assert new.feature_count() == len(places) and new.links() == []
        assert new.calibration.source == "tuesday" and new.origin[0] == 100.0
        counts = new.refreshed
        assert counts is not None and (counts.looks, counts.places) == (3, 400)
        assert counts.places - counts.alike - counts.beyond == len(places)


def test_what_goes_cannot_be_read(street):
    """A picture with a face that was dropped must not lie in free pages of the file."""
    size = street.stat().st_size
    with PlaceMap.open(street, writable=True) as place_map:
        drop_redundant(place_map, 1)
        gone = sorted(set(range(1, 401)) - set(place_map.places.ids.tolist()))
    content = street.read_bytes()
    assert len(content) < size / 2
    assert not any(f"{(i - 1) // 80} {(i - 1) % 80} picture".encode() in content for i in gone)


def interrupted(path: Path, output: Path | None) -> None:
    with rewritten(path, output) as part, PlaceMap.open(part, writable=True) as place_map:
        drop_redundant(place_map, 1)
        raise KeyboardInterrupt


def test_a_failure_midway_leaves_the_map_as_it_was(street, tmp_path):
    """In place and to a new file: no half map under either name, and nothing left lying about."""
    before = street.read_bytes()
    for output in (None, tmp_path / "new.vprmap"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(street, output)
        assert street.read_bytes() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["street.vprmap"]


KILLED = """
import os, signal, sys
from pathlib import Path
from vpr_ros.maps.editor import rewritten
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.refresh import drop_redundant

def kill(done, total):
    if done > total / 2 or sys.argv[2] == "dropped":
        os.kill(os.getpid(), signal.SIGKILL)

with rewritten(Path(sys.argv[1])) as part, PlaceMap.open(part, writable=True) as place_map:
    drop_redundant(place_map, 1, kill if sys.argv[2] == "choosing" else None)
    kill(1, 1)
"""


@pytest.mark.parametrize("moment", ["choosing", "dropped"])
def test_a_kill_loses_nothing(street, moment):
    """The map is as it was, can be opened and written at once, and the next refresh does its work."""
    before = street.read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(street), moment], check=False)
    assert killed.returncode == -signal.SIGKILL and street.read_bytes() == before
    with rewritten(street) as part, PlaceMap.open(part, writable=True) as place_map:
        drop_redundant(place_map, 1)
    with PlaceMap.open(street) as place_map:
        place_map.check_intact()
        assert len(place_map) < 100


def test_another_writer_is_not_overtaken(street):
    """A place that is added while a map is refreshed in place would be lost: the writer is refused instead."""
    with rewritten(street), PlaceMap.open(street, writable=True) as other:
        other._connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(MapError, match="locked"):
            other.set_calibration(Calibration())


def test_stamps_that_are_no_dates_are_said(tmp_path, toy_world):
    """The later drive then counts as the newer one, and the user reads it."""
    path = tmp_path / "numbered.vprmap"
    with PlaceMap.create(path, MODEL, "town") as place_map:
        with place_map.together():
            for drive in ("first", "second"):
                for k in range(80):
                    place_map.add(drive, k, toy_world.pose(5.0 * k), toy_world.descriptor(5.0 * k))
        dropped = drop_redundant(place_map, 1)
        assert "later count as newer" in dropped.notes[0] and place_map.drive_names() == ["second"]


def test_maps_that_cannot_be_refreshed(tmp_path, toy_world):
    """Raw odometry does not say which images show one place; an empty map has nothing to say."""
    with PlaceMap.create(tmp_path / "a.vprmap", MODEL, "town") as empty, pytest.raises(MapError, match="no places"):
        check_refreshable(empty, empty.path)
    session = PlaceMap.create(tmp_path / "b.vprmap", MODEL, session_world("b"), is_odometry=True)
    session.add("b-1", 0, toy_world.pose(0.0), toy_world.descriptor(0.0))
    with session, pytest.raises(MapError, match="vpr map set-poses"):
        check_refreshable(session, session.path)


@pytest.mark.parametrize("data", ['{"looks": "x"}', "[1]", '{"looks": 1}', "{"])
def test_a_damaged_record_is_a_damaged_map(street, data):
    """Files come from others."""
    with PlaceMap.open(street, writable=True) as place_map:
        place_map._connection.execute("INSERT INTO meta VALUES ('refreshed', ?)", (data,))
    with pytest.raises(MapError, match="corrupt"):
        PlaceMap.open(street)
    assert Refreshed.from_dict(None) is None
