"""Files that come from others: damaged ones are one sentence, never a crash, a hang or all the memory."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import MapError, VprError, brief
from vpr_ros.base.image import Preprocessing
from vpr_ros.drives.bag import write_bag
from vpr_ros.drives.open import open_drive
from vpr_ros.maps.index import Index, cache_path
from vpr_ros.maps.place_map import MapModel, PlaceMap

ROOT = Path(__file__).parent.parent


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A map of five places."""
    path = tmp_path / "town.vprmap"
    rng = np.random.default_rng(0)
    with PlaceMap.create(path, MapModel("m", "f", 8, Preprocessing()), "world") as place_map:
        for stamp_ns in range(5):
            descriptor = rng.normal(size=8).astype(np.float32)
            place_map.add("drive", stamp_ns, np.eye(4), descriptor / np.linalg.norm(descriptor), b"jpeg")
    return path


def test_a_hundred_damaged_files(tmp_path: Path) -> None:
    """Maps, caches, models, engines, bags, tables and images, each opened as users do."""
    pytest.importorskip("onnx.helper", reason="onnx is not installed")
    command = [sys.executable, str(ROOT / "benchmarks" / "hostile.py"), "--files", "100", "--json"]
    done = subprocess.run(
        [*command, str(tmp_path / "found.json")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads((tmp_path / "found.json").read_text())["files"]["trials"] == 100


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON places BEGIN DELETE FROM places; END",
        "ALTER TABLE places RENAME TO was; CREATE VIEW places AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        "i + 1 FROM n) SELECT i AS id, 1 AS drive_id, i AS stamp_ns, NULL AS pose, NULL AS descriptor FROM n",
        "ALTER TABLE places ADD COLUMN more BLOB GENERATED ALWAYS AS (zeroblob(900000000))",
        "UPDATE drives SET id = 7",
        "UPDATE places SET pose = 'text' WHERE id = 3",
        f"UPDATE places SET descriptor = x'{np.full(8, 3e38, '<f4').tobytes().hex()}' WHERE id = 3",
        f"UPDATE places SET pose = x'{np.array([1e200, 0, 0, 0, 0, 0, 1]).tobytes().hex()}' WHERE id = 3",
        "UPDATE meta SET value = replace(value, '\"dimension\": 8', '\"dimension\": 1e12')",
        "UPDATE meta SET value = replace(value, '\"height\": 224', '\"height\": 1000000000')",
        "UPDATE meta SET value = replace(value, '\"temperature\"', '\"heat\"')",
        "UPDATE meta SET value = '[' || hex(zeroblob(5000)) WHERE key = 'origin'",
    ],
)
def test_a_map_is_data_and_no_program(town: Path, statement: str) -> None:
    """A view may never end, a trigger delete, a computed column take all memory; and numbers have to be numbers."""
    with closing(sqlite3.connect(town)) as connection:
        connection.executescript(statement)
    with pytest.raises(MapError, match=r"town\.vprmap|calibration") as caught, PlaceMap.open(town) as opened:
        _ = opened.calibration, opened.places
    assert "\n" not in str(caught.value)


def test_a_damaged_index_cache_is_built_again(town: Path) -> None:
    """A flipped bit in its numbers would be a wrong answer, one in its structure a crash in FAISS."""
    with PlaceMap.open(town) as place_map:
        query = place_map.places.descriptors[3, 0]
        expected = Index.of_map(place_map).search(query, 5)
        whole = cache_path(town).read_bytes()
        for at in range(0, len(whole), 61):
            damaged = bytearray(whole)
            damaged[at] ^= 0x10
            cache_path(town).write_bytes(damaged)
            np.testing.assert_array_equal(Index.of_map(place_map).search(query, 5), expected)
            assert cache_path(town).read_bytes() == whole


def test_what_libraries_say_becomes_one_short_line() -> None:
    """rosbags quotes whole message definitions, YAML points at columns in lines of its own."""
    assert brief(ValueError("a\n  b\t\x00c")) == "a b ?c"
    assert brief(ValueError("x" * 500)) == "x" * 200 + "..."
    assert brief(MemoryError()) == "MemoryError"


@pytest.mark.parametrize(
    ("old", "new"), [(b"Vector3 translation", b"Vector3 tranclation"), (b"string format", b"string formet")]
)
def test_a_bag_may_define_its_messages_otherwise(tmp_path: Path, painted_drive, old: bytes, new: bytes) -> None:
    """A bag carries the definitions of its messages: a flipped bit in one takes a field away."""
    write_bag(tmp_path / "bag", painted_drive(length=20.0))
    path = tmp_path / "bag" / "bag.mcap"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(VprError) as caught:
        [frame.read() for frame in open_drive(tmp_path / "bag")]
    assert "\n" not in str(caught.value)
