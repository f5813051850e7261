"""A session is a robot's only way back: what it has seen stays found, nothing of it is lost, and RAM stays small."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.localize.observation import ObservationModel
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps import index as index_module
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import SCORES
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.matching.local_features import LocalFeatures

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
ROOT = Path(__file__).parents[3]


def features_of(number: int, count: int = 600) -> LocalFeatures:
    """As many bytes as SIFT's, another pattern for every number."""
    rng = np.random.default_rng(number)
    rays, depths = rng.normal(size=(count, 2)).astype(np.float32), np.full(count, 5.0, np.float32)
    return LocalFeatures("sift", rays, depths, rng.integers(0, 256, (count, 128), dtype=np.uint8), 0.002)


def descriptor_of(number: int) -> np.ndarray:
    """(64,) float32, another for every number."""
    return np.random.default_rng(number).normal(size=64).astype(np.float32)


@pytest.fixture
def session(tmp_path):
    with KeyframeStore.grow(tmp_path / "session.vprmap", MODEL) as store:
        yield store


def drive(store: KeyframeStore, toy_world, count: int, name: str = "toy-1", start: int = 0) -> None:
    """Store keyframes 5 m apart, none admitted."""
    for row in range(start, start + count):
        store.add(name, row, toy_world.pose(5.0 * row), toy_world.descriptor(5.0 * row))


def test_only_admitted_places_are_found(session, toy_world):
    """The street just driven is no loop, however much it looks like the image."""
    similarities, rows = session.search(toy_world.descriptor(0.0), 3)
    assert len(rows) == len(similarities) == len(session.scores(toy_world.descriptor(0.0), similarities)) == 0
    drive(session, toy_world, 40)
    assert len(session) == 40 and len(session.search(toy_world.descriptor(0.0), 3)[1]) == 0
    session.admit(20)
    session.admit(10)  # never the other way
    assert session.search(toy_world.descriptor(50.0), 3)[1][0] == 10
    assert session.search(toy_world.descriptor(150.0), 100)[1].max() == 19
    session.admit(1000)
    similarities, rows = session.search(toy_world.descriptor(150.0), 3)
    assert rows[0] == 30 and similarities[0] == pytest.approx(1.0, abs=1e-5)


def test_a_place_is_told_by_its_row(session, toy_world):
    """Number, drive, stamp, pose and features of each row are its own, from RAM and from the file alike."""
    drive(session, toy_world, 3)
    kept = features_of(7)
    row = session.add("toy-2", 99, toy_world.pose(15.0), toy_world.descriptor(15.0), kept, b"jpeg")
    place = session.place(row)
    assert (row, place.id, place.drive, place.stamp_ns) == (3, 4, "toy-2", 99)
    assert place.T_map_camera == pytest.approx(toy_world.pose(15.0))
    assert session.positions(np.array([3, 0])) == pytest.approx(
        np.stack([toy_world.pose(15.0)[:3, 3], toy_world.pose(0.0)[:3, 3]])
    )
    assert session.features(row).to_bytes() == kept.to_bytes() and session.features(0) is None
    assert session.place_map.thumbnail(place.id) == b"jpeg" and session.drives == ["toy-1", "toy-2"]
    with pytest.raises(IndexError):
        session.place(4)


def test_blocks_of_the_index_answer_as_one(tmp_path, toy_world, monkeypatch):
    """Growing in blocks and several places at a time is how it is stored, not what it answers."""
    monkeypatch.setattr(index_module, "_BLOCK", 16)
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(100, 64)).astype(np.float32)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    with KeyframeStore.grow(tmp_path / "s.vprmap", MODEL) as store:
        for row, descriptor in enumerate(seen):
            store.add("d", row, toy_world.pose(0.0), descriptor)
            if row % 7 == 0:
                store.admit(row - 9)
        store.admit(90)
        for query in rng.normal(size=(20, 64)).astype(np.float32):
            similarities, rows = store.search(query, 30)
            expected = np.argsort(-(seen[:90] @ query))[:30]
            assert np.array_equal(rows, expected) and similarities == pytest.approx(seen[rows] @ query, abs=1e-5)


def test_a_session_goes_on_where_it_stopped(tmp_path, toy_world):
    """Reopened, it knows all it knew, finds all of it, and judges similarities alike; its file is one ordinary map."""
    path = tmp_path / "s.vprmap"
    with KeyframeStore.grow(path, MODEL) as store:
        drive(store, toy_world, 60)
    assert [file.name for file in tmp_path.iterdir()] == ["s.vprmap"]
    with KeyframeStore.grow(path, MODEL) as store, PlaceMap.open(path) as ordinary:
        assert len(store) == 60 and store.search(toy_world.descriptor(295.0), 1)[1].tolist() == [59]
        expected = ObservationModel(ordinary.places, Calibration())
        image, similarities = toy_world.descriptor(100.0, noise=1.0), np.array([0.9, 0.1])
        assert store.scores(image, similarities) == pytest.approx(expected.scores(image, similarities))
        drive(store, toy_world, 5, "toy-2", start=60)
        store.admit(65)
        assert store.place(62).id == 63 and store.search(toy_world.descriptor(310.0), 1)[1].tolist() == [62]


def test_a_session_is_not_mixed_with_another_map(toy_world, tmp_path):
    """Neither other models' descriptors nor poses of another world get into it."""
    path = tmp_path / "session.vprmap"
    KeyframeStore.grow(path, MODEL).close()
    for model, what in (
        (replace(MODEL, fingerprint="0" * 64), "build the map again"),
        (replace(MODEL, views=3), r"session\.vprmap is a map of .* 1 view"),
    ):
        with pytest.raises(MapError, match=what):
            KeyframeStore.grow(path, model)
    with PlaceMap.open(path, writable=True) as place_map:
        place_map.set_poses(np.zeros(0, np.int64), np.zeros((0, 4, 4)), "town", np.zeros(3))
    with pytest.raises(MapError, match="choose another file"):
        KeyframeStore.grow(path, MODEL)


def test_a_second_writer_does_not_spoil_the_first(session, toy_world):
    """Whoever adds behind a session's back: what does not fit its numbers is refused and leaves no trace."""
    drive(session, toy_world, 2)
    with PlaceMap.open(session.place_map.path, writable=True) as other:
        other.add("other", 5, toy_world.pose(0.0), toy_world.descriptor(0.0))
    with pytest.raises(MapError, match="another process adds"):
        session.add("toy-1", 5, toy_world.pose(0.0), toy_world.descriptor(0.0))
    assert len(session) == 2 and len(session.place_map) == 3


def test_a_refused_keyframe_leaves_no_trace(session, toy_world):
    """Neither on the disk nor in RAM: rows and places must stay in step."""
    drive(session, toy_world, 3)
    for stamp_ns, descriptor in ((2, toy_world.descriptor(0.0)), (3, np.full(64, np.nan, np.float32))):
        with pytest.raises(MapError):
            session.add("toy-1", stamp_ns, toy_world.pose(0.0), descriptor, features_of(1))
    assert len(session) == len(session.place_map) == 3
    assert session.add("toy-1", 3, toy_world.pose(15.0), toy_world.descriptor(15.0)) == 3


@pytest.mark.parametrize("factory", ["SQ8", "IVF16,Flat", "Flatt"])
def test_indexes_that_cannot_grow_are_refused(tmp_path, factory):
    """In one sentence, before there is a file."""
    with pytest.raises(ConfigError, match=r"Flat( or SQfp16)?$"):
        KeyframeStore.grow(tmp_path / "s.vprmap", MODEL, factory)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("factory", ["SQfp16", "HNSW16"])
def test_smaller_indexes_grow(tmp_path, toy_world, factory):
    with KeyframeStore.grow(tmp_path / "s.vprmap", MODEL, factory) as store:
        drive(store, toy_world, 60)
        store.admit(60)
        assert store.search(toy_world.descriptor(100.0), 2)[1][0] == 20


@pytest.mark.parametrize("factory", ["Flat", "SQ8"])
def test_an_ordinary_map_is_searched_as_it_is(tmp_path, toy_world, factory):
    """Maps from `vpr map build`: three views of each image, no features, not to be written to."""
    model = replace(MODEL, views=3)
    with PlaceMap.create(tmp_path / "town.vprmap", model, "town") as place_map:
        for row in range(40):
            seen = np.stack([toy_world.descriptor(row * 5.0 + shift) for shift in (0.0, 100.0, 200.0)])
            place_map.add("reference", row, toy_world.pose(row * 5.0), seen)
    for _ in ("built", "from the cache"):
        with KeyframeStore.open(tmp_path / "town.vprmap", factory) as store:
            similarities, rows = store.search(toy_world.descriptor(110.0), 10)
            assert len(store) == 40 and {2, 22} <= set(rows[:8].tolist()) and len(set(rows.tolist())) == 10
            assert store.features(2) is None and store.place(2).drive == "reference"
            assert np.all(np.diff(store.scores(toy_world.descriptor(110.0), similarities)) <= 0)
            with pytest.raises(MapError, match="cannot write"):
                store.add("reference", 99, toy_world.pose(0.0), seen)


def test_an_index_of_the_map_before_is_not_used(tmp_path):
    """A map that is copied over another one of as many places, without its index: searches found places of the old."""
    path = tmp_path / "town.vprmap"
    for first in (0, 100):
        with PlaceMap.create(tmp_path / "new.vprmap", MODEL, world="town") as place_map:
            for number in range(20):
                place_map.add("day", number, np.eye(4), descriptor_of(first + number))
        (tmp_path / "new.vprmap").replace(path)
        with KeyframeStore.open(path) as store:
            assert [store.search(descriptor_of(first + number), 1)[1][0] for number in range(20)] == list(range(20))


def test_closed_loops_outlive_the_process(tmp_path, toy_world):
    """Two drives of other origins that a loop makes one street: in RAM, reopened, read only and in a copy alike."""
    path, astray = tmp_path / "s.vprmap", geometry.transform(np.eye(3), [300.0, 200.0, 0.0])
    with KeyframeStore.grow(path, MODEL) as store:
        drive(store, toy_world, 20)
        for row in range(20):
            store.add("toy-2", row, astray @ toy_world.pose(5.0 * row), toy_world.descriptor(5.0 * row))
        rows = np.arange(40)
        assert np.array_equal(store.anchored(rows)[0], [0] * 20 + [1] * 20)
        store.link([Link(35, 15, np.eye(4)), Link(36, 16, np.eye(4))])
        store.place_map.add_links([Link(99, 3, np.eye(4))])  # of a place this reader has not seen
        lived = store.anchored(rows)
        assert set(lived[0]) == {0} and lived[1][20:] == pytest.approx(lived[1][:20])
        assert store.positions(rows[20:]) == pytest.approx(store.positions(rows[:20]) + astray[:3, 3])
        store.place_map.save(tmp_path / "copy.vprmap")
        with KeyframeStore.open(path) as reader:
            assert np.array_equal(reader.anchored(rows)[0], lived[0])
    for opened in (KeyframeStore.grow(path, MODEL), KeyframeStore.open(tmp_path / "copy.vprmap")):
        with opened as store:
            assert np.array_equal(store.anchored(rows)[0], lived[0])
            assert store.anchored(rows)[1] == pytest.approx(lived[1])


def test_drives_of_one_world_have_one_anchor(tmp_path, toy_world):
    """Surveyed or optimised poses are compared as they are, and an old map without links opens as it did."""
    with PlaceMap.create(tmp_path / "town.vprmap", MODEL, "town") as place_map:
        for row in range(10):
            place_map.add(f"drive {row % 2}", row, toy_world.pose(row * 5.0), toy_world.descriptor(row * 5.0))
        assert place_map.links() == []
    with KeyframeStore.open(tmp_path / "town.vprmap") as store:
        anchors, positions = store.anchored(np.arange(10))
        assert set(anchors) == {0} and np.array_equal(positions, store.positions(np.arange(10)))
        assert store.around(4, 3).tolist() == [2, 4, 6]  # of its own drive all the same


def test_readers_and_copies_of_a_growing_map(session, toy_world, tmp_path):
    """Whoever opens or saves a session while the robot drives gets all of it up to now, and holds nobody up."""
    path, copy = session.place_map.path, tmp_path / "copy.vprmap"
    session.place_map.path.with_name("copy.vprmap-wal").write_bytes(b"of another map of that name")
    drive(session, toy_world, 10)
    with KeyframeStore.open(path) as first, KeyframeStore.open(path) as second:
        drive(session, toy_world, 10, start=10)
        session.add("toy-2", 1, toy_world.pose(0.0), toy_world.descriptor(0.0), features_of(1))
        assert len(first) == len(second) == 10 and first.search(toy_world.descriptor(45.0), 1)[1].tolist() == [9]
        with KeyframeStore.open(path) as third:
            assert len(third) == 21 and third.features(20).to_bytes() == features_of(1).to_bytes()
        session.place_map.save(copy)
    drive(session, toy_world, 1, start=20)
    assert not list(tmp_path.glob("copy.vprmap?*"))
    with KeyframeStore.open(copy) as saved, sqlite3.connect(copy) as connection:
        assert len(saved) == 21 and saved.features(20) is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # a read-only disk can hold it
    for target in (copy, path, tmp_path / "nowhere" / "copy.vprmap"):
        before = target.read_bytes() if target.exists() else None
        with pytest.raises(MapError, match="exist"):
            session.place_map.save(target)
        assert before is None or target.read_bytes() == before


def test_places_left_in_the_log_are_named(session, toy_world, tmp_path, caplog):
    """On a full disk, or while it is read, the log stays beside the map: who copies the map alone loses the drive."""
    path = session.place_map.path
    drive(session, toy_world, 10)
    with KeyframeStore.open(path) as reader:
        assert len(reader) == 10
        session.close()
        assert f"the last places of {path} are still in {path.name}-wal" in caplog.text
    alone = Path(shutil.copy(path, tmp_path / "alone.vprmap"))
    with PlaceMap.open(alone) as lacking:
        assert len(lacking) < 10
    assert f"{alone} grew with a file alone.vprmap-wal, which is not here: if it was copied meanwhile" in caplog.text
    caplog.clear()
    KeyframeStore.grow(path, session.place_map.model).close()
    assert not caplog.text and not list(tmp_path.glob("session*-wal"))


def test_ram_holds_no_descriptors_but_the_index(tmp_path):
    """Of any number of places 512 are kept to compare with, each as likely; the map's own arrays are never made."""
    model = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
    count = 5000
    descriptors = np.random.default_rng(0).normal(0, 1, (count, 64)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    with KeyframeStore.grow(tmp_path / "s.vprmap", model) as store:
        with store.place_map.together():
            for row in range(count):
                store.add("d", row, np.eye(4), descriptors[row])
        for end in (1, 700, 701, count):
            store.admit(end)
        kept = store._sample.descriptors
        rows = (kept @ descriptors.T).argmax(axis=1)
        assert len(np.unique(rows)) == len(kept) == SCORES.background
        deviation = count / np.sqrt(12 * SCORES.background)  # of a uniform sample's mean
        assert abs(rows.mean() - count / 2) < 4 * deviation
        assert store.place_map._places is None
        assert max(len(piece) for piece in store.place_map.pieces()) <= 1024


_WRITERS = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import numpy as np
from test_keyframe_store import MODEL, descriptor_of, features_of
from vpr_ros.loops.keyframe_store import KeyframeStore

for _ in sys.stdin:  # one writer a line; they are forked because importing takes far longer than writing
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    print(os.getpid(), flush=True)
    with KeyframeStore.grow(Path(sys.argv[1]), MODEL) as store:
        while True:
            row = len(store)
            store.add("drive", row, np.eye(4), descriptor_of(row), features_of(row, 300), b"jpeg" * 1000)
            store.admit(row - 5)
            os.write(1, f"{row}\\n".encode())  # whole or not at all, wherever the kill strikes
"""


def test_twenty_kills_lose_nothing_that_was_stored(tmp_path):
    """kill -9 at any moment, twenty times in one session: every keyframe reported as stored is there and whole.

    The next writer goes on with the file, and readers need no writer to have been there before them.
    """
    import processes  # the writers import this file, and know no others of the tests

    path, moments = tmp_path / "session.vprmap", random.Random(0)
    environment = processes.environment(OMP_NUM_THREADS="1")
    writers = subprocess.Popen(
        [sys.executable, "-c", _WRITERS, str(path), str(Path(__file__).parent), str(ROOT / "test" / "helpers")],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment},
    )
    assert writers.stdin is not None and writers.stdout is not None
    checked = stored = 0
    for attempt in range(20):
        print("go", file=writers.stdin, flush=True)
        writer = int(writers.stdout.readline())
        for _ in range(attempt % 3):  # sometimes before the first
            stored = int(writers.stdout.readline()) + 1
        time.sleep(moments.uniform(0.0, 0.06))
        os.kill(writer, signal.SIGKILL)
        for line in iter(writers.stdout.readline, "dead\n"):
            stored = int(line) + 1
        if not path.exists():
            assert stored == 0
            continue
        with KeyframeStore.open(path) as store:
            assert stored <= len(store) <= stored + 1
            for row in range(checked, len(store)):
                (piece,) = store.place_map.pieces(after=row, last=row + 1)
                assert piece.stamps_ns == [row] and np.array_equal(piece.descriptors[0, 0], descriptor_of(row))
                assert store.features(row).to_bytes() == features_of(row, 300).to_bytes()
                assert store.place_map.thumbnail(row + 1) == b"jpeg" * 1000
            checked = stored = len(store)
    writers.stdin.close()
    writers.wait()
    assert stored > 20
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with KeyframeStore.grow(path, MODEL) as store:
        assert len(store) == stored
        found = np.concatenate([piece.descriptors[:, 0] for piece in store.place_map.pieces()])
        assert np.array_equal(found, [descriptor_of(row) for row in range(stored)])


def test_one_process_adds_to_a_session(tmp_path):
    """Two would spoil each other's numbers: the second is told when it opens, and after a close nobody is."""
    path = tmp_path / "one.vprmap"
    with KeyframeStore.grow(path, MODEL), pytest.raises(MapError, match="another process adds to"):
        KeyframeStore.grow(path, MODEL)
    KeyframeStore.grow(path, MODEL).close()
    assert not list(tmp_path.glob("*.lock"))


def test_a_session_whose_file_is_gone_says_so(tmp_path):
    """SQLite writes on into a file that was deleted: ninety keyframes were lost, and the node said nothing."""
    path = tmp_path / "one.vprmap"
    with KeyframeStore.grow(path, MODEL) as store:
        store.add("drive", 1, np.eye(4), descriptor_of(0))
        path.unlink()
        with pytest.raises(MapError, match="was deleted, moved or replaced while it grows"):
            store.add("drive", 2, np.eye(4), descriptor_of(1))


def test_a_disk_that_fails_for_a_moment_is_no_lost_session(session, toy_world, monkeypatch):
    """A network drive: the file is where it was, and the session can go on."""
    path, stat = session.place_map.path, os.stat

    def failing(asked, *args, **options):
        if asked == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return stat(asked, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", failing)
        with pytest.raises(MapError, match="cannot be reached: Input/output error"):
            drive(session, toy_world, 1)
    drive(session, toy_world, 3)
    assert len(session) == 3


def test_a_map_that_was_replaced_while_it_grows(session, toy_world, tmp_path):
    """An atomic copy over it: keyframes went to a file without a name, and ~/save_map saved a damaged other map."""
    path = session.place_map.path
    drive(session, toy_world, 3)
    with KeyframeStore.grow(tmp_path / "other.vprmap", MODEL) as other:
        drive(other, toy_world, 2)
    (tmp_path / "other.vprmap").replace(path)
    for refused in (lambda: drive(session, toy_world, 1, start=3), lambda: session.place_map.save(tmp_path / "copy")):
        with pytest.raises(MapError, match="was deleted, moved or replaced while it grows"):
            refused()
    session.close()
    with PlaceMap.open(path) as place_map:
        place_map.check_intact()
        assert len(place_map) == 2
