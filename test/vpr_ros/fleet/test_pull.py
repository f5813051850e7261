"""A folder of tiles that is pulled again and again: only what changed is fetched, and a kill leaves it usable."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiled import answer, localizer_on

pytest.importorskip("lancedb", reason="lancedb is not installed (pip install 'vpr_ros[fleet]')")

from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.fleet.lake import Lake, Release, Rows, rows_of
from vpr_ros.fleet.pull import Pulled, pull_tiles
from vpr_ros.fleet.release import first_release
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import BUILT
from vpr_ros.maps.tiled_map import TiledMap
from vpr_ros.maps.tiles import MANIFEST, sha256_of

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
WORLD = "utm 33 north"
ORIGIN = np.array([458_300.0, 5_550_200.0, 0.0])
LENGTH = 2000.0  # of a round street, 640 m across
CELL_M = 200.0
WEST = (458_000.0, 5_549_800.0, 458_199.0, 5_550_600.0)  # boxes of the world
EAST = (458_450.0, 5_549_800.0, 458_599.0, 5_550_600.0)


@pytest.fixture
def world(toy_world: Any) -> Any:
    return type(toy_world)(length=LENGTH)


@pytest.fixture
def write(tmp_path: Path, world: Any) -> Callable[..., Path]:
    """write(name, along, seed=) -> a map of the street at those metres."""

    def made(name: str, along: np.ndarray, seed: int = 0, model: MapModel = MODEL) -> Path:
        path = tmp_path / f"{name}.vprmap"
        place_map = PlaceMap.create(path, model, WORLD, ORIGIN, Calibration(floor=0.03), storage=BUILT)
        with place_map, place_map.together():
            for a in along:
                descriptor = world.descriptor(float(a), 0.3, seed + int(a))
                place_map.add(name, int(a * 1e8), world.pose(float(a)), descriptor[None], b"a picture")
        return path

    return made


@pytest.fixture
def lake(tmp_path: Path, write: Callable[..., Path]) -> Lake:
    """A lake whose first release is a round in summer."""
    lake = Lake(str(tmp_path / "lake"))
    first_release(lake, write("summer", np.arange(0.0, LENGTH, 5.0)))
    return lake


def publish(lake: Lake, rows: Rows | None, **changes: Any) -> Release:
    """The next release: the last one with these places, and another calibration."""
    last = lake.release()
    parts = last.parts if rows is None else (*last.parts, lake.add_part(rows, last.head))
    places = last.places + (0 if rows is None else len(rows))
    calibration = Calibration(floor=0.03 + 0.01 * last.number, source="held out").to_dict()
    made = dataclasses.replace(
        last, number=last.number + 1, parts=parts, places=places, calibration=calibration, **changes
    )
    lake.publish(made)
    return made


def pull(lake: Lake, folder: Path, release: Release | None = None, box: Any = None) -> Pulled:
    return pull_tiles(lake, folder, release or lake.release(), box, CELL_M if not folder.exists() else 0.0)


def files(folder: Path) -> dict[str, str]:
    """Name and content of all that the manifest names; each must be there and intact."""
    manifest = json.loads((folder / MANIFEST).read_text())
    named = [manifest["whole"], manifest["index"], *manifest["tiles"]]
    assert all(sha256_of(folder / file["file"]) == file["sha256"] for file in named)
    return {file["file"]: file["sha256"] for file in named}


def test_a_folder_of_a_whole_release_is_its_map(lake: Lake, world: Any, tmp_path: Path) -> None:
    """The node takes it: the same places, calibration and answers as the release in one file."""
    made = pull(lake, tmp_path / "tiles")
    assert (made.kept, made.replaced, made.removed, made.fetched) == (0, 0, 0, 400)
    assert made.added == len(made.manifest.tiles) > 9
    last = lake.release()
    with lake.pull(tmp_path / "one.vprmap", last) as one, TiledMap.open_tiles(tmp_path / "tiles") as tiles:
        assert tiles.calibration == one.calibration and tiles.world == WORLD
        assert tiles.thumbnail(int(tiles.places.ids[0])) == b"a picture"
        np.testing.assert_array_equal(tiles.origin, one.origin)
        np.testing.assert_array_equal(tiles.places.stamps_ns, one.places.stamps_ns)
        on_file, on_tiles = localizer_on(one), localizer_on(tiles)
        for k in range(20):
            query = world.descriptor(30.0 + 4.0 * k, 0.3, 99 + k)
            assert answer(on_file.recognise(k * 10**9, query)) == answer(on_tiles.recognise(k * 10**9, query))


def test_a_neighbouring_area_joins_those_that_are_there(lake: Lake, tmp_path: Path) -> None:
    """A robot that drives further: what it has stays, with its ids and its frame, and is not fetched again."""
    folder = tmp_path / "tiles"
    first = pull(lake, folder, box=WEST)
    before, manifest = files(folder), first.manifest
    with TiledMap.open_tiles(folder) as tiles:
        ids = dict(zip(tiles.places.stamps_ns.tolist(), tiles.places.ids.tolist(), strict=True))
        origin = tiles.origin
    assert {tile.cell[0] for tile in manifest.tiles} == {2290} and first.added > 1
    second = pull(lake, folder, box=EAST)
    assert (second.kept, second.replaced) == (first.added, 0) and second.added > 0
    assert second.fetched == second.manifest.places - manifest.places
    after = files(folder)
    assert {name for name in before if name.startswith("tile")} <= set(after)
    with TiledMap.open_tiles(folder) as tiles:
        np.testing.assert_array_equal(tiles.origin, origin)
        now = dict(zip(tiles.places.stamps_ns.tolist(), tiles.places.ids.tolist(), strict=True))
        assert ids.items() <= now.items()
        assert np.asarray(tiles.places.descriptors[np.arange(len(now))]).any(axis=-1).all()
    again = pull(lake, folder, box=EAST)
    assert (again.kept, again.added, again.fetched) == (len(after) - 2, 0, 0) and again.manifest == second.manifest


def test_a_newer_release_replaces_the_tiles_that_it_changed(lake: Lake, tmp_path: Path, write: Any, world: Any) -> None:
    """Only the winter's tiles come again, in all areas of the folder; the calibration is the new one's."""
    folder = tmp_path / "tiles"
    first = pull(lake, folder)
    with PlaceMap.open(write("winter", np.arange(0.0, 50.0, 5.0), seed=7)) as place_map:
        release = publish(lake, rows_of(place_map))
    second = pull(lake, folder, box=WEST)  # elsewhere: the folder is of one release
    assert second.kept == first.added - second.replaced and 0 < second.replaced < 4 and not second.added
    assert second.manifest.places == release.places == 410
    assert 10 < second.fetched < 100
    assert second.manifest.calibration == Calibration.from_dict(release.calibration).to_dict()
    with TiledMap.open_tiles(folder) as tiles:
        assert tiles.drive_names() == ["summer", "winter"] and tiles.calibration.source == "held out"
        found = localizer_on(tiles).recognise(0, world.descriptor(25.0, 0.2, 1))
        assert found.matches[0].drive in ("summer", "winter")
    back = pull(lake, folder, lake.release(1))
    assert back.replaced == second.replaced and back.manifest.places == 400


def test_a_release_that_only_calibrates_keeps_all_tiles(lake: Lake, tmp_path: Path) -> None:
    """A calibration is made anew in every release: it must not cost a robot its map."""
    folder = tmp_path / "tiles"
    first = pull(lake, folder)
    publish(lake, None)
    second = pull(lake, folder)
    assert (second.kept, second.fetched) == (first.added, 0)
    assert second.manifest.calibration != first.manifest.calibration


def test_a_damaged_tile_is_pulled_again(lake: Lake, tmp_path: Path) -> None:
    """A disk that failed: what is damaged is fetched, the rest stays; without the whole, everything is."""
    folder = tmp_path / "tiles"
    first = pull(lake, folder)
    tile = first.manifest.tiles[3]
    (folder / tile.file).write_bytes(b"zeros" * 100)
    second = pull(lake, folder)
    assert second.fetched == tile.places and len(files(folder)) == len(first.manifest.tiles) + 2
    (folder / second.manifest.whole.file).unlink()
    third = pull(lake, folder)
    assert third.fetched == third.manifest.places == 400 and files(folder)


def test_folders_that_are_not_of_this_lake_are_left_alone(
    lake: Lake, tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each, and not a byte is changed."""
    folder = tmp_path / "tiles"
    pull(lake, folder, box=WEST)
    before = files(folder)
    other = Lake(str(tmp_path / "other"))
    first_release(other, write("model", np.arange(0.0, 100.0, 5.0), model=dataclasses.replace(MODEL, name="other")))
    for make, words in (
        (lambda: pull_tiles(other, folder, other.release()), "tiles of another map"),
        (lambda: pull_tiles(lake, folder, lake.release(), WEST, 500.0), "tiles of 200 m"),
        (lambda: pull_tiles(lake, folder, lake.release(), (0.0, 0.0, 1.0, 1.0)), "has no places there"),
        (lambda: pull_tiles(lake, tmp_path / "new", lake.release(), WEST, 1e-3), "cells of 0.001 m"),
    ):
        with pytest.raises(MapError, match=words):
            make()
    assert files(folder) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("ten years")
    with pytest.raises(MapError, match="holds other files"):
        pull_tiles(lake, tmp_path / "thesis", lake.release())


def test_a_killed_pull_leaves_the_tiles_as_they_were(lake: Lake, tmp_path: Path, write: Callable[..., Path]) -> None:
    """kill -9 at any moment: the folder opens as before, and the same command completes it."""
    folder = tmp_path / "tiles"
    pull(lake, folder, box=WEST)
    with PlaceMap.open(write("winter", np.arange(0.0, LENGTH, 5.0), seed=7)) as place_map:
        publish(lake, rows_of(place_map))
    before = files(folder)
    command = [sys.executable, "-m", "vpr_ros.cli.main", "fleet", "pull", lake.uri, "-o", str(folder)]
    for tiles in (1, 6):
        there = len(list(folder.iterdir()))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(folder.iterdir())) < there + tiles and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # and not done before
        assert files(folder) == before
        TiledMap.open_tiles(folder).close()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "800 places" in done.stdout and len(files(folder)) > len(before)


def test_the_command_writes_a_map_or_tiles(
    lake: Lake, tmp_path: Path, vpr: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that ends in .vprmap is a map, any other a folder; a folder that is there is one whatever its name."""

    def pull(*arguments: object) -> str:
        return f"{vpr('fleet', 'pull', lake.uri, *arguments)} {''.join(capsys.readouterr())}"

    assert pull("-o", tmp_path / "town.vprmap").startswith("0 ") and (tmp_path / "town.vprmap").is_file()
    for name in ("tiles", "other/", "odd.vprmap/"):
        told = pull("-o", f"{tmp_path}/{name}", "--cell", CELL_M, "--bbox", *WEST)
        assert told.startswith("0 ") and "0 kept" in told and "added" in told, told
        assert (tmp_path / name / MANIFEST).is_file()
    told = pull("-o", tmp_path / "odd.vprmap", "--bbox", *EAST)
    assert told.startswith("0 ") and " 0 kept" not in told
    assert "--cell is the side of tiles" in pull("-o", tmp_path / "more.vprmap", "--cell", 100)
    assert pull("-o", tmp_path / "empty", "--bbox", 0, 0, 1, 1).startswith("1 ") and not (tmp_path / "empty").exists()
