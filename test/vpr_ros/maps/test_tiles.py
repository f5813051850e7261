"""A map in tiles: what is written, when it is written whole, and which manifests are refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from tiled import CELL_M, ORIGIN, build_town

from vpr_ros.base.errors import MapError
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.tiles import MANIFEST, TileManifest, alone_in, cells_of, sha256_of, write_tiles


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, toy_world: Any) -> Path:
    """A map of 4 km, town.vprmap, beside its tiles, neither to be changed."""
    folder = tmp_path_factory.mktemp("town")
    with build_town(folder / "town.vprmap", type(toy_world)(length=4000.0)) as made:
        write_tiles(made, folder / "tiles", CELL_M)
    return folder


def read(folder: Path) -> TileManifest:
    return TileManifest.from_bytes((folder / MANIFEST).read_bytes(), str(folder))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_tiles_are_ordinary_maps_that_share_out_the_places(town: Path) -> None:
    """Each opens alone, with the map's model, world, origin, calibration and pictures; together they are the map."""
    manifest = read(town / "tiles")
    assert len(manifest.tiles) > 9
    found = []
    with PlaceMap.open(town / "town.vprmap") as whole:
        for tile in manifest.tiles:
            path = town / "tiles" / tile.file
            assert (sha256_of(path), path.stat().st_size) == (tile.sha256, tile.bytes)
            with PlaceMap.open(path) as part:
                assert (part.model, part.world, part.calibration) == (whole.model, whole.world, whole.calibration)
                np.testing.assert_array_equal(part.origin, whole.origin)
                places = part.places
                assert len(places) == tile.places
                assert np.all(cells_of(places.positions, ORIGIN, CELL_M) == tile.cell)
                assert np.all(places.positions[:, :2] >= tile.bounds[:2])
                assert np.all(places.positions[:, :2] < tile.bounds[2:])
                assert part.thumbnail(int(places.ids[0])) == b"a picture"
                np.testing.assert_array_equal(places.descriptors, whole.places.subset(places.ids - 1).descriptors)
                found += places.ids.tolist()
        assert sorted(found) == whole.places.ids.tolist()


def test_equal_places_make_equal_files(town: Path, tmp_path: Path) -> None:
    """A release must cost a robot only what changed. Files are named by their hash; other drives, other tiles."""
    with PlaceMap.open(town / "town.vprmap") as whole:
        assert write_tiles(whole, tmp_path / "again", CELL_M) == read(town / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as grown:
        T, descriptor = grown.places.T_map_camera[0], grown.descriptors(1)
        grown.add("tuesday", 1, T, descriptor)
        after = write_tiles(grown, tmp_path / "again", CELL_M)
    before = read(town / "tiles")
    assert after.release != before.release
    changed = {tile.cell for tile in {*after.tiles} - {*before.tiles}}
    assert changed == {tuple(cells_of(T[None, :3, 3], ORIGIN, CELL_M)[0].tolist())}


def test_a_new_release_leaves_the_last_one_readable(town: Path, tmp_path: Path) -> None:
    """A robot that runs on the last release goes on; the one before that is gone."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    releases = [read(folder)]
    with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
        for floor in (0.04, 0.05):
            place_map.set_calibration(Calibration(floor=floor))
            releases.append(write_tiles(place_map, folder, CELL_M))
    for release, kept in zip(releases, (False, True, True), strict=True):
        assert ({file.file for file in release.files} <= names(folder)) is kept
    assert read(folder) == releases[-1]


def test_a_folder_of_something_else_is_left_alone(town: Path, tmp_path: Path) -> None:
    """`-o` with the wrong folder must not cost anyone a file."""
    (tmp_path / "thesis.tex").write_text("ten years")
    with PlaceMap.open(town / "town.vprmap") as place_map, pytest.raises(MapError, match="holds other files"):
        write_tiles(place_map, tmp_path, CELL_M)
    assert names(tmp_path) == {"thesis.tex"} and (tmp_path / "thesis.tex").read_text() == "ten years"


@pytest.mark.parametrize("cell_m", [0.0, 1.0, 1e9, float("nan")])
def test_sizes_of_cells_that_make_no_sense(town: Path, tmp_path: Path, cell_m: float) -> None:
    """0 would divide by zero, and 1 m make a tile of each place."""
    with PlaceMap.open(town / "town.vprmap") as place_map, pytest.raises(MapError, match="cells of"):
        write_tiles(place_map, tmp_path / "tiles", cell_m)
    assert not (tmp_path / "tiles").exists()


def test_a_kill_leaves_the_last_release_whole(town: Path, tmp_path: Path) -> None:
    """A robot may fetch at any time: the manifest and all that it names are there and intact at every moment."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
        place_map.set_calibration(Calibration(floor=0.07))  # so that every file is another one
    before = read(folder)
    command = [sys.executable, "-m", "vpr_ros.cli.main", "map", "tile", tmp_path / "town.vprmap", "-o", folder]
    command += ["--cell", str(CELL_M)]
    for tiles in (1, 8):
        there = len(names(folder))
        process = subprocess.Popen(command, env=processes.environment())
        while len(names(folder)) < there + tiles and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # and not done before
        assert read(folder) == before
        assert all(sha256_of(folder / file.file) == file.sha256 for file in before.files)
    subprocess.run(command, env=processes.environment(), check=True, capture_output=True)
    after = read(folder)
    assert after.calibration["floor"] == 0.07
    named = {file.file for release in (before, after) for file in release.files} | {MANIFEST}
    assert names(folder) == named


HOSTILE: dict[str, Any] = {
    "path up": {"tiles": [{"file": "../../etc/passwd"}]},
    "absolute path": {"whole": {"file": "/etc/passwd"}},
    "hidden": {"index": {"file": ".ssh"}},
    "a list as a name": {"whole": {"file": ["a"]}},
    "a hash that is a path": {"tiles": [{"sha256": "../" * 21 + "a"}]},
    "a huge file": {"tiles": [{"bytes": 10**30}]},
    "a negative file": {"tiles": [{"bytes": -1}]},
    "true bytes": {"tiles": [{"bytes": True}]},
    "a huge cell": {"tiles": [{"cell": [10**30, 0]}]},
    "a cell of one number": {"tiles": [{"cell": [1]}]},
    "bounds of text": {"tiles": [{"bounds": ["a", "b", "c", "d"]}]},
    "infinite bounds": {"tiles": [{"bounds": [float("inf")] * 4}]},
    "cells of nothing": {"cell_m": 0.0},
    "cells not a number": {"cell_m": float("nan")},
    "text for a number": {"places": "many"},
    "more places than in tiles": {"places": 10**12},
    "no tiles": {"tiles": None},
    "no calibration": {"calibration": None},
    "a name of a megabyte": {"model": "m" * 10**6},
    "another format": {"format": 99},
    "something new": {"surprise": 1},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_manifests_are_refused(town: Path, change: dict[str, Any]) -> None:
    """A mirror may be anyone's: nothing outside the folder is named, and no number is believed."""
    data = json.loads((town / "tiles" / MANIFEST).read_text())
    for key, value in change.items():
        if key == "tiles" and value:
            data["tiles"][0] |= value[0]
        elif isinstance(value, dict):
            data[key] |= value
        else:
            data[key] = value
    with pytest.raises(MapError, match="nowhere"):
        TileManifest.from_bytes(json.dumps(data).encode(), "nowhere")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{}", b"[" * 100_000, b"null", b"1e999"])
def test_manifests_that_are_none(data: bytes) -> None:
    """An error page of a web server, half a file, a bomb of brackets."""
    with pytest.raises(MapError, match="cannot be read"):
        TileManifest.from_bytes(data, "nowhere")


def test_two_tiles_of_one_cell_are_refused(town: Path) -> None:
    """The places of a cell would be in either."""
    data = json.loads((town / "tiles" / MANIFEST).read_text())
    data["tiles"][1]["cell"] = data["tiles"][0]["cell"]
    with pytest.raises(MapError, match="two of one cell"):
        TileManifest.from_bytes(json.dumps(data).encode(), "nowhere")


def test_made_again_without_a_change_keeps_the_last_release(town: Path, tmp_path: Path) -> None:
    """As a nightly job does: robots that still use the release before it lost all its files."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    first = read(folder)
    shutil.copy(town / "town.vprmap", tmp_path)
    with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
        place_map.set_calibration(Calibration(floor=0.04))
        place_map.add("tuesday", 1, place_map.places.T_map_camera[0], place_map.descriptors(1))
        for _ in range(2):
            write_tiles(place_map, folder, CELL_M)
    assert {file.file for file in first.files} <= names(folder)


def test_two_processes_do_not_make_tiles_in_one_folder(town: Path, tmp_path: Path) -> None:
    """Each removed the other's new files: both ended well, and the release was broken."""
    folder = tmp_path / "tiles"
    with PlaceMap.open(town / "town.vprmap") as place_map:
        with alone_in(folder), pytest.raises(MapError, match="another process makes tiles"):
            write_tiles(place_map, folder, CELL_M)
        write_tiles(place_map, folder, CELL_M)


def test_a_damaged_manifest_is_made_again(town: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The advice was to make the tiles again, which ended with the same advice."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    (folder / MANIFEST).write_text("{")
    with PlaceMap.open(town / "town.vprmap") as place_map:
        assert write_tiles(place_map, folder, CELL_M) == read(town / "tiles")
    assert "a new one is made" in caplog.text
