"""Smaller map files: half the numbers, no pictures, and a conversion that loses nothing else and survives a kill."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.maps import index as index_module
from vpr_ros.maps import map_file
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import IndexConstants
from vpr_ros.maps.editor import merge_maps, store_otherwise
from vpr_ros.maps.index import Index, chosen_factory
from vpr_ros.maps.info import map_info
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import Storage

SMALL = Storage("float16", thumbnails=False)
PICTURE = b"\xff\xd8 a face \xff\xd9" * 30
COUNT = 2500  # more than are read at a time


def descriptors() -> np.ndarray:
    """(COUNT, 1, 32) float32, unit length."""
    numbers = np.random.default_rng(0).normal(size=(COUNT, 1, 32)).astype(np.float32)
    return numbers / np.linalg.norm(numbers, axis=2, keepdims=True)


def made(path: Path, storage: Storage | None = None) -> Path:
    """A map with pictures offered for all places, and a closure."""
    model = MapModel("toy", "f" * 64, 32, Preprocessing(32, 32))
    with PlaceMap.create(path, model, "town", calibration=Calibration(floor=0.07), storage=storage) as place_map:
        with place_map.together():
            for number, descriptor in enumerate(descriptors()):
                T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([5.0 * number, 0.0, 1.5]))
                place_map.add("d", number, T, descriptor, PICTURE)
        place_map.add_links([Link(20, 3, np.eye(4))])
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("maps") / "plain.vprmap")


def same_places(one: Path, other: Path) -> None:
    with PlaceMap.open(one) as first, PlaceMap.open(other) as second:
        assert np.array_equal(first.places.ids, second.places.ids) and len(first) == COUNT
        assert np.array_equal(first.places.T_map_camera, second.places.T_map_camera)
        assert np.allclose(first.places.descriptors, second.places.descriptors, atol=1e-3)
        assert second.places.descriptors.dtype == second.storage.descriptors  # not larger in memory than in the file
        assert first.calibration == second.calibration
        assert [(k.query_id, k.match_id) for k in first.links()] == [(k.query_id, k.match_id) for k in second.links()]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_map_is_stored_otherwise(plain: Path, tmp_path: Path, in_place: bool) -> None:
    """All but the pictures and the last digits stays; no picture can be found in the file any more."""
    path = tmp_path / "m.vprmap"
    path.write_bytes(plain.read_bytes())
    with PlaceMap.open(path) as place_map:
        Index.of_map(place_map)  # a cache of the old descriptors
        before = place_map.revision
    output = None if in_place else tmp_path / "small.vprmap"
    with store_otherwise(path, SMALL, output) as small:
        assert small.storage == SMALL and small.thumbnail(1) is None and small.revision > before
        assert map_info(small)["bytes"] == {"descriptors": COUNT * 64, "thumbnails": 0}
        found = small.path
    assert PICTURE[:12] in plain.read_bytes() and PICTURE[:12] not in found.read_bytes()
    assert found.stat().st_size < 0.5 * plain.stat().st_size
    same_places(plain, found)
    assert (PICTURE[:12] in path.read_bytes()) == (not in_place)
    with store_otherwise(found, Storage()) as again:  # what is gone stays gone, and says so
        assert again.storage == Storage(thumbnails=False)


def test_a_map_is_built_small_and_grows(plain: Path, tmp_path: Path) -> None:
    """The choice belongs to the map: what is added or merged later is stored likewise."""
    path = made(tmp_path / "small.vprmap", SMALL)
    same_places(plain, path)
    assert PICTURE[:12] not in path.read_bytes()
    with merge_maps(tmp_path / "both.vprmap", [path, plain]) as both:
        assert both.storage == SMALL and len(both) == COUNT and both.thumbnail(1) is None


def test_the_default_is_what_earlier_versions_read(plain: Path) -> None:
    """Maps of format 1 stay format 1; others say 2, which earlier versions refuse with a sentence."""
    with sqlite3.connect(plain) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    assert meta["format_version"] == "1" and "storage" not in meta


@pytest.mark.parametrize("storage", ["[]", "{}x", '{"descriptors": "int3"}', '{"thumbnails": 3}', '{"other": 1}'])
def test_a_bad_storage_is_one_sentence(tmp_path: Path, storage: str) -> None:
    """A map file is untrusted."""
    path = made(tmp_path / "m.vprmap", SMALL)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'storage'", (storage,))
    with pytest.raises(MapError, match="not a map, or is corrupt"):
        PlaceMap.open(path)


def test_a_map_that_grows_is_left_alone(plain: Path, tmp_path: Path) -> None:
    """A session in mapping mode would go on writing into a file that is no longer there."""
    path = tmp_path / "m.vprmap"
    path.write_bytes(plain.read_bytes())
    with PlaceMap.open(path, writable=True) as growing:
        growing.begin_growing()
        growing.add("live", 1, np.eye(4), descriptors()[0])
        with pytest.raises(MapError, match="another process adds to"):
            store_otherwise(path, SMALL)
    with PlaceMap.open(path) as kept:
        assert len(kept) == COUNT + 1 and kept.storage == Storage()


def test_a_kill_leaves_the_map_as_it_was(plain: Path, tmp_path: Path) -> None:
    """Half converted, the file would hold numbers of two kinds."""
    path = tmp_path / "m.vprmap"
    path.write_bytes(plain.read_bytes())
    dies = (
        "import os, sys\nfrom pathlib import Path\nfrom vpr_ros.maps import editor, map_file\n"
        "from vpr_ros.maps.storage import Storage\n"
        "map_file.set_meta = lambda *given, **values: os._exit(9)\n"
        "editor.store_otherwise(Path(sys.argv[1]), Storage('float16', False))\n"
    )
    assert subprocess.run([sys.executable, "-c", dies, str(path)], check=False).returncode == 9
    same_places(plain, path)
    assert map_file.bytes_by_kind(sqlite3.connect(path))["thumbnails"] == COUNT * len(PICTURE)
    store_otherwise(path, SMALL).close()
    same_places(plain, path)


def test_the_index_suits_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact while it is fast, one bit a number then, cells at last; an older FAISS and a wish are respected."""
    assert [chosen_factory("auto", count) for count in (0, 20_000, 20_001, 500_000)] == [
        "Flat", "Flat", "RaBitQ", "RaBitQ",
    ]  # fmt: skip
    assert chosen_factory("auto", 1_000_000) == "IVF600,RaBitQ" and chosen_factory("SQ8", 10**9) == "SQ8"
    monkeypatch.delattr(faiss, "IndexRaBitQ")
    assert chosen_factory("auto", 100_000) == "Flat"


@pytest.mark.parametrize("storage", [Storage(), SMALL], ids=["float32", "float16"])
def test_a_large_map_is_searched_by_one_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Storage) -> None:
    """The localiser's answer is that of exact search, from an index of a thirtieth of the size, built in pieces."""
    monkeypatch.setattr(index_module, "INDEX", IndexConstants(exact=100, one_bit=10_000, training=700))
    path = made(tmp_path / "m.vprmap", storage)
    with PlaceMap.open(path) as place_map:
        exact, small = Index.of_map(place_map, "Flat"), Index.of_map(place_map, "auto")
        again = Index.of_map(place_map, "auto")  # from the cache
        assert len(small) == len(again) == COUNT
        assert len(faiss.serialize_index(small._index)) < 0.3 * len(faiss.serialize_index(exact._index))
        own = place_map.places
        agree = []
        for row in range(0, COUNT, 50):
            query = own.descriptors[row, 0].astype(np.float32) + 0.02
            rows = small.search(query, 50)[1]
            assert np.array_equal(rows, again.search(query, 50)[1])
            best = rows[(own.descriptors[rows, 0].astype(np.float32) @ query).argmax()]
            agree.append(best == exact.search(query, 1)[1][0])
        assert np.mean(agree) > 0.9
        cells = Index.of_map(place_map, "IVF16,RaBitQ")  # trained on a sample, filled in pieces
        assert len(cells) == COUNT


def test_the_index_goes_to_a_gpu_that_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FAISS for GPUs is another build: what it is asked for, and what is said without it. No GPU runs here."""
    index = Index.build(descriptors()[:50], "Flat")
    assert index.on("cpu") is index
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    assert index.on("auto") is index
    with pytest.raises(ConfigError, match="FAISS here knows no GPU: install a build"):
        index.on("gpu")
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    moved: list[object] = []
    monkeypatch.setattr(
        faiss, "index_cpu_to_gpu", lambda resources, number, own: moved.append(own) or own, raising=False
    )
    query = descriptors()[3, 0]
    assert index.on("auto").search(query, 5)[1].tolist() == index.search(query, 5)[1].tolist() and len(moved) == 1

    def refuses(*_: object) -> None:
        raise RuntimeError("This index type is not implemented on GPU.")

    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuses, raising=False)
    with caplog.at_level("INFO"):
        assert index.on("auto") is index and "stays on the CPU" in caplog.text
    with pytest.raises(ConfigError, match=r"not implemented on GPU.*set search\.index=Flat"):
        index.on("gpu")


def test_a_link_to_a_map_stays_a_link(plain: Path, tmp_path: Path) -> None:
    """The map that the link names is changed. The link became a second file, and the map stayed as it was."""
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "m.vprmap", tmp_path / "current.vprmap"
    real.write_bytes(plain.read_bytes())
    link.symlink_to(real)
    store_otherwise(link, SMALL).close()
    assert link.is_symlink()
    with PlaceMap.open(real) as changed:
        assert changed.storage == SMALL
    (real.parent / "m.vprmap-journal").write_bytes(b"")  # of a writer that was killed: it lies beside the file
    with PlaceMap.open(link) as opened:
        assert len(opened) == COUNT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_map_without_the_rights_is_not_called_corrupt(plain: Path, tmp_path: Path) -> None:
    """ "Build it again" would throw a good map away; and calibrating failed after all images had been described."""
    path = tmp_path / "m.vprmap"
    path.write_bytes(plain.read_bytes())
    path.chmod(0o400)
    with pytest.raises(MapError, match="cannot be written: Permission denied"):
        PlaceMap.open(path, writable=True)
    path.chmod(0o200)
    with pytest.raises(MapError, match="cannot be read: Permission denied"):
        PlaceMap.open(path)
