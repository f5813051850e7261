"""A map built in parts, on as many machines, is the map of one process: none may notice how it was made."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map, vocabulary_of
from vpr_ros.maps.editor import merge_maps
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.shard import Shard
from vpr_ros.maps.storage import Storage

TOLERANCE = 1e-6  # of descriptors: batches of another size round otherwise
WHOLE = Storage()


class Sized:
    """Stands for a drive where only its length matters."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images


def assert_same_map(path: Path, other: Path) -> None:
    """Byte for byte what is stored, but for the last bits of descriptors, and how many transactions it took."""
    with sqlite3.connect(path) as a, sqlite3.connect(other) as b:
        for query in (
            "SELECT * FROM drives ORDER BY id",
            "SELECT id, drive_id, stamp_ns, thumbnail FROM places ORDER BY id",
            "SELECT * FROM meta WHERE key != 'revision' ORDER BY key",
        ):
            assert a.execute(query).fetchall() == b.execute(query).fetchall(), query
    with PlaceMap.open(path) as one, PlaceMap.open(other) as two:
        np.testing.assert_allclose(one.places.T_map_camera, two.places.T_map_camera, atol=1e-9)
        np.testing.assert_allclose(one.places.descriptors, two.places.descriptors, atol=TOLERANCE)


def test_parts_are_every_drive_once_in_order_and_of_about_one_size():
    """A drive that is in no part would be lost without a word."""
    rng = np.random.default_rng(0)
    for count in range(1, 12):
        drives = [Sized(int(images)) for images in rng.integers(0, 500, 11)]
        parts = [Shard(number, count).of(drives) for number in range(1, count + 1)]
        assert [drive for part in parts for drive in part] == drives and all(parts)
    even = [Sized(100) for _ in range(32)]
    assert {len(Shard(number, 4).of(even)) for number in range(1, 5)} == {8}
    long = [Sized(10), Sized(10), Sized(1000), Sized(10)]
    assert [len(Shard(number, 2).of(long)) for number in (1, 2)] in ([2, 2], [3, 1])


def test_wrong_parts_are_refused():
    assert Shard.parse(" 2/8 ") == Shard(2, 8)
    for text in ("0/4", "5/4", "1/0"):
        with pytest.raises(ConfigError, match="there is no part"):
            Shard.parse(text)
    for text in ("", "2", "-1/4", "1/4/2", "a/b"):
        with pytest.raises(ConfigError, match="such as 2/8"):
            Shard.parse(text)
    with pytest.raises(ConfigError, match="2 drive"):
        Shard(1, 3).of([Sized(1), Sized(1)])


def test_merged_parts_are_the_map_of_one_process(tmp_path, describer, painted_drive):
    """Large coordinates and unequal drives too: the origin is that of the first drive in every part."""

    class Utm(painted_drive):  # type: ignore[misc]
        def pose(self, along):
            T = super().pose(along)
            T[:3, 3] += [620084.3, 5735712.7, 100.1]
            return T

    lengths = (60.0, 20.0, 120.0, 35.0)
    drives = [Utm(name=f"d{k}", start=200.0 * k, length=length) for k, length in enumerate(lengths)]
    build_map(tmp_path / "one.vprmap", drives, describer, storage=WHOLE).close()
    parts = []
    for number in (1, 2, 3):
        parts.append(tmp_path / f"part{number}.vprmap")
        build_map(parts[-1], drives, describer, storage=WHOLE, shard=Shard(number, 3)).close()
    merge_maps(tmp_path / "merged.vprmap", parts).close()
    assert_same_map(tmp_path / "one.vprmap", tmp_path / "merged.vprmap")


def test_parts_share_the_vocabulary_of_the_first(tmp_path, painted_drive):
    """Descriptors of two vocabularies cannot be compared: a part without that of the first is refused at once."""
    describer = open_describer("demixvpr_lite0", "onnx", threads=1)
    drives = [painted_drive(name=f"d{k}", start=100.0 * k, length=60.0) for k in range(3)]
    paths = [tmp_path / f"{name}.vprmap" for name in ("one", "part1", "part2", "merged")]
    with build_map(paths[0], drives, describer, storage=WHOLE) as one:
        assert one.model.vocabulary
    build_map(paths[1], drives, describer, storage=WHOLE, shard=Shard(1, 2)).close()
    with pytest.raises(ConfigError, match="give --vocabulary and the map of part 1/2"):
        build_map(paths[2], drives, describer, storage=WHOLE, shard=Shard(2, 2))
    assert not paths[2].exists()
    words = vocabulary_of(paths[1], describer)
    build_map(paths[2], drives, describer, storage=WHOLE, shard=Shard(2, 2), vocabulary=words).close()
    merge_maps(paths[3], paths[1:3]).close()
    assert_same_map(paths[0], paths[3])


_BUILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import PaintedDrive
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.shard import Shard
from vpr_ros.maps.storage import Storage
drives = [PaintedDrive(name=f"d{{k}}", start=1000.0 * k, length=900.0) for k in range(2)]
build_map(Path({path!r}), drives, open_describer("demixvpr_mobilenet", "onnx", 2), views_each=1, storage=Storage(),
          shard=Shard(2, 2), resume=True, on_progress=lambda done, total: print(done, flush=True)).close()
"""


def test_a_killed_part_continues_with_the_same_command(tmp_path, describer, painted_drive):
    """A job that a scheduler starts again runs the command it had: what is there stays, the rest comes, in order."""
    path, whole = tmp_path / "part.vprmap", tmp_path / "whole.vprmap"
    code = _BUILD.format(tests=str(Path(__file__).parents[2]), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    next(done for done in map(int, process.stdout) if done >= 150)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with PlaceMap.open(path, writable=True) as killed:
        assert 0 < len(killed) < 180
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    drives = [painted_drive(name=f"d{k}", start=1000.0 * k, length=900.0) for k in range(2)]
    build_map(whole, drives, describer, views_each=1, storage=WHOLE, shard=Shard(2, 2)).close()
    assert_same_map(path, whole)


def test_a_build_is_not_continued_with_other_options(tmp_path, describer, painted_drive):
    """Half of a map with three views and half with one is no map."""
    path = tmp_path / "m.vprmap"
    build_map(path, [painted_drive()], describer).close()
    with pytest.raises(MapError, match="begun with other --views"):
        build_map(path, [painted_drive()], describer, views_each=1, resume=True)
    with pytest.raises(MapError, match="exists already"):
        build_map(path, [painted_drive()], describer)
    with build_map(path, [painted_drive(length=150.0)], describer, resume=True) as continued:
        assert len(continued) == 30


def test_a_part_that_was_forgotten_is_named(tmp_path, describer, painted_drive):
    """A map merged from two of three parts lacked a third of its drives, without a message."""
    drives = [painted_drive(name=f"d{k}", start=100.0 * k, length=20.0) for k in range(3)]
    parts = [tmp_path / f"{number}.vprmap" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        build_map(part, drives, describer, shard=Shard(number, 3)).close()
    tally = Tally()
    merge_maps(tmp_path / "some.vprmap", [parts[0], parts[2]], tally).close()
    assert tally.lines() == ["1 part(s) of 3 not given, so their drives are not in the map (2/3)"]
    tally = Tally()
    merge_maps(tmp_path / "turned.vprmap", [parts[1], parts[0], parts[2]], tally).close()
    assert tally.lines() == ["1 part(s) of 3 before an earlier one, and so are its places (2/3)"]
    whole = build_map(tmp_path / "whole.vprmap", drives, describer)
    whole.close()
    tally = Tally()
    merge_maps(tmp_path / "more.vprmap", [*parts[:2], whole.path], tally).close()
    assert "1 part(s) of 3 not given, so their drives are in it only if another map has them (3/3)" in tally.lines()
    tally = Tally()
    merge_maps(tmp_path / "all.vprmap", parts, tally).close()
    assert not tally
    for shard, words in ((Shard(2, 3), "was begun as part 1/3"), (None, "was begun as part 1/3")):
        with pytest.raises(MapError, match=words):
            build_map(parts[0], drives, describer, shard=shard, resume=True)


def test_any_number_of_maps_can_be_merged(tmp_path, toy_world):
    """A fleet's map has a part for each drive, and a process may open only so many files."""
    model = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
    paths = [tmp_path / f"{k}.vprmap" for k in range(80)]
    for k, path in enumerate(paths):
        with PlaceMap.create(path, model, "toy") as place_map:
            place_map.add(f"d{k}", k, toy_world.pose(5.0 * k), toy_world.descriptor(5.0 * k))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        seen: list[tuple[int, int]] = []
        with merge_maps(tmp_path / "all.vprmap", paths, on_progress=lambda *now: seen.append(now)) as merged:
            assert merged.drive_names() == [f"d{k}" for k in range(80)] and seen[-1] == (80, 80)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
