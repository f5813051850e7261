"""Kills (kill -9) work that writes maps at random moments: nothing confirmed is lost, every map opens, work continues.

Each trial starts work in a fork, kills it at a random moment of its duration, and checks what is left. A build or an
addition may lack the last groups of images, mapping the keyframe in flight. Merging, calibrating, setting poses and
saving are complete or have not happened. Then the same work is done again and must give the complete map.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forked import run, start, wait
from hostile_inputs import Street, small_model

from vpr_ros.drives.tum import read_tum
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import describe_drive
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.builder import add_drive, build_map
from vpr_ros.maps.editor import merge_maps, set_poses
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import Extractor

LIMIT_S = 120.0
IN_FLIGHT = 8 * 5  # images that a build may lose: groups of eight, three ahead of one being written, and one being read
LONG, SHORT = 96, 24  # images
_LOOPS = LoopCloserConfig(features="orb", keyframe_distance=0.5, recent_distance=5.0, recent_time=0.0, agreement=1)

Say = Callable[[str], None]


def make_inputs(folder: Path) -> None:
    """Write a model, maps, and the results of each kind of work without a kill."""
    folder.mkdir(parents=True)
    small_model(folder)
    describer, extractor = _describer(folder), _extractor()
    for name, drive in (("built", Street("a", count=LONG)), ("a", _A), ("b", _B), ("long", _NEW)):
        build_map(folder / f"{name}.vprmap", [drive], describer, 0.0, extractor=extractor).close()
    lines = [f"{i + 1}.0 {2 * i} 1 1.5 -0.5 0.5 -0.5 0.5" for i in range(SHORT + 2)]
    (folder / "track.tum").write_text("\n".join(lines) + "\n")


_A, _B = Street("a", count=SHORT), Street("b", count=SHORT, first=12, look=1000)
_NEW = Street("new", count=LONG, look=2000)  # other images: a drive with the same images would count as the same drive


def _describer(folder: Path) -> Describer:
    return open_describer(str(folder / "small.onnx"), "onnx", 1)


def _extractor() -> Extractor:
    return open_extractor("orb", 50)


# -- work, and what must be left of it. lines: what the work printed before the kill.


def build(folder: Path, say: Say) -> None:
    """vpr map build"""
    drive = Street("a", count=LONG)
    build_map(
        folder / "new.vprmap",
        [drive],
        _describer(folder),
        0.0,
        0.0,
        lambda done, _: say(str(done)),
        extractor=_extractor(),
    ).close()


def built(folder: Path, lines: list[str]) -> None:
    """The map has the drive's first images, all but those in flight."""
    path = folder / "new.vprmap"
    if path.exists():
        _check_begun(path, folder / "built.vprmap", "a", int(lines[-1]) if lines else 0)
        _add(path, Street("a", count=LONG), folder)
    else:
        assert not lines or int(lines[-1]) <= IN_FLIGHT, f"{lines[-1]} images were passed, and there is no map"
        build(folder, lambda _: None)
    _check_same(path, folder / "built.vprmap")


def add(folder: Path, say: Say) -> None:
    """vpr map add"""
    _add(folder / "a.vprmap", _NEW, folder, say)


def added(folder: Path, lines: list[str]) -> None:
    """The map has its old places, and the new drive's first images, all but those in flight."""
    path = folder / "a.vprmap"
    _check_begun(path, folder / "long.vprmap", "new", int(lines[-1]) if lines else 0)
    _check_same(path, folder / "whole" / "a.vprmap", "a")
    _add(path, _NEW, folder)
    with PlaceMap.open(path) as opened:
        assert len(opened) == SHORT + LONG, f"{len(opened)} places after going on"


def merge(folder: Path, say: Say) -> None:
    """vpr map merge"""
    merge_maps(folder / "new.vprmap", [folder / "a.vprmap", folder / "b.vprmap"]).close()
    say("done")


def merged(folder: Path, lines: list[str]) -> None:
    """Both sources are unchanged; the new map is complete or missing."""
    path = folder / "new.vprmap"
    for name in ("a.vprmap", "b.vprmap"):
        assert (folder / name).read_bytes() == (folder / "whole" / name).read_bytes(), f"{name} was changed"
    assert path.exists() or not lines, "the merged map is gone"
    if not path.exists():
        merge(folder, lambda _: None)
    _check_same(path, folder / "a.vprmap", "a")
    _check_same(path, folder / "b.vprmap", "b")


def calibrate(folder: Path, say: Say) -> None:
    """vpr map calibrate"""
    with PlaceMap.open(folder / "a.vprmap", writable=True) as opened:
        describer = _describer(folder)
        drive = describe_drive(Street("c", count=6), opened, describer)
        say("described")
        opened.set_calibration(fit(opened.places, describer, [drive]).calibration)
    say("done")


def calibrated(folder: Path, lines: list[str]) -> None:
    """The map has the old constants or the new ones, and every place."""
    path = folder / "a.vprmap"
    with PlaceMap.open(path) as opened:
        source = opened.calibration.source
    assert source in (("c",) if "done" in lines else ("default", "c")), f"calibrated on {source!r}"
    _check_same(path, folder / "whole" / "a.vprmap")
    calibrate(folder, lambda _: None)


def give_poses(folder: Path, say: Say) -> None:
    """vpr map set-poses"""
    set_poses(folder / "a.vprmap", read_tum(folder / "track.tum"), np.eye(4), "slam")
    say("in place")
    set_poses(folder / "b.vprmap", read_tum(folder / "track.tum"), np.eye(4), "slam", folder / "new.vprmap")
    say("done")


def posed(folder: Path, lines: list[str]) -> None:
    """The map has all old poses or all new ones; the new map is complete or missing."""
    with PlaceMap.open(folder / "a.vprmap") as opened:
        _check_whole(opened)
        new = opened.world == "slam"
        assert len(opened) == SHORT and (new or not lines), f"{len(opened)} places in {opened.world}"
        x = opened.places.positions[:, 0]
        np.testing.assert_allclose(x, (2.0 if new else 1.0) * np.arange(SHORT), atol=1e-9)
    path = folder / "new.vprmap"
    assert (folder / "b.vprmap").read_bytes() == (folder / "whole" / "b.vprmap").read_bytes(), "the source was changed"
    assert path.exists() or "done" not in lines, "the new map is gone"
    if path.exists():
        with PlaceMap.open(path) as opened:
            _check_whole(opened)
            assert (opened.world, len(opened)) == ("slam", SHORT - 10), f"{len(opened)} places in {opened.world}"
        path.unlink()
    give_poses(folder, lambda _: None)


def drive_on(folder: Path, say: Say) -> None:
    """Mode map: a session with an earlier map, saved now and then."""
    closer = LoopCloser.open(
        folder / "new.vprmap", [folder / "b.vprmap"], str(folder / "small.onnx"), "onnx", _LOOPS, 1
    )
    for number, frame in enumerate(Street("now", count=SHORT)):
        if closer.observe(frame.load()).keyframe_id is not None:
            say(f"keyframe {frame.stamp_ns}")
        if number % 8 == 7:
            name = f"saved_{len(list(folder.glob('saved_*.vprmap')))}.vprmap"
            closer.save(folder / name)
            say(f"saved {name} {number + 1}")
    closer.close()
    say("closed")


def driven(folder: Path, lines: list[str]) -> None:
    """The session has every confirmed keyframe and at most one more, saved copies are complete, mapping continues."""
    path = folder / "new.vprmap"
    confirmed = [int(line.split()[1]) for line in lines if line.startswith("keyframe")]
    there: list[int] = []
    if confirmed or path.exists():
        with PlaceMap.open(path) as opened:
            _check_whole(opened)
            there = opened.places.stamps_ns.tolist()
        assert there[: len(confirmed)] == confirmed and len(there) <= len(confirmed) + 1, f"{confirmed} became {there}"
    saved = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("saved")}
    assert set(saved) <= {file.name for file in folder.glob("saved_*.vprmap")}, "a saved map is gone"
    for file in folder.glob("saved_*.vprmap"):
        with PlaceMap.open(file) as opened:
            _check_whole(opened)
            assert len(opened) >= saved.get(file.name, 8), f"{len(opened)} places in {file.name}"
    drive_on(folder, lambda _: None)
    with PlaceMap.open(path) as opened:
        _check_whole(opened)
        places = opened.places
        assert places.stamps_ns.tolist() == [*there, *_stamps(SHORT)]


@dataclass(frozen=True)
class Work:
    """One kind of work.

    work: runs in a fork and reports what it confirmed.
    check: of the files after a kill; it continues the work.
    """

    work: Callable[[Path, Say], None]
    check: Callable[[Path, list[str]], None]


WORKS = {
    "build": Work(build, built),
    "add": Work(add, added),
    "merge": Work(merge, merged),
    "calibrate": Work(calibrate, calibrated),
    "set-poses": Work(give_poses, posed),
    "mapping": Work(drive_on, driven),
}


# -- true of every map


def _stamps(count: int) -> list[int]:
    return [frame.stamp_ns for frame in Street(count=count)]


def _add(path: Path, drive: Street, folder: Path, say: Say = lambda _: None) -> None:
    with PlaceMap.open(path, writable=True) as opened:
        add_drive(opened, drive, _describer(folder), 0.0, 0.0, lambda done, _: say(str(done)), extractor=_extractor())


def _check_whole(opened: PlaceMap) -> None:
    """Each place is complete."""
    opened.check_intact()
    for place_id in opened.places.ids:
        assert opened.thumbnail(place_id) and opened.features(place_id), f"place {place_id} is not whole"


def _check_begun(path: Path, whole: Path, drive: str, passed: int) -> None:
    """A drive's places are its first ones, without a gap, and few enough are missing."""
    with PlaceMap.open(path) as opened, PlaceMap.open(whole) as reference:
        _check_whole(opened)
        found = _of(opened.places, drive)
        expected = reference.places.subset(np.arange(len(found)))
        assert len(found) >= passed - IN_FLIGHT, f"{passed} images were passed, {len(found)} are stored"
        _check_equal(found, expected)


def _check_same(path: Path, whole: Path, drive: str = "") -> None:
    """A map's places, or those of one drive, equal those of another map."""
    with PlaceMap.open(path) as opened, PlaceMap.open(whole) as reference:
        _check_whole(opened)
        found, expected = opened.places, reference.places
        if drive:
            found, expected = _of(found, drive), _of(expected, drive)
        _check_equal(found, expected)


def _of(places: Places, drive: str) -> Places:
    return places.subset(places.drives == drive)


def _check_equal(found: Places, expected: Places) -> None:
    np.testing.assert_array_equal(found.stamps_ns, expected.stamps_ns)
    np.testing.assert_allclose(found.T_map_camera, expected.T_map_camera, atol=1e-9)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-5)  # by batches of other sizes


# -- killing


def hostile_kills(count: int, seed: int, folder: Path, on_done: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Kill work count times, each kind equally often. Returns counts by kind and outcome, and the first faults."""
    whole = folder / "whole"
    outcome = run(lambda: make_inputs(whole), 300.0)
    if outcome.fault:
        raise RuntimeError(f"the whole inputs cannot be made: {outcome}")
    seconds = {name: _seconds(folder, work) for name, work in WORKS.items()}
    counts: dict[str, Counter[str]] = {name: Counter() for name in WORKS}
    faults: dict[str, dict[str, Any]] = {}
    journals = 0
    for trial in range(count):
        rng = np.random.default_rng([seed, trial])
        name = list(WORKS)[trial % len(WORKS)]
        after = float(rng.uniform(0, 1.05 * seconds[name]))
        ended, lines = _killed(_fresh(folder), WORKS[name].work, after)
        journals += any((folder / "trial").glob("*.vprmap*-journal")) or any((folder / "trial").glob("*-wal"))
        outcome = run(lambda name=name, lines=lines: WORKS[name].check(folder / "trial", lines), LIMIT_S)  # type: ignore[misc]
        kind = "fault" if outcome.kind != "read" else "had ended" if ended else "killed"
        counts[name][kind] += 1
        if kind == "fault":
            faults.setdefault(f"{name}: {outcome.text}"[:500], {"trial": trial, "after_s": round(after, 4)})
        on_done()
    return {
        "trials": count,
        "seed": seed,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "in the middle of a transaction": journals,
        "outcomes": {name: dict(found) for name, found in counts.items()},
        "faults": sum(found["fault"] for found in counts.values()),
        "examples": faults,
    }


def _fresh(folder: Path) -> Path:
    """A folder with copies of the inputs, and a link to the originals."""
    place = folder / "trial"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "whole", place)
    (place / "whole").symlink_to(folder / "whole")
    return place


def _seconds(folder: Path, work: Work) -> float:
    """Duration of work without a kill. It must pass its own check."""
    place = _fresh(folder)
    begin = time.monotonic()
    _, lines = _killed(place, work.work, LIMIT_S)
    taken = time.monotonic() - begin
    outcome = run(lambda: work.check(place, lines), LIMIT_S)  # type: ignore[arg-type]
    if outcome.kind != "read":
        raise RuntimeError(f"{work.work.__doc__} fails without a kill: {outcome}")
    return taken


def _killed(place: Path, work: Callable[[Path, Say], None], after_s: float) -> tuple[bool, list[str]]:
    """Start work in a fork and kill it. Returns whether it had ended, and the lines that it confirmed."""
    reader, writer = os.pipe()
    child = start(lambda: work(place, lambda line: os.write(writer, f"{line}\n".encode()) and None))
    os.close(writer)
    ended = wait(child, after_s)
    output = b""
    while block := os.read(reader, 65536):
        output += block
    os.close(reader)
    return ended, output.decode().split("\n")[:-1]
