"""A robot on a map in tiles: the answers of the one file, at borders, when lost, and with tiles that are not there."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiled import CELL_M, SECOND, answer, build_town, localizer_on, served, settled

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.records import Estimate, Prior
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps import tile_keeper
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.index import AUTO
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.storage import BUILT
from vpr_ros.maps.tiled_map import TiledMap, open_map
from vpr_ros.maps.tiles import MANIFEST, write_tiles

LENGTH_M = 4000.0


@pytest.fixture(scope="module")
def world(toy_world: Any) -> Any:
    """A round of four kilometres."""
    return type(toy_world)(length=LENGTH_M)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, world: Any) -> Path:
    """A map of the round, town.vprmap, beside its tiles, neither to be changed."""
    folder = tmp_path_factory.mktemp("town")
    with build_town(folder / "town.vprmap", world) as made:
        write_tiles(made, folder / "tiles", CELL_M)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def see(localizer: Localizer, world: Any, along: float, number: int, odometry: bool = True, **more: Any) -> Estimate:
    """The answer for an image taken there."""
    descriptor = world.descriptor(along, 0.5, number)
    return localizer.recognise(number * SECOND, descriptor, world.pose(along) if odometry else None, **more)


def off_by(world: Any, estimate: Estimate, along: float) -> float:
    best = estimate.best
    return np.inf if best is None else float(np.linalg.norm((best.T_map_camera - world.pose(along))[:2, 3]))


def tile_at(place_map: TiledMap, world: Any, along: float) -> int:
    """Number of the tile around a point of the round."""
    position = world.pose(along)[:2, 3]
    (number,) = (
        number
        for number, tile in enumerate(place_map.manifest.tiles)
        if np.all(position >= tile.bounds[:2]) and np.all(position < tile.bounds[2:])
    )
    return number


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("how", ["odometry", "no odometry", "priors", "noise"])
def test_answers_are_those_of_the_one_file(town: Path, world: Any, wait: bool, how: str) -> None:
    """Byte for byte over a whole round, so that nothing measured on a map has to be measured again on tiles."""
    rng = np.random.default_rng(1)
    with PlaceMap.open(town / "town.vprmap") as whole, TiledMap.open_tiles(town / "tiles", wait) as tiles:
        one, other = localizer_on(whole), localizer_on(settled(tiles))
        for number, along in enumerate(np.arange(3.0, LENGTH_M, 47.0)):
            more: dict[str, Any] = {"odometry": how != "no odometry"}
            if how == "priors":
                position = world.pose(along)[:2, 3] + rng.normal(0, 30, 2)
                more["priors"] = (Prior(position, np.eye(2) * 900.0),)
            if how == "noise" and number % 2:
                descriptor = world.noise_image(number)
                found = [m.recognise(number * SECOND, descriptor, world.pose(along)) for m in (one, other)]
            else:
                found = [see(m, world, along, number, **more) for m in (one, other)]
            assert answer(found[0]) == answer(found[1]), (number, along)
        assert len(tiles.keeper.loaded) <= TILES.in_memory
        assert not tiles.problem and not tiles.keeper.left_out


def test_a_border_costs_no_belief(town: Path, world: Any) -> None:
    """The robot is as sure in the next tile as before, and that tile was loaded before the robot was in it."""
    crossed = 0
    with TiledMap.open_tiles(town / "tiles", wait=False) as tiles:
        localizer, last = localizer_on(settled(tiles)), -1
        for number, along in enumerate(np.arange(100.0, 1500.0, 5.0)):
            estimate = see(localizer, world, along, number)
            now = tile_at(tiles, world, along)
            if number > 20:
                assert off_by(world, estimate, along) < 10 and estimate.hypotheses[0].probability > 0.8
                if now != last:
                    assert now in tiles.keeper.loaded
                    crossed += 1
            last = now
            settled(tiles)
    assert crossed > 4


def test_a_loaded_tile_takes_as_much_memory_as_its_descriptors_in_the_file(town: Path, world: Any) -> None:
    """Nine tiles of a town are 200 000 places: as float32 they would take four times as much as the int8 they are."""
    with TiledMap.open_tiles(town / "tiles") as tiles:
        see(localizer_on(settled(tiles)), world, 1000.0, 0)
        held = settled(tiles).keeper._loaded
        assert held and tiles.storage == BUILT
        for number, block in held.items():
            with PlaceMap.open(town / "tiles" / tiles.manifest.tiles[number].file) as tile:
                assert block.nbytes == tile.bytes_by_kind()["descriptors"]


def test_a_kidnapped_robot_is_found_in_another_tile(town: Path, world: Any) -> None:
    """Across the round, in a tile that is not loaded: found by the index of all tiles, whose tile is then loaded."""
    with TiledMap.open_tiles(town / "tiles", wait=False) as tiles:
        localizer = localizer_on(settled(tiles))
        for number in range(20):
            assert off_by(world, see(localizer, world, 100.0 + 5 * number, number), 100.0 + 5 * number) < 10
            settled(tiles)
        far = 2200.0
        assert tile_at(tiles, world, far) not in tiles.keeper.loaded
        for number in range(20, 40):
            along = far + 5 * (number - 20)
            estimate = see(localizer, world, along, number, odometry=False)
            settled(tiles)
        assert off_by(world, estimate, along) < 10
        assert tile_at(tiles, world, along) in tiles.keeper.loaded


def test_a_robot_without_a_prior_fetches_where_it_may_be(town: Path, world: Any) -> None:
    """From a server, with an empty cache: the index of all tiles says which ones to fetch, the others stay there."""
    with served(town / "tiles") as (address, server), TiledMap.open_tiles(address, wait=False) as tiles:
        localizer = localizer_on(tiles)
        assert tiles.keeper.ready == 0
        for number in range(25):
            estimate = see(localizer, world, 900.0 + 5 * number, number)
            settled(tiles)
        assert off_by(world, estimate, 900.0 + 5 * number) < 10
        fetched = [path for path, _ in server.asked if "tile_" in path]
        assert 0 < len(fetched) < len(tiles.manifest.tiles) and len(set(fetched)) == len(fetched)
        assert not tiles.problem and tiles.keeper.left_out > 0


def test_a_prior_says_what_to_fetch(town: Path, world: Any) -> None:
    """Only the tiles around it, the first of them where it is."""
    along = 2000.0
    prior = Prior(world.pose(along)[:2, 3], np.eye(2) * 400.0, lasting=True)
    with served(town / "tiles") as (address, server), TiledMap.open_tiles(address, wait=False) as tiles:
        localizer = localizer_on(tiles)
        nothing = world.noise_image(1)
        localizer.recognise(0, nothing, world.pose(along), priors=(prior,))
        settled(tiles)
        fetched = [path.strip("/") for path, _ in server.asked if "tile_" in path]
        assert fetched[0] == tiles.manifest.tiles[tile_at(tiles, world, along)].file and len(fetched) <= 6


def test_an_offline_job_waits_for_the_tiles(town: Path, world: Any) -> None:
    """`vpr evaluate` on an address gives the figures of the file, from the first image on."""
    with (
        served(town / "tiles") as (address, _),
        PlaceMap.open(town / "town.vprmap") as whole,
        TiledMap.open_tiles(address, wait=True) as tiles,
    ):
        one, other = localizer_on(whole), localizer_on(tiles)
        for number in range(5):
            found = [see(m, world, 300.0 + 5 * number, number) for m in (one, other)]
            assert answer(found[0]) == answer(found[1])


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("damage", ["missing", "corrupt", "another's", "cut"])
def test_a_tile_that_cannot_be_used(
    town: Path, world: Any, tmp_path: Path, damage: str, wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence names it; the rest of the town works; and once the tile is restored, so does its part."""
    monkeypatch.setattr(tile_keeper, "TILES", type("Soon", (), {**vars(type(TILES)), "retry_s": 0.05}))
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    with TiledMap.open_tiles(folder) as tiles:
        number = tile_at(tiles, world, 1000.0)
        bad, another = (tiles.manifest.tiles[k].file for k in (number, number - 1))
    data = bytearray((folder / bad).read_bytes())
    (folder / bad).unlink()
    if damage == "corrupt":
        data[len(data) // 2] ^= 255
        (folder / bad).write_bytes(data)
    elif damage == "another's":
        shutil.copy(folder / another, folder / bad)
    elif damage == "cut":
        (folder / bad).write_bytes(data[:1000])
    with TiledMap.open_tiles(folder, wait) as tiles:
        localizer = localizer_on(settled(tiles))
        for k in range(10):
            see(localizer, world, 1000.0 + k, k)
            settled(tiles)
        assert bad in tiles.problem and tiles.keeper.left_out > 0
        assert number not in tiles.keeper.loaded
        localizer.reset()
        for k in range(10):
            estimate = see(localizer, world, 3000.0 + 5 * k, k)
            settled(tiles)
        assert off_by(world, estimate, 3045.0) < 10
        shutil.copy(town / "tiles" / bad, folder / bad)
        localizer.reset()
        for k in range(50):
            estimate = see(localizer, world, 1000.0 + k, k)
            time.sleep(0.01)
        settled(tiles)
        assert off_by(world, estimate, 1049.0) < 10 and not tiles.problem
        assert f"{tiles.keeper.left_out} comparisons with places were left out" in tiles.left_out
        assert bad in tiles.left_out  # although it is here again now


def test_a_mirror_that_goes_down_on_the_way(town: Path, world: Any) -> None:
    """The robot keeps the tiles it has and says what it lacks."""
    with served(town / "tiles") as (address, _):
        tiles = TiledMap.open_tiles(address, wait=False)
        localizer = localizer_on(tiles)
        for k in range(15):
            see(localizer, world, 1000.0 + 5 * k, k)
            settled(tiles)
    with tiles:
        far = tile_at(tiles, world, 3000.0)
        assert far not in tiles.keeper._ready
        estimate = see(localizer, world, 1075.0, 15)
        assert off_by(world, estimate, 1075.0) < 10
        tiles.keeper.attend(world.pose(3000.0)[None, :2, 3], np.ones(1))
        settled(tiles)
        assert "is the server up" in tiles.problem


def test_a_release_that_appears_on_the_way_is_noticed(
    town: Path, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robot keeps its own release, and says that there is a newer one."""
    soon = {**vars(type(TILES)), "retry_s": 0.02, "release_s": 0.02}
    monkeypatch.setattr(tile_keeper, "TILES", type("Soon", (), soon))
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    with TiledMap.open_tiles(folder, wait=False) as tiles:
        localizer = localizer_on(settled(tiles))
        with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
            place_map.add("tuesday", 1, world.pose(0.0), world.descriptor(0.0))
            release = write_tiles(place_map, folder, CELL_M).release
        for k in range(20):
            estimate = see(localizer, world, 1000.0 + 5 * k, k)
            time.sleep(0.02)
        assert off_by(world, estimate, 1095.0) < 10
        assert f"has release {release} now" in tiles.problem


def test_a_hostile_whole_file_is_refused(town: Path, tmp_path: Path) -> None:
    """A manifest of one town with the whereabouts of another, each with its right hash."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    data = json.loads((folder / MANIFEST).read_text())
    for change in (
        {"cell_m": 300.0},
        {"world": "utm 32 north"},
        {"fingerprint": "e" * 64},
        {"whole": data["tiles"][0]},
    ):
        changed = {**data, **change}
        if "whole" in change:
            changed["whole"] = {key: data["tiles"][0][key] for key in ("file", "bytes", "sha256")}
        (folder / MANIFEST).write_text(json.dumps(changed))
        with pytest.raises(MapError, match=r"make the tiles again|not a map"):
            TiledMap.open_tiles(folder)


def test_an_index_of_another_kind_cannot_be_had(town: Path) -> None:
    """It would have to be made of all tiles."""
    with TiledMap.open_tiles(town / "tiles") as tiles:
        assert len(tiles.index(AUTO, np.zeros(64, np.float32))) == len(tiles)
        with pytest.raises(ConfigError, match=r"leave search\.index at auto"):
            tiles.index("HNSW32", np.zeros(64, np.float32))
        with pytest.raises(ConfigError, match="mean_centring"):
            tiles.index(AUTO, None)


def test_a_map_in_tiles_reads_as_a_map(town: Path) -> None:
    """Pictures for the report, numbers for `vpr map info`, pieces for re-rankers."""
    with open_map(town / "tiles") as tiles, open_map(town / "town.vprmap") as whole:
        assert isinstance(tiles, TiledMap) and not isinstance(whole, TiledMap)
        assert tiles.thumbnail(1) == tiles.thumbnail(777) == b"a picture"
        assert len(tiles) == len(whole) and tiles.revision == whole.revision
        for ours, theirs in zip(tiles.pieces(), whole.pieces(), strict=True):
            for name in ("ids", "drives", "stamps_ns", "T_map_camera", "descriptors"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        ours, theirs = map_info(tiles), map_info(whole)
        same = set(theirs) - {"bytes", "size_MB"}
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
        assert ours["release"] == tiles.manifest.release
        with pytest.raises(MapError, match="cannot write"):
            tiles.add("x", 1, np.eye(4), np.zeros(64, np.float32))


def test_a_city_does_not_come_into_memory(town: Path, world: Any) -> None:
    """At most nine tiles, wherever the robot goes and however vague its prior is."""
    most = 0
    with TiledMap.open_tiles(town / "tiles") as tiles:
        localizer = localizer_on(tiles)
        for number, along in enumerate(np.arange(0.0, LENGTH_M, 40.0)):
            vague = Prior(world.pose(along)[:2, 3], np.eye(2) * 1000.0**2)
            see(localizer, world, along, number, priors=(vague,))
            most = max(most, len(settled(tiles).keeper.loaded))
    assert 4 < most <= TILES.in_memory == 9
