"""Opens damaged maps, caches, models, engines, bags, tables and images: each must be read, or fail with one sentence.

Every trial damages one file (flipped bits, a cut, a splice, a huge size, SQL) and opens it as users do, in a fork that
may allocate 2 GB. A fault is any other exception, a crash, a hang, or more memory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from forked import Outcome, run
from hostile_inputs import DIMENSION, SIDE, Street, picture, small_model

from vpr_ros.base.errors import ImageError
from vpr_ros.base.image_messages import decode_compressed
from vpr_ros.base.records import Frame
from vpr_ros.drives.open import DriveOptions, open_drive
from vpr_ros.drives.tum import read_tum
from vpr_ros.inference.describer import fingerprint_file
from vpr_ros.inference.engine_file import Fingerprint, load_engine, save_engine
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.builder import add_drive, build_map
from vpr_ros.maps.editor import merge_maps, set_poses
from vpr_ros.maps.index import cache_path
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.extractors import open_extractor

MEMORY_BYTES = 2 << 30
LIMIT_S = 60.0
_TABLES = ("kitti", "robotcar", "fixes")
IMAGES = (".jpg", ".png", ".tiff", ".bmp", ".webp", ".ppm")

# -- valid inputs


def make_inputs(folder: Path) -> None:
    """Write one valid file of each kind."""
    from rosbags.convert import convert
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.typesys import Stores, get_typestore

    from vpr_ros.drives.bag import write_bag

    folder.mkdir(parents=True)
    describer = open_describer(small_model(folder), "onnx", 1)
    extractor = open_extractor("orb", 50)
    build_map(folder / "map.vprmap", [Street()], describer, 0.0, extractor=extractor).close()
    build_map(folder / "other.vprmap", [Street("other", first=6)], describer, 0.0, extractor=extractor).close()
    Localizer.open(folder / "map.vprmap", str(folder / "small.onnx"), "onnx").place_map.close()  # type: ignore[union-attr]
    save_engine(folder / "small.engine", Fingerprint("a", "b", "c", "fp32"), bytes(5000))
    write_bag(folder / "bag", Street())
    _, store = StoragePlugin, get_typestore(Stores.ROS2_HUMBLE)
    plain: dict[str, Any] = {
        "compress": None,
        "compress_mode": "none",
        "default_typestore": store,
        "exclude_topics": [],
        "include_topics": [],
        "exclude_msgtypes": [],
        "include_msgtypes": [],
    }
    convert([folder / "bag"], folder / "db3", dst_storage="sqlite3", dst_version=8, typestore=None, **plain)
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    convert([folder / "bag"], folder / "ros1.bag", dst_storage="", dst_version=0, typestore=ros1, **plain)
    images = folder / "images"
    images.mkdir()
    rows = ["file,stamp,x,y,z,qx,qy,qz,qw"]
    for i in range(4):
        cv2.imwrite(str(images / f"{i}.png"), picture(i))
        rows.append(f"{i}.png,{i}.5,{i},0,1.5,-0.5,0.5,-0.5,0.5")
    (images / "poses.csv").write_text("\n".join(rows) + "\n")
    _make_tables(folder)
    lines = [f"{i + 1}.0 {i} 1 1.5 -0.5 0.5 -0.5 0.5" for i in range(14)]
    (folder / "track.tum").write_text("\n".join(lines) + "\n")
    for suffix in IMAGES:
        image = picture(0).astype(np.uint16) * 16 if suffix in (".png", ".tiff") else picture(0)
        cv2.imwrite(str(folder / f"image{suffix}"), image)


def _make_tables(folder: Path) -> None:
    """Write drives with poses as text: a KITTI sequence, a RobotCar run, a folder with fixes."""
    kitti, robotcar, fixes = folder / "kitti" / "sequences" / "00", folder / "robotcar", folder / "fixes"
    left = robotcar / "stereo" / "left"
    for place in (kitti / "image_2", left, fixes, folder / "kitti" / "poses", robotcar / "gps", robotcar / "vo"):
        place.mkdir(parents=True)
    stamps = [1_400_000_000_000_000 + 62_500 * i for i in range(3)]
    for i, stamp in enumerate(stamps):
        for path in (kitti / "image_2" / f"{i:06}.png", left / f"{stamp}.png", fixes / f"{i}.png"):
            cv2.imwrite(str(path), picture(i))
    (kitti / "times.txt").write_text("0.0\n0.1\n0.2\n")
    (kitti / "calib.txt").write_text("".join(f"P{i}: 80 0 48 {-20 * i} 0 80 36 0 0 0 1 0\n" for i in range(4)))
    (folder / "kitti" / "poses" / "00.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {i}\n" for i in range(3)))
    names = "timestamp,ins_status,northing,easting,down,utm_zone,roll,pitch,yaw\n"
    rows = [f"{stamp},INS_SOLUTION_GOOD,{5735000 + i},620000,-100,30U,0,0,0\n" for i, stamp in enumerate(stamps)]
    (robotcar / "gps" / "ins.csv").write_text(names + "".join(rows))
    names = "source_timestamp,destination_timestamp,x,y,z,roll,pitch,yaw\n"
    rows = [f"{stamps[i + 1]},{stamps[i]},1.0,0,0,0,0,0\n" for i in range(2)]
    (robotcar / "vo" / "vo.csv").write_text(names + "".join(rows))
    rows = [f"{i}.png,{i}.5,{52 + i * 1e-4},13.4,100\n" for i in range(3)]
    (fixes / "poses.csv").write_text("file,stamp,lat,lon,alt\n" + "".join(rows))


# -- damage


def flip(data: bytearray, rng: np.random.Generator) -> None:
    """Flip one to eight bits."""
    for at in rng.integers(0, len(data), int(rng.integers(1, 9))):
        data[at] ^= 1 << int(rng.integers(8))


def cut(data: bytearray, rng: np.random.Generator) -> None:
    """Cut off the end."""
    del data[int(rng.integers(0, len(data))) :]


def splice(data: bytearray, rng: np.random.Generator) -> None:
    """Copy a part to another position, over the old bytes or between them."""
    size = int(rng.integers(1, max(2, min(len(data), 4096))))
    source, target = (int(at) for at in rng.integers(0, len(data), 2))
    part = bytes(data[source : source + size])
    data[target : target + (len(part) if rng.integers(2) else 0)] = part


def huge(data: bytearray, rng: np.random.Generator) -> None:
    """Set a number to its maximum, or nearly."""
    form, value = [
        ("<I", 2**32 - 1),
        ("<I", 2**31 - 1),
        ("<Q", 2**63 - 1),
        (">I", 2**31 - 1),
        ("<H", 65535),
        ("<Q", 2**40),
    ][int(rng.integers(6))]
    at = int(rng.integers(0, len(data)) if rng.integers(2) else rng.integers(0, min(len(data), 512)))
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


def noise(data: bytearray, rng: np.random.Generator) -> None:
    """Overwrite a range with random bytes or zeros."""
    size = int(rng.integers(1, 2048))
    at = int(rng.integers(0, len(data)))
    data[at : at + size] = rng.bytes(size) if rng.integers(2) else bytes(size)


def digits(data: bytearray, rng: np.random.Generator) -> None:
    """Replace a word of text by a word of another kind."""
    between = b"," if b"," in data else b" "
    words = bytes(data).split(between)
    other = [
        b"",
        b"nan",
        b"-inf",
        b"1e400",
        b"9" * 40,
        b'"',
        b"\xff\xfe",
        b"[[[[",
        b"{}",
        b"-1",
        b"\0",
        b"true",
        b"null",
    ]
    words[int(rng.integers(len(words)))] = other[int(rng.integers(len(other)))]
    data[:] = between.join(words)


BYTES: list[Callable[[bytearray, np.random.Generator], None]] = [flip, cut, splice, huge, noise]
TEXT = [*BYTES, digits, digits, digits]

_JUNK: list[Any] = [
    None, "", "{}", "[]", "null", "NaN", "[1e308, 1e308, 1e308]", '["a", 1, {}]', "-1", "1e999", 0, -1, 2**62, 1.5,
    b"", b"\0" * 7, b"\xff" * 56, b"\xff" * 5000, b"\0" * 200000, "x" * 100000, "\0", "ä\n" * 9,
    '{"name": 1}', "[" * 2000,
]  # fmt: skip
_IN_META = [
    ("model", "32", "1000000000"),
    ("model", "32", "-1"),
    ("model", "16", "1000000"),
    ("model", "16", "-5"),
    ("model", '"views": 3', '"views": 0'),
    ("model", '"views": 3', '"views": 1e9'),
    ("model", "small", "../../../etc/passwd"),
    ("calibration", "0.0", "1e300"),
    ("calibration", ": 4.0", ': "x"'),
    ("calibration", ": 1.0", ": 0"),
    ("calibration", ": 1.0", ": -1"),
]
_RENAMED = "ALTER TABLE places RENAME TO was; CREATE VIEW places AS "
_STATEMENTS = [
    *(f"UPDATE meta SET value = replace(value, '{old}', '{new}') WHERE key = '{key}'" for key, old, new in _IN_META),
    "DROP TABLE places",
    "DROP TABLE meta",
    "DROP TABLE drives",
    "DROP TABLE features",
    "DELETE FROM places",
    "DELETE FROM meta",
    "CREATE TABLE links (id INTEGER PRIMARY KEY, query_id, match_id, pose)",
    "CREATE TRIGGER t BEFORE INSERT ON places BEGIN DELETE FROM places; END",
    "CREATE TRIGGER t BEFORE UPDATE ON meta BEGIN INSERT INTO meta SELECT hex(randomblob(8)), hex(zeroblob(1000000)) "
    "FROM places; END",
    f"{_RENAMED} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 1 AS drive_id, "
    "i AS stamp_ns, (SELECT pose FROM was) AS pose, (SELECT descriptor FROM was) AS descriptor, NULL AS thumbnail "
    "FROM n",
    f"{_RENAMED} SELECT id, drive_id, stamp_ns, pose, zeroblob(900000000) AS descriptor, "
    "zeroblob(900000000) AS thumbnail FROM was",
    "ALTER TABLE places ADD COLUMN more BLOB GENERATED ALWAYS AS (zeroblob(900000000))",
    "UPDATE places SET id = id * 1000000000000",
    "UPDATE places SET id = -id",
    "UPDATE drives SET id = id + 7",
    "UPDATE places SET pose = zeroblob(56)",
    "UPDATE places SET descriptor = zeroblob(384)",
    f"UPDATE places SET pose = x'{np.array([1e200, -1e200, 0, 0, 0, 0, 1]).tobytes().hex()}' WHERE id % 2",
    f"UPDATE places SET descriptor = x'{np.full(96, 3e38, '<f4').tobytes().hex()}' WHERE id % 2",
    "UPDATE places SET thumbnail = CAST('P6 60000 60000 255 ' AS BLOB)",
]


def through_sql(path: Path, rng: np.random.Generator) -> str:
    """Change a map through SQL, so that SQLite accepts it but its content is invalid. Returns the change."""
    tables = {
        "meta": ["value"],
        "drives": ["name", "id"],
        "places": ["pose", "descriptor", "thumbnail", "stamp_ns", "drive_id"],
        "features": ["data", "place_id"],
    }
    with closing(sqlite3.connect(path)) as connection:
        if rng.integers(2):
            statement = _STATEMENTS[int(rng.integers(len(_STATEMENTS)))]
            try:
                connection.executescript(statement)
            except sqlite3.Error as error:
                return f"nothing ({error})"
        else:
            table = list(tables)[int(rng.integers(4))]
            column = tables[table][int(rng.integers(len(tables[table])))]
            junk = _JUNK[int(rng.integers(len(_JUNK)))]
            where = "rowid = (SELECT rowid FROM {0} ORDER BY random() LIMIT 1)" if rng.integers(2) else "1"
            statement = f"UPDATE {table} SET {column} = {str(junk)[:20]!r} of type {type(junk).__name__} WHERE {where}"
            try:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where.format(table)}", (junk,))
                connection.commit()
            except (sqlite3.Error, OverflowError) as error:
                return f"nothing ({error})"
    return statement[:150]


# -- as users open them


def _model(folder: Path) -> str:
    return str(folder / "small.onnx")


def map_looked_into(folder: Path) -> None:
    """vpr map info, reading every part of the map."""
    with PlaceMap.open(folder / "map.vprmap") as opened:
        map_info(opened)
        opened.check_intact()
        opened.links()
        for place_id in opened.places.ids[:20]:
            opened.thumbnail(place_id)
            opened.features(place_id)


def map_localised(folder: Path) -> None:
    """Localise three images."""
    localizer = Localizer.open(folder / "map.vprmap", _model(folder), "onnx", threads=1)
    for i in range(3):
        estimate = localizer.localize(Frame(i * 1_000_000_000 + 1, picture(i)))
        assert 0 <= estimate.off_map_probability <= 1, estimate
        for hypothesis in estimate.hypotheses:
            assert np.all(np.isfinite(hypothesis.T_map_camera)) and 0 <= hypothesis.probability <= 1, hypothesis
    localizer.place_map.close()  # type: ignore[union-attr]


def map_merged(folder: Path) -> None:
    """vpr map merge, with a valid map."""
    merge_maps(folder / "merged.vprmap", [folder / "map.vprmap", folder / "other.vprmap"]).close()


def map_added_to(folder: Path) -> None:
    """vpr map add."""
    with PlaceMap.open(folder / "map.vprmap", writable=True) as opened:
        add_drive(opened, Street("more", first=20, count=3), open_describer(_model(folder), "onnx", 1), 0.0)


def map_given_poses(folder: Path) -> None:
    """vpr map set-poses."""
    set_poses(folder / "map.vprmap", read_tum(folder / "track.tum"), np.eye(4))


def map_driven_on(folder: Path) -> None:
    """Mode map, with an earlier map."""
    config = LoopCloserConfig(features="orb", keyframe_distance=0.5, agreement=1)
    closer = LoopCloser.open(folder / "session.vprmap", [folder / "map.vprmap"], _model(folder), "onnx", config, 1)
    for frame in Street("now", count=4):
        closer.observe(frame.load())
    closer.close()


def map_gone_on_with(folder: Path) -> None:
    """Mode map, extending a session."""
    config = LoopCloserConfig(features="orb", keyframe_distance=0.5, agreement=1)
    closer = LoopCloser.open(folder / "map.vprmap", (), _model(folder), "onnx", config, 1)
    closer.close()


def model_run(folder: Path) -> None:
    """Describe one image with a model."""
    describer = open_describer(_model(folder), "onnx", 1)
    found = describer.describe(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    assert found.descriptors.shape == (1, DIMENSION) and np.isfinite(found.descriptors).all()


def engine_loaded(folder: Path) -> None:
    """Load an engine file."""
    assert load_engine(folder / "small.engine")[1] == bytes(5000)


def drive_read(path: Path) -> None:
    """Read every frame of a drive. Images that cannot be read are skipped, as in map build."""
    for frame in open_drive(path, DriveOptions()):
        with suppress(ImageError):
            frame.read()
        for T in (frame.T_map_camera, frame.T_odom_camera):
            assert T is None or np.isfinite(T).all(), T


def image_read(path: Path) -> None:
    """Read one image file."""
    decode_compressed(path.read_bytes())


_MAP_JOBS = [
    map_looked_into,
    map_localised,
    map_merged,
    map_added_to,
    map_given_poses,
    map_driven_on,
    map_gone_on_with,
]
KINDS = (
    "map", "map, SQL", "index cache", "model", "manifest", "engine", "mcap", "db3", "ros1", "metadata", "csv", "tables",
    "tum", "image",
)  # fmt: skip


def _trial(whole: Path, folder: Path, rng: np.random.Generator, kind: str) -> tuple[str, Callable[[], None]]:
    """Damage one input of a folder. Returns the damage, and what a user does with the file."""

    def damage(path: Path, ways: list[Callable[[bytearray, np.random.Generator], None]] = BYTES) -> str:
        data, done = bytearray(path.read_bytes()), []
        for _ in range(int(rng.integers(1, 4))):
            if data:
                way = ways[int(rng.integers(len(ways)))]
                way(data, rng)
                done.append(way.__name__)
        path.write_bytes(data)
        return ", ".join(done)

    def job() -> Callable[[Path], None]:
        return _MAP_JOBS[int(rng.integers(len(_MAP_JOBS)))]

    if kind in ("map", "map, SQL"):
        path, work = folder / "map.vprmap", job()
        if not rng.integers(8):  # as after a killed writer
            companion = path.with_name(path.name + ("-journal" if rng.integers(2) else "-wal"))
            companion.write_bytes(rng.bytes(int(rng.integers(1, 20000))))
        return (
            f"{damage(path) if kind == 'map' else through_sql(path, rng)}; {work.__name__}",
            lambda: work(folder),
        )
    if kind == "index cache":
        path = cache_path(folder / "map.vprmap")
        done = damage(path)
        if rng.integers(2):  # with a valid checksum
            original = (whole / path.name).read_bytes()
            end = len(original) - 8 - int.from_bytes(original[-8:], "little")
            header, body = json.loads(original[end:-8]), path.read_bytes()[:end]
            header["sha256"] = hashlib.sha256(body).hexdigest()
            text = json.dumps(header).encode()
            path.write_bytes(body + text + len(text).to_bytes(8, "little"))
        return done, lambda: map_localised(folder)
    if kind == "model":
        done = damage(folder / "small.onnx")
        if rng.integers(4):  # with a manifest that matches
            manifest = json.loads((folder / "small.json").read_text())
            manifest["fingerprint"] = fingerprint_file(folder / "small.onnx")
            (folder / "small.json").write_text(json.dumps(manifest))
        return done, lambda: model_run(folder)
    if kind == "manifest":
        return damage(folder / "small.json", TEXT), lambda: model_run(folder)
    if kind == "engine":
        return damage(folder / "small.engine"), lambda: engine_loaded(folder)
    if kind in ("mcap", "db3", "metadata"):
        bag = folder / ("db3" if kind == "db3" or (kind == "metadata" and rng.integers(2)) else "bag")
        path = bag / "metadata.yaml" if kind == "metadata" else next(p for p in bag.iterdir() if p.suffix != ".yaml")
        target = path if kind != "metadata" and rng.integers(2) else bag
        return damage(path, TEXT if kind == "metadata" else BYTES), lambda: drive_read(target)
    if kind == "ros1":
        return damage(folder / "ros1.bag"), lambda: drive_read(folder / "ros1.bag")
    if kind == "csv":
        return damage(folder / "images" / "poses.csv", TEXT), lambda: drive_read(folder / "images")
    if kind == "tables":
        tables = sorted(p for name in _TABLES for p in (folder / name).rglob("*") if p.suffix in (".txt", ".csv"))
        path = tables[int(rng.integers(len(tables)))]
        drive = folder / path.relative_to(folder).parts[0]
        return f"{damage(path, TEXT)}; {path.name}", lambda: drive_read(drive)
    if kind == "tum":
        return damage(folder / "track.tum", TEXT), lambda: map_given_poses(folder)
    path = folder / f"image{IMAGES[int(rng.integers(len(IMAGES)))]}"
    return damage(path), lambda: image_read(path)


def hostile_files(
    count: int, seed: int, folder: Path, on_done: Callable[[], None] = lambda: None, kinds: Sequence[str] = KINDS
) -> dict[str, Any]:
    """Open count damaged files. Returns counts by kind and outcome, and the first faults of each kind."""
    whole, faults = folder / "whole", {}
    outcome = run(lambda: make_inputs(whole), 300.0)
    if outcome.fault:
        raise RuntimeError(f"the whole inputs cannot be made: {outcome}")
    counts: dict[str, Counter[str]] = {}
    for trial in range(count):
        rng = np.random.default_rng([seed, trial])
        place = folder / "trial"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        kind = kinds[int(rng.integers(len(kinds)))]
        done, work = _trial(whole, place, rng, kind)
        outcome = run(work, LIMIT_S, MEMORY_BYTES)  # type: ignore[arg-type]
        counts.setdefault(kind, Counter())[outcome.kind] += 1
        if outcome.fault:
            faults.setdefault(f"{kind}: {outcome.kind}: {outcome.text}", {"trial": trial, "done": done})
        on_done()
    return {
        "trials": count,
        "seed": seed,
        "outcomes": {kind: dict(found) for kind, found in sorted(counts.items())},
        "faults": sum(found[name] for found in counts.values() for name in found if Outcome(name).fault),
        "examples": faults,
    }
