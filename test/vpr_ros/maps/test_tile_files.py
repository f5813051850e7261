"""Tiles from a web server: what is fetched once, what goes on after a kill, and what is believed."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import tiled
from tiled import CELL_M, Handler, build_town, served

from vpr_ros.base.errors import MapError
from vpr_ros.maps import tile_files, tile_keeper
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.tile_files import FolderTiles, HttpTiles, cache_folder
from vpr_ros.maps.tile_keeper import TileKeeper
from vpr_ros.maps.tiled_map import TiledMap
from vpr_ros.maps.tiles import MANIFEST, TileManifest, sha256_of, write_tiles


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, toy_world: Any) -> Path:
    """A map of 1 km, town.vprmap, beside its tiles, neither to be changed."""
    folder = tmp_path_factory.mktemp("town")
    with build_town(folder / "town.vprmap", type(toy_world)(length=1000.0)) as made:
        write_tiles(made, folder / "tiles", CELL_M)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user who has none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def test_what_was_fetched_is_not_fetched_again(town: Path, cache: Path) -> None:
    """A robot that starts each morning must not load the city each morning."""
    with served(town / "tiles") as (address, server):
        for round_ in range(2):
            tiles = HttpTiles(address)
            manifest = tiles.manifest()
            for file in manifest.files:
                assert tiles.is_here(file) is (round_ > 0 or file in (manifest.whole, manifest.index))
                assert tiles.get(file).read_bytes() == (town / "tiles" / file.file).read_bytes()
        asked = [path for path, _ in server.asked]
        assert sorted(asked) == sorted(["/manifest.json"] * 2 + [f"/{file.file}" for file in manifest.files])


def test_mirrors_share_what_was_fetched(town: Path, cache: Path) -> None:
    """A file is known by its hash, not by its address."""
    with served(town / "tiles") as (address, _):
        file = HttpTiles(address).manifest().tiles[0]
        HttpTiles(address).get(file)
    with served(town / "tiles") as (mirror, server):
        HttpTiles(mirror + "/manifest.json").get(file)
        assert not server.asked


@pytest.mark.parametrize("understands_range", [True, False])
def test_a_transfer_goes_on_where_it_broke(town: Path, cache: Path, understands_range: bool) -> None:
    """A server that dies half way, and a robot that is switched off meanwhile: nothing is lost, nothing is half."""
    with served(town / "tiles") as (address, server):
        file = HttpTiles(address).manifest().tiles[0]
        server.most = file.bytes // 8
        port = int(address.rpartition(":")[2])
        server.understands_range = False  # each try begins again, so the file never ends
        with pytest.raises(MapError, match="cannot be had"):
            HttpTiles(address).get(file)
    with pytest.raises(MapError, match="cannot be had"):  # it is down
        HttpTiles(address).get(file)
    (part,) = (cache / "files").glob("*.part")
    assert part.name == f"{file.sha256}.part" and 0 < (half := part.stat().st_size) < file.bytes
    with served(town / "tiles", port, understands_range=understands_range) as (_, server):
        path = HttpTiles(address).get(file)
        assert server.asked == [(f"/{file.file}", f"bytes={half}-")]
    assert sha256_of(path) == file.sha256 and not list((cache / "files").glob("*.part"))


def test_a_line_that_breaks_all_the_time(town: Path, cache: Path) -> None:
    """As long as each try brings some bytes, the file arrives."""
    with served(town / "tiles") as (address, server):
        file = HttpTiles(address).manifest().tiles[0]
        server.most = file.bytes // 10
        assert sha256_of(HttpTiles(address).get(file)) == file.sha256
        assert len(server.asked) > 10


def test_a_line_that_brings_more_and_less_in_turn(town: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Range each try begins again: one that brings more than the one before it is no progress yet."""
    monkeypatch.setattr(tile_files, "_pause_s", lambda fails: 0.0)
    uneven = property(lambda handler: 3000 if len(handler.asked) % 2 else 2000)
    with served(town / "tiles") as (address, server):
        file = HttpTiles(address).manifest().tiles[0]
        server.understands_range, server.most = False, uneven
        with pytest.raises(MapError, match="cannot be had"):
            HttpTiles(address).get(file)
        assert len(server.asked) < 12


def test_a_server_that_is_down(town: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One sentence, and what is here is used; without anything here, the sentence is all."""
    with served(town / "tiles") as (address, _):
        manifest = HttpTiles(address).manifest()
        HttpTiles(address).get(manifest.whole)
    with caplog.at_level(logging.WARNING):
        tiles = HttpTiles(address)
        assert tiles.manifest() == manifest
    assert "the tiles that are here are used" in caplog.text and "cannot be had" in caplog.text
    assert tiles.get(manifest.whole).is_file() and tiles.get(manifest.index).is_file()
    with pytest.raises(MapError, match="is the server up"):
        tiles.get(manifest.tiles[0])
    with pytest.raises(MapError, match="is the server up"):
        tiles.manifest(fresh=True)
    with pytest.raises(MapError, match="is the server up"):
        HttpTiles("http://127.0.0.1:9/another").manifest()


def test_another_release_is_noticed(town: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What changed is said, and only that is fetched."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    with served(folder) as (address, _):
        first = HttpTiles(address).manifest()
        with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
            place_map.add("tuesday", 1, place_map.places.T_map_camera[0], place_map.descriptors(1))
            write_tiles(place_map, folder, CELL_M)
        with caplog.at_level(logging.WARNING):
            second = HttpTiles(address).manifest()
    assert second.release != first.release
    assert (
        f"has release {second.release} now, {first.release} before: 3 of its {len(second.files)} files" in caplog.text
    )


@pytest.mark.parametrize("where", ["server", "cache", "folder"])
def test_damaged_files_are_refused(town: Path, cache: Path, tmp_path: Path, where: str) -> None:
    """One bit of a descriptor that flips is a wrong place. In the cache it is fetched again."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    file = FolderTiles(folder).manifest().tiles[0]
    with served(folder) as (address, _):
        damaged = HttpTiles(address).get(file) if where == "cache" else folder / file.file
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        if where == "cache":
            assert sha256_of(HttpTiles(address).get(file)) == file.sha256
            return
        with pytest.raises(MapError, match=r"is not the file that the manifest names|is damaged"):
            (HttpTiles(address) if where == "server" else FolderTiles(folder)).get(file)
    assert not cache.exists() or not any((cache / "files").iterdir())


def test_a_file_that_never_ends(town: Path, cache: Path, tmp_path: Path) -> None:
    """No more is taken than the manifest says, whatever a server sends."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    file = FolderTiles(folder).manifest().tiles[0]
    with (folder / file.file).open("ab") as longer:
        longer.truncate(1 << 26)
    with served(folder) as (address, _):
        assert sha256_of(HttpTiles(address).get(file)) == file.sha256


def test_a_file_that_the_disk_cannot_take(town: Path, cache: Path) -> None:
    """A manifest may claim a terabyte. It is refused before the disk of the robot is full."""
    with served(town / "tiles") as (address, server):
        tiles = HttpTiles(address)
        huge = replace(tiles.manifest().tiles[0], bytes=2**40)
        if shutil.disk_usage(town).free > huge.bytes:
            pytest.skip("the disk of this machine has a terabyte left")
        server.asked.clear()
        with pytest.raises(MapError, match=r"make room"):
            tiles.get(huge)
        assert not server.asked


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "link to a device"])
def test_files_of_a_folder_that_are_none(town: Path, tmp_path: Path, kind: str) -> None:
    """A pipe or a device in a folder of somebody else must not be read for ever."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    file = FolderTiles(folder).manifest().tiles[0]
    path = folder / file.file
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    with pytest.raises(MapError, match="is missing"):
        FolderTiles(folder).get(file)


def deny(monkeypatch: pytest.MonkeyPatch, beginning: str) -> None:
    """Files with a name that begins like this become another user's; root, as in a container, may read those."""
    stat = os.stat

    def denied(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if not isinstance(path, int) and str(os.fspath(path)).startswith(beginning):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", denied)


def test_a_cache_of_another_user_is_named(town: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback of pathlib was all that the node said, as of a robot that was started with sudo once."""
    with served(town / "tiles") as (address, _):
        HttpTiles(address).manifest()
        for denied, refused in ((cache / "files", TiledMap.open_tiles), (cache, lambda at: HttpTiles(at).manifest())):
            deny(monkeypatch, str(denied))
            with pytest.raises(MapError, match=r"the cache .* cannot be written \(Permission denied\): set XDG_CACHE"):
                refused(address)


def test_a_folder_that_cannot_be_read_for_a_while(town: Path, toy_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network drive that comes back. The thread ended at the first error, and no tile was loaded ever after."""
    with monkeypatch.context() as patch:
        deny(patch, str(town / "tiles" / "tile_"))
        with TiledMap.open_tiles(town / "tiles", wait=False) as tiles:
            keeper = tiles.keeper
            keeper._thread.join(0.3)
            assert keeper._thread.is_alive() and keeper.ready == 0
            patch.undo()
            keeper._news.set()
            deadline = time.monotonic() + 10
            while keeper.ready < len(tiles.manifest.tiles) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert keeper.ready == len(tiles.manifest.tiles)


def test_a_tile_that_fails_elsewhere_while_it_is_loaded(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image and the thread read one tile: what the image finds wrong with it must not end the thread."""
    prepare = TileKeeper._prepare

    def prepare_and_fail(keeper: TileKeeper, number: int) -> Any:
        ready = prepare(keeper, number)
        keeper._fail(number, "the image's thread could not read it")
        return ready

    with TiledMap.open_tiles(town / "tiles", wait=False) as tiles:
        keeper = tiles.keeper
        monkeypatch.setattr(TileKeeper, "_prepare", prepare_and_fail)
        keeper.attend(tiles.places.positions[:1, :2], np.ones(1))
        keeper._thread.join(0.3)
        assert keeper._thread.is_alive()


@pytest.mark.parametrize(
    "address", ["http://[bad", "http://127.0.0.1:9", "http://", "http://a b/", "https://x.invalid"]
)
def test_addresses_that_lead_nowhere(cache: Path, address: str) -> None:
    """A typing error is one sentence that names the address."""
    with pytest.raises(MapError, match="cannot be had"):
        HttpTiles(address).manifest()


def test_a_page_of_a_web_server_is_no_manifest(tmp_path: Path, cache: Path) -> None:
    """Captive portals answer everything with a page."""
    (tmp_path / MANIFEST).write_text("<html>please log in</html>")
    with served(tmp_path) as (address, _), pytest.raises(MapError, match="is this the place of the tiles"):
        HttpTiles(address).manifest()
    assert not cache.exists()


@pytest.mark.parametrize("broken", ["portal", "half a release"])
def test_the_last_release_stays_until_another_is_here(
    town: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """A link that died after the new manifest, or a page in its place, left a robot with all tiles without a map."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    shutil.copy(town / "town.vprmap", tmp_path)
    with served(folder) as (address, _):
        first = HttpTiles(address).manifest()
        if broken == "portal":
            (folder / MANIFEST).write_text("<html>please log in</html>")
        else:
            with PlaceMap.open(tmp_path / "town.vprmap", writable=True) as place_map:
                place_map.add("tuesday", 1, place_map.places.T_map_camera[0], place_map.descriptors(1))
                (folder / write_tiles(place_map, folder, CELL_M).index.file).unlink()
        with caplog.at_level(logging.WARNING):
            assert HttpTiles(address).manifest() == first
        assert "the tiles that are here are used" in caplog.text
    tiles = HttpTiles(address)  # the server is down now
    assert tiles.manifest() == first and tiles.get(first.whole).is_file() and tiles.get(first.index).is_file()


def test_a_manifest_without_end(town: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces for ever after a good manifest: no more is read than a city of tiles needs."""
    folder = shutil.copytree(town / "tiles", tmp_path / "tiles")
    with (folder / MANIFEST).open("ab") as file:
        file.write(b" " * 200_000 + b"!")
    monkeypatch.setattr(tile_files, "LARGEST_MANIFEST", 100_000)
    with served(folder) as (address, _):
        assert HttpTiles(address).manifest() == FolderTiles(town / "tiles").manifest()


def test_processes_share_the_cache(town: Path, cache: Path) -> None:
    """A node and an evaluation that start at once fetch a file once, and neither reads the other's half."""
    fetch = "import sys; from vpr_ros.maps.tile_files import HttpTiles as T; t = T(sys.argv[1])"
    fetch += "; f = t.manifest().tiles[0]; t.get(f)"
    with served(town / "tiles") as (address, server):
        command = [sys.executable, "-c", fetch, address]
        started = [subprocess.Popen(command, env=processes.environment()) for _ in range(3)]
        assert [process.wait(60) for process in started] == [0] * 3
        assert len([path for path, _ in server.asked if "tile_" in path]) == 1


def test_calibration_and_model_are_in_the_manifest(town: Path) -> None:
    """A fleet can choose a release without fetching it."""
    data = json.loads((town / "tiles" / MANIFEST).read_text())
    assert Calibration.from_dict(data["calibration"]) == tiled.SHIPPED
    assert data["fingerprint"] == tiled.MODEL.fingerprint
    assert isinstance(TileManifest.from_bytes(json.dumps(data).encode(), "here"), TileManifest)


def test_a_busy_server_is_asked_again(town: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 for a moment ended a first start, and an evaluation had a recall of 0."""
    monkeypatch.setattr(tile_files, "_pause_s", lambda fails: 0.0)
    left = [503, 429]

    def busy(self: Handler) -> None:
        if left:
            self.send_error(left.pop())
        else:
            Handler.do_GET(self)

    with served(town / "tiles", do_GET=busy) as (address, _):
        assert HttpTiles(address).manifest() and not left


def test_whoever_waits_for_tiles_waits_for_the_server(town: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vpr evaluate` on a server that is busy for longer than a transfer tries; but not for ever, and not for a 404."""
    monkeypatch.setattr(tile_files, "_pause_s", lambda fails: 0.0)
    monkeypatch.setattr(tile_keeper, "TILES", replace(TILES, pause_s=0.01, patience_s=0.5))
    says = {"left": 20, "status": 503}

    def busy(self: Handler) -> None:
        if says["left"] and "/tile_" in self.path:
            says["left"] -= 1
            self.send_error(says["status"])
        else:
            Handler.do_GET(self)

    with served(town / "tiles", do_GET=busy) as (address, _):
        for left, status, comes in ((20, 503, True), (10**6, 503, False), (10**6, 404, False)):
            shutil.rmtree(cache, ignore_errors=True)
            says.update(left=left, status=status)
            with TiledMap.open_tiles(address, wait=True) as place_map:
                rows = np.arange(len(place_map.places))
                assert (len(place_map.places.readable(rows)) == len(rows)) is comes


def test_an_address_may_have_a_login_and_a_token(town: Path, cache: Path) -> None:
    """Both were taken for a part of the host or of the folder, and the password was in the message."""

    def private(self: Handler) -> None:
        if self.headers.get("Authorization") == "Basic cm9ib3Q6YSBi" and self.path.endswith("?token=t&x=1"):
            Handler.do_GET(self)
        else:
            self.send_error(401)

    with served(town / "tiles", do_GET=private) as (address, _):
        tiles = HttpTiles(f"http://robot:a%20b@{address.removeprefix('http://')}/?token=t&x=1")
        tiles.manifest()
        assert "a%20b" not in tiles.name and "token" not in tiles.name
        with pytest.raises(MapError, match="401"):
            HttpTiles(address).manifest(fresh=True)


def test_a_login_stays_with_its_host(town: Path, cache: Path) -> None:
    """Another host that the server redirects to must not get the password."""
    seen = []

    def elsewhere(self: Handler) -> None:
        seen.append(self.headers.get("Authorization"))
        Handler.do_GET(self)

    with served(town / "tiles", do_GET=elsewhere) as (there, _):

        def redirects(self: Handler) -> None:
            where = there if "/away/" in self.path else ""
            self.send_response(302)
            self.send_header("Location", f"{where}{self.path.replace('/away', '').replace('/here', '')}")
            self.end_headers()

        with served(town / "tiles", do_GET=redirects) as (address, server):
            HttpTiles(f"{address.replace('//', '//robot:secret@')}/away").manifest()
            assert seen and not any(seen)
            server.do_GET = lambda self: redirects(self) if "/here/" in self.path else elsewhere(self)
            seen.clear()
            HttpTiles(f"{address.replace('//', '//robot:secret@')}/here").manifest(fresh=True)
            assert seen and all(seen)


@pytest.mark.parametrize("address", ["http://robot:pa/ss@maps/town", "http://robot:pa[ss@maps/town"])
def test_no_password_is_in_a_message(cache: Path, address: str) -> None:
    """Special characters end the host early."""
    with pytest.raises(MapError) as refused:
        HttpTiles(address).manifest()
    assert "ss@" not in str(refused.value) and "pa" not in str(refused.value).split("address")[0]


def test_a_server_that_refuses_the_rest_is_asked_for_the_whole(town: Path, cache: Path) -> None:
    """A part that an earlier release left could never be completed, in no later start either."""
    with served(town / "tiles", refuses_range=True) as (address, _):
        file = HttpTiles(address).manifest().tiles[0]
        (cache / "files" / f"{file.sha256}.part").write_bytes(b"x" * 1000)
        assert sha256_of(HttpTiles(address).get(file)) == file.sha256


def test_a_server_that_compresses_tiles_is_named(town: Path, cache: Path) -> None:
    """It was said to break off."""
    with served(town / "tiles") as (address, server):
        file = HttpTiles(address).manifest().tiles[0]
        server.coding = "gzip"
        with pytest.raises(MapError, match=r"the server compresses it \(gzip\): turn that off"):
            HttpTiles(address).get(file)


@pytest.mark.parametrize(
    "wrong",
    [
        "http://[::1:1/tiles?token=SECRET",
        "http://u:se/cret@localhost:1/tiles?token=SECRET",
        "http://localhost:1/t\u00e9s \u00fc?token=SEC RET",
        "http://localhost:1/tiles?token=SEC@RET",
    ],
)
def test_no_message_shows_a_token(cache: Path, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of an address that cannot be read, either, and a token may have any character."""
    monkeypatch.setattr(tile_files, "TILES", replace(TILES, attempts=1))
    with pytest.raises(MapError) as caught:
        HttpTiles(wrong).manifest()
    assert not any(part in str(caught.value) for part in ("SEC", "RET", "cret@", "u:se"))
