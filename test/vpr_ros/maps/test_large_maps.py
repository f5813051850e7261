"""Maps that are too large to be held in memory: the same answers from the file, and a cache that is mapped."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import faiss
import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps import index as index_module
from vpr_ros.maps import map_file, whereabouts
from vpr_ros.maps import place_map as place_map_module
from vpr_ros.maps.centring import map_mean
from vpr_ros.maps.constants import IndexConstants, StatisticsConstants
from vpr_ros.maps.index import Index, cache_path
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Neighbours, Places
from vpr_ros.maps.storage import Storage
from vpr_ros.maps.stored_descriptors import StoredDescriptors

COUNT, VIEWS, DIMENSION = 1500, 3, 64


@pytest.fixture(params=["int8", "bit"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A drive along a street, whose neighbours look alike."""
    random = np.random.default_rng(0)
    numbers = np.cumsum(random.normal(size=(COUNT, 1, DIMENSION)), axis=0) + random.normal(
        size=(COUNT, VIEWS, DIMENSION)
    )
    numbers /= np.linalg.norm(numbers, axis=2, keepdims=True)
    model = MapModel("toy", "f" * 64, DIMENSION, Preprocessing(32, 32), views=VIEWS)
    storage = Storage(request.param, thumbnails=False)
    with PlaceMap.create(tmp_path / "m.vprmap", model, "town", storage=storage) as place_map, place_map.together():
        for row, descriptor in enumerate(numbers.astype(np.float32)):
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([5.0 * row, 0.0, 1.5]))
            place_map.add(f"drive {row // 500}", row, T, descriptor)
    return tmp_path / "m.vprmap"


def opened(path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int) -> Places:
    monkeypatch.setattr(place_map_module, "STATISTICS", StatisticsConstants(in_memory=in_memory))
    with PlaceMap.open(path) as place_map:
        return place_map.places


def test_descriptors_stay_in_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large map's places answer as a small one's, for every way to ask, after the map was closed too."""
    small, large = opened(path, monkeypatch, 10**9), opened(path, monkeypatch, 0)
    assert isinstance(large.descriptors, StoredDescriptors) and isinstance(small.descriptors, np.ndarray)
    assert large.descriptors.shape == small.descriptors.shape and len(large.descriptors) == COUNT
    mask = np.arange(COUNT) % 7 == 3
    for key in (5, np.int64(9), np.array([30, 2, 30]), slice(10, 14), mask, (np.array([4, 1]), 0), (slice(2), 1, 3)):
        assert np.array_equal(large.descriptors[key], small.descriptors[key]), key
    assert large.descriptors[np.zeros(0, int)].shape == (0, VIEWS, DIMENSION)
    assert np.array_equal(large.subset(mask).descriptors[2:4], small.subset(mask).descriptors[2:4])
    assert np.array_equal(large.mean_descriptor, small.mean_descriptor) and large.variety == small.variety
    assert np.allclose(large.steps, small.steps) and large.spacing == small.spacing
    assert list(large.drives[[0, 700]]) == ["drive 0", "drive 1"]


def test_a_localiser_gives_the_same_answers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from the file for an image is what memory would have held."""
    answers = []
    for in_memory in (10**9, 0):
        places = opened(path, monkeypatch, in_memory)
        localizer = Localizer(places, None)  # type: ignore[arg-type]
        for row in range(200, 220):
            estimate = localizer.recognise(10**9 * row, places.descriptors[row, 0].astype(np.float32), np.eye(4))
        answers.append([(m.place_id, m.similarity, m.probability) for m in estimate.matches])
    assert np.allclose(answers[0], answers[1], atol=1e-6)


def test_a_place_that_is_gone_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may delete places of a map that a robot has open."""
    large = opened(path, monkeypatch, 0)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM places WHERE id = 12")
    assert large.descriptors[10:11].shape == (1, VIEWS, DIMENSION)
    with pytest.raises(MapError, match="1 places are no longer in it"):
        large.descriptors[10:13]


def test_another_map_that_is_copied_over_it_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors of other places would give a sure pose on the other side of the town."""
    large = opened(path, monkeypatch, 0)
    assert large.descriptors[10:13].shape == (3, VIEWS, DIMENSION)
    shutil.copyfile(path, path.with_name("new.vprmap"))
    with sqlite3.connect(path.with_name("new.vprmap")) as connection:
        connection.execute("DELETE FROM places WHERE id = 1")
        connection.execute("UPDATE places SET id = id - 1")
    connection.close()
    shutil.copyfile(path.with_name("new.vprmap"), path)
    with pytest.raises(MapError, match="another map was copied over"):
        large.descriptors[10:13]


def test_lists_of_the_cache_are_mapped_into_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start must not read a whole city: FAISS maps the lists, and finds what the index in memory finds."""
    monkeypatch.setattr(index_module, "INDEX", IndexConstants(exact=100, one_bit=1000, training=3000))
    with PlaceMap.open(path) as place_map:
        mean, told = map_mean(place_map.places), []
        first = Index.of_map(place_map, "auto", mean, lambda done, total: told.append((done, total)))
        assert told[-1] == (COUNT, COUNT)
        told.clear()
        again = Index.of_map(place_map, "auto", mean, lambda done, total: told.append((done, total)))
        assert not told  # from the cache
        for index in (first, again):
            cells = index_module._cells(index._index)
            assert cells is not None and isinstance(
                faiss.downcast_InvertedLists(cells.invlists), faiss.OnDiskInvertedLists
            )
        rows, steps = np.arange(COUNT), place_map.places.steps  # from the cache
        assert np.allclose(steps, place_map.places.cosines(rows[:-1], rows[1:]), atol=1e-6)
        query = place_map.places.descriptors[77, 0].astype(np.float32)
        assert np.array_equal(first.search(query, 20)[1], again.search(query, 20)[1])
        assert 77 in first.search(query, 20)[1]


def test_a_damaged_list_is_harmless(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum leaves the lists out: numbers of any kind in them may hide a place, and do nothing else."""
    monkeypatch.setattr(index_module, "INDEX", IndexConstants(exact=100, one_bit=1000, training=3000))
    with PlaceMap.open(path) as place_map:
        Index.of_map(place_map, "auto")
        whole = cache_path(path).read_bytes()
        lists = COUNT * VIEWS * (DIMENSION // 8 + 8 + 8)
        steps = 4 * (COUNT - 1)
        end = len(whole) - 8 - int.from_bytes(whole[-8:], "little")
        start = end - steps - lists
        for filling in (b"\0", b"\xff", b"\x7f"):
            cache_path(path).write_bytes(whole[:start] + filling * lists + whole[end - steps :])
            damaged = Index.of_map(place_map, "auto")
            for row in range(0, COUNT, 100):
                similarities, rows = damaged.search(np.asarray(place_map.places.descriptors[row, 0], np.float32), 50)
                assert np.isfinite(similarities).all() and np.all((rows >= 0) & (rows < COUNT))
        cache_path(path).write_bytes(whole[: start + lists // 2])  # cut short
        assert len(Index.of_map(place_map, "auto")) == COUNT and cache_path(path).read_bytes()[:start] == whole[:start]


def test_neighbours_are_those_of_comparing_all() -> None:
    """The grid must not lose a place at the border of a cell, west of the origin, or for a radius without end."""
    random = np.random.default_rng(1)
    positions = np.concatenate([random.uniform(-300, 300, (2000, 3)), [[-50.0, 0, 0], [0, 50, 0], [-1e8, 3, 0]]])
    points = positions[random.integers(0, len(positions), 60)] + random.normal(0, 30, (60, 3))
    grid = Neighbours(positions, 50.0)
    distance = np.linalg.norm(points[:, None, :2] - positions[None, :, :2], axis=2)
    row, place, found = grid.near(points)
    assert set(zip(row.tolist(), place.tolist(), strict=True)) == set(map(tuple, np.argwhere(distance <= 50).tolist()))
    assert np.allclose(found, distance[row, place])
    for radius in (0.0, 20.0, 333.0, 1e12, np.inf):
        assert set(grid.within(points[0, :2], radius)) == set(np.flatnonzero(distance[0] <= radius)), radius
    assert len(Neighbours(np.zeros((0, 3)), 50.0).near(points)[0]) == 0 and len(grid.near(points[:0])[0]) == 0


def test_whereabouts_come_from_a_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A city must not take SQLite seconds at each start; a cache of another map, or a damaged one, is not believed."""
    true = opened(path, monkeypatch, 0)
    cache = whereabouts.cache_path(path)
    stored = cache.read_bytes()
    monkeypatch.setattr(map_file, "all_places", None)  # only the cache can answer now
    for name in ("ids", "drives", "stamps_ns", "T_map_camera"):
        assert np.array_equal(getattr(opened(path, monkeypatch, 0), name), getattr(true, name)), name
    monkeypatch.undo()
    for damage in (b"", stored[:-100], stored[:3000] + bytes(100) + stored[3100:], b"PK\x03\x04" + bytes(50)):
        cache.write_bytes(damage)
        assert np.array_equal(opened(path, monkeypatch, 0).T_map_camera, true.T_map_camera)
        assert cache.read_bytes() == stored  # written again
    with sqlite3.connect(path) as connection:  # another map of this name, revision and size
        connection.execute("UPDATE places SET stamp_ns = stamp_ns + 7000")
    connection.close()
    assert np.array_equal(opened(path, monkeypatch, 0).stamps_ns, true.stamps_ns + 7000)


def test_the_spacing_of_images_in_any_order(toy_world) -> None:
    """Sets whose names begin with the easting: places of one street are far apart in the map, and not on it.

    The spacing was 131 m instead of 5 m in a town, which published one pose for all of it.
    """
    whole = toy_world.places()
    shuffled = whole.subset(np.random.default_rng(0).permutation(len(whole)))
    assert shuffled.spacing == pytest.approx(whole.spacing, rel=0.3)
    assert whole.follows.all() and not shuffled.follows.any()
    assert not shuffled.later_cosines.any()
