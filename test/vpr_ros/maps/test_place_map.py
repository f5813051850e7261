"""A map is weeks of somebody's driving: it must survive kills, refuse strangers and never answer from rubbish."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest

from vpr_ros.base.errors import ConfigError, DriveError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.index import Index, cache_path
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import MapModel, PlaceMap, Refreshed

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def town(tmp_path, toy_world) -> PlaceMap:
    """A map of the toy world's 80 places."""
    places = toy_world.places()
    place_map = PlaceMap.create(tmp_path / "town.vprmap", MODEL, "toy")
    with place_map.together():
        for row in range(len(places)):
            place_map.add(
                "reference", int(places.stamps_ns[row]), places.T_map_camera[row], places.descriptors[row], b"jpeg"
            )
    return place_map


def test_what_goes_in_comes_out(town, toy_world):
    """Poses to numerical precision, descriptors bit for bit, order kept."""
    expected = toy_world.places()
    with PlaceMap.open(town.path) as opened:
        assert opened.model == MODEL
        assert opened.places.T_map_camera == pytest.approx(expected.T_map_camera, abs=1e-9)
        assert np.array_equal(opened.places.descriptors, expected.descriptors)
        assert np.array_equal(opened.places.stamps_ns, expected.stamps_ns)
        assert opened.thumbnail(1) == b"jpeg"
        assert opened.places.spacing == pytest.approx(5.0, abs=0.1)


def test_another_model_is_refused_with_what_to_do(town):
    with pytest.raises(MapError, match="build the map again"):
        town.check_model("other", "0" * 64)
    with pytest.raises(DriveError, match="only drives of one world"):
        town.check_world("d", "elsewhere")


def test_another_map_that_is_copied_over_one_in_use_is_not_mixed_with_it(town, tmp_path, toy_world):
    """Features of other places, at the poses that were read before, would give a sure and wrong pose."""
    places, ids = toy_world.places(), town.places.ids
    with PlaceMap.create(tmp_path / "new.vprmap", MODEL, "toy") as new, new.together():
        for row in range(1, len(places)):  # such as of the same drive, cut at its start
            new.add("reference", int(places.stamps_ns[row]), places.T_map_camera[row], places.descriptors[row], b"new")
    before = PlaceMap.open(town.path)
    assert len(before.places) == len(ids) and before.thumbnail(7) == b"jpeg"
    shutil.copyfile(tmp_path / "new.vprmap", town.path)
    for read in (before.thumbnail, before.features, lambda place_id: before.descriptors_of(np.array([place_id]))):
        with pytest.raises(MapError, match="another map was copied over"):
            read(7)
    with pytest.raises(MapError, match="another map was copied over"):  # it was fitted to the other one
        before.set_calibration(Calibration(source="a drive"))
    with PlaceMap.open(town.path) as after:
        assert after.thumbnail(7) == b"new" and after.calibration.source == Calibration().source


@pytest.mark.skipif(sys.version_info < (3, 11), reason="SQLite's reason is not known")
def test_a_map_that_is_replaced_while_it_is_written_is_named(town, toy_world):
    """`rm town.vprmap` or a second demo while one builds: SQLite calls that a readonly database."""
    town.path.rename(town.path.with_name("moved.vprmap"))
    with pytest.raises(MapError, match="it was deleted, moved or replaced meanwhile"):
        town.add("later", 1, toy_world.pose(1.0), toy_world.descriptor(1.0))


def test_places_that_are_added_or_gone_are_no_other_map(town, toy_world):
    """`vpr map add` and `vpr map refresh` while a node uses the map."""
    places = toy_world.places()
    with PlaceMap.open(town.path) as used, PlaceMap.open(town.path, writable=True) as other:
        ids = used.places.ids
        other.add("later", 1, places.T_map_camera[0], places.descriptors[0], b"later")
        other.keep(np.append(ids[1:], ids[-1] + 1), Refreshed(1, len(ids), 1, 0))
        assert used.thumbnail(ids[0]) is None and used.thumbnail(ids[1]) == b"jpeg"
        assert used.thumbnail(ids[-1] + 1) == b"later"


def test_an_existing_map_is_never_overwritten(town):
    with pytest.raises(MapError, match="exists already"):
        PlaceMap.create(town.path, MODEL, "toy")
    with pytest.raises(MapError, match=r"is a folder: give the name of a file, such as .*town\.vprmap$"):
        PlaceMap.create(town.path.parent, MODEL, "toy")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "other database", "bad pose"])
def test_a_corrupt_map_is_one_sentence_and_stays_as_it_is(town, damage):
    """Whatever is in the file: a MapError that names it, and not a byte of it changed."""
    import sqlite3

    town.close()
    path = town.path
    if damage in ("empty", "text"):
        path.write_bytes(b"" if damage == "empty" else b"not a map at all\n" * 100)
    elif damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "other database":
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE songs (name TEXT)")
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE places SET pose = zeroblob(3) WHERE id = 5")
    before = path.read_bytes()
    with pytest.raises(MapError, match=r"town\.vprmap"), PlaceMap.open(path) as opened:
        _ = opened.places
    assert path.read_bytes() == before


def test_a_missing_map_says_how_to_build_one(tmp_path):
    with pytest.raises(MapError, match="vpr map build"):
        PlaceMap.open(tmp_path / "none.vprmap")


def test_places_added_together_are_stored_together(town, toy_world):
    """One transaction: all of them, or after a mistake none; and the map goes on growing."""
    pose, descriptor = toy_world.pose(1.0), toy_world.descriptor(1.0)
    before = town.revision
    with town.together():
        for stamp_ns in (1, 2, 3):
            town.add("batch", stamp_ns, pose, descriptor)
    assert set(town.stamps_of("batch")) == {1, 2, 3} and town.revision == before + 1 and len(town.places) == 83

    def add_twice() -> None:
        with town.together():
            town.add("batch", 4, pose, descriptor)
            town.add("batch", 4, pose, descriptor)

    with pytest.raises(MapError, match="cannot write the map"):
        add_twice()
    assert set(town.stamps_of("batch")) == {1, 2, 3}
    town.add("batch", 5, pose, descriptor)
    assert set(town.stamps_of("batch")) == {1, 2, 3, 5}


def test_places_that_are_no_places_are_refused(town, toy_world):
    """Neither NaN poses nor foreign descriptors get in, and a refused place leaves no trace."""
    pose, descriptor = toy_world.pose(1.0), toy_world.descriptor(1.0)
    for bad_pose, bad_descriptor in (
        (np.full((4, 4), np.nan), descriptor),
        (pose, descriptor[:10]),
        (pose, np.full(64, np.nan, np.float32)),
    ):
        with pytest.raises(MapError):
            town.add("reference", 1, bad_pose, bad_descriptor)
    with pytest.raises(MapError):  # the same drive and stamp twice
        town.add("reference", 0, pose, descriptor)
    assert len(town) == 80


def test_calibration_is_kept_with_the_map(town):
    town.set_calibration(Calibration(slope=7.0, source="dusk"))
    with PlaceMap.open(town.path) as opened:
        assert opened.calibration == Calibration(slope=7.0, source="dusk")
    with pytest.raises(MapError, match="calibrate"):
        Calibration.from_dict({"slope": float("nan")})
    with pytest.raises(MapError, match="calibrate"):
        Calibration.from_dict({"slop": 1.0})


@pytest.mark.parametrize("text", ["{broken", "null", '{"temperature": NaN}', '{"unknown": 1}'])
def test_a_damaged_calibration_can_be_fitted_again(town, text):
    """The map could not be opened at all: `vpr map calibrate`, which the error named, gave the same error."""
    path = town.path
    town.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'calibration'", (text,))
    connection.close()
    with PlaceMap.open(path, writable=True) as place_map:
        assert "run `vpr map calibrate` again" in map_info(place_map)["calibrated_on"]
        with pytest.raises(MapError, match="calibration cannot be read"):
            _ = place_map.calibration
        place_map.set_calibration(Calibration(source="friday"))
    with PlaceMap.open(path) as place_map:
        assert place_map.calibration.source == "friday"


def test_a_closed_map_is_not_called_corrupt(town):
    """ "Build it again", said a healthy file after its with block."""
    town.close()
    with pytest.raises(MapError, match="is closed: open it again"):
        len(town)


def test_large_coordinates_get_an_origin(tmp_path, toy_world):
    """UTM coordinates lose centimetres in 32-bit viewers: the map keeps small numbers and remembers its origin."""
    with PlaceMap.create(tmp_path / "utm.vprmap", MODEL, "utm 30N", np.array([620000.0, 5735700.0, 0.0])) as place_map:
        world = toy_world.pose(10.0)
        world[:3, 3] += [620000.0, 5735700.0, 100.0]
        assert place_map.map_pose(world)[:3, 3] == pytest.approx(toy_world.pose(10.0)[:3, 3] + [0, 0, 100.0])


def test_places_come_in_pieces(town):
    """A map of any size can be read with little memory: together the pieces are the map, from any place on."""
    with town.together():
        for stamp in range(2000):
            town.add("long", stamp, np.eye(4), np.full(64, stamp, np.float32))
    found = list(town.pieces())
    assert len(found) == 3 and np.array_equal(np.concatenate([piece.ids for piece in found]), np.arange(1, 2081))
    assert np.array_equal(np.concatenate([piece.descriptors for piece in found]), town.places.descriptors)
    (part,) = town.pieces(after=79, last=82)
    assert part.ids.tolist() == [80, 81, 82] and part.drives.tolist() == ["reference", "long", "long"]


def test_features_are_stored_with_their_place(town, toy_world):
    """In maps from before there were features too, and with the place or not at all."""
    assert town.features(1) is None
    place_id = town.add("reference", 1, toy_world.pose(1.0), toy_world.descriptor(1.0), features=b"seen")
    with PlaceMap.open(town.path) as opened:
        assert opened.features(place_id) == b"seen" and opened.features(1) is None and len(opened.places) == 81
    with pytest.raises(MapError):
        town.add("reference", 1, toy_world.pose(1.0), toy_world.descriptor(1.0), features=b"twice")
    assert town.features(place_id) == b"seen"


def test_a_map_is_made_whole_or_not_at_all(tmp_path):
    """A start that fails leaves nothing that the next start would stumble over."""
    with pytest.raises(MapError, match="does not exist"):
        PlaceMap.create(tmp_path / "nowhere" / "a.vprmap", MODEL, "toy")
    (tmp_path / "long").mkdir()
    with pytest.raises(MapError, match="cannot write the map"):
        PlaceMap.create(tmp_path / "long" / ("a" * 254), MODEL, "toy")
    assert not list((tmp_path / "long").iterdir())


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from vpr_ros.base.image import Preprocessing
from vpr_ros.maps.place_map import MapModel, PlaceMap
place_map = PlaceMap.create(Path(sys.argv[1]), MapModel("toy", "f" * 64, 64, Preprocessing(32, 32)), "toy")
for stamp in range(100000):
    place_map.add("drive", stamp, np.eye(4), np.ones(64, np.float32), b"x" * 5000)
    print(stamp, flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_kill_loses_at_most_the_keyframe_being_written(tmp_path, attempt):
    """kill -9 in the middle of building: every place reported as written is there, and the map goes on growing."""
    path = tmp_path / "killed.vprmap"
    environment = processes.environment()
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert writer.stdout is not None
    last = -1
    for line in writer.stdout:
        last = int(line)
        if last >= 20 + 7 * attempt:
            break
    time.sleep(0.003 * attempt)
    writer.send_signal(signal.SIGKILL)
    written = last + sum(1 for _ in writer.stdout)
    writer.wait()
    with PlaceMap.open(path, writable=True) as place_map:
        assert written + 1 <= len(place_map) <= written + 2
        assert np.array_equal(place_map.places.stamps_ns, np.arange(len(place_map)))
        place_map.add("drive", 10**6, np.eye(4), np.ones(64, np.float32))


def test_the_index_is_a_cache(town, toy_world):
    """Used when fresh, rebuilt when stale, damaged or missing, done without where nothing can be written."""
    town.places  # noqa: B018
    Index.of_map(town)
    path = cache_path(town.path)
    first = path.read_bytes()
    town.add("second", 5, toy_world.pose(2.0), toy_world.descriptor(2.0))
    assert len(Index.of_map(town)) == 81  # stale
    assert path.read_bytes() != first
    path.write_bytes(first[:100])
    assert len(Index.of_map(town)) == 81  # damaged
    similarities, rows = Index.of_map(town).search(toy_world.descriptor(2.0), 5)
    assert rows[0] == 80
    assert similarities[0] == pytest.approx(1.0, abs=1e-5)
    assert np.all(np.diff(similarities) <= 0)


def test_an_index_is_of_the_places_that_were_read(town, toy_world):
    """`vpr map add` while a node opens the map: a place that is found is one that the node has."""
    with PlaceMap.open(town.path) as opened:
        assert len(opened.places) == 80
        town.add("second", 5, toy_world.pose(2.0), toy_world.descriptor(2.0))
        for _ in ("built", "from the cache"):
            index = Index.of_map(opened)
            assert len(index) == 80
            assert index.search(toy_world.descriptor(2.0), 100)[1].max() < len(opened.places)


def test_an_index_that_faiss_does_not_know_is_a_sentence(town):
    with pytest.raises(ConfigError, match="try Flat"):
        Index.of_map(town, "Flatt")


@pytest.mark.parametrize("factory", ["SQ8", "HNSW16"])
def test_smaller_indexes_find_the_same(town, toy_world, factory):
    """The indexes offered for large maps agree with the exact one on clear cases."""
    index = Index.build(town.places.descriptors, factory)
    for along in (10.0, 200.0, 305.0):
        assert index.search(toy_world.descriptor(along), 3)[1][0] == along // 5


def test_a_place_is_as_similar_as_the_best_of_its_views(tmp_path, toy_world):
    """Views must never make one place two answers, nor hide a place that only a side view shows."""
    model = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32), views=3)
    with PlaceMap.create(tmp_path / "views.vprmap", model, "toy") as place_map:
        for row in range(40):
            seen = np.stack([toy_world.descriptor(row * 5.0 + shift) for shift in (0.0, 100.0, 200.0)])
            place_map.add("reference", row, toy_world.pose(row * 5.0), seen)
        with pytest.raises(MapError, match="descriptors of toy"):
            place_map.add("reference", 99, toy_world.pose(1.0), seen[0])
        assert place_map.places.descriptors.shape == (40, 3, 64)
        for _ in ("built", "from the cache"):
            index = Index.of_map(place_map)
            assert len(index) == 40
            similarities, rows = index.search(toy_world.descriptor(110.0), 10)
            assert {2, 22} <= set(rows[:8].tolist()) and len(set(rows.tolist())) == len(rows) == 10
            assert np.all(np.diff(similarities) <= 0)


def test_what_is_no_map_is_called_so(tmp_path: Path) -> None:
    """An empty file is what a full disk leaves, a folder what a slip of the finger names: neither is a busy map."""
    (tmp_path / "empty.vprmap").touch()
    with pytest.raises(MapError, match="is empty, or not a map"):
        PlaceMap.open(tmp_path / "empty.vprmap")
    with pytest.raises(MapError, match="is a folder"):
        PlaceMap.open(tmp_path)
