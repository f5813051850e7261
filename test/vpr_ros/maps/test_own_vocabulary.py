"""Maps of a model with vocabularies: each learns its own, keeps it, and is compared only with maps that share it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import MapError
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import LEAST_IMAGES, with_vocabulary
from vpr_ros.localize.localizer import Localizer
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps import builder, map_file
from vpr_ros.maps.builder import add_drive, build_map
from vpr_ros.maps.editor import merge_maps
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap

MODEL = "demixvpr_lite0"


@pytest.fixture(scope="module")
def lite():
    """The shipped model with a vocabulary, ready to run."""
    return open_describer(MODEL, "onnx", 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory, lite, painted_drive):
    """Two maps of different streets, each with a vocabulary of its own, built once."""
    folder = tmp_path_factory.mktemp("streets")
    for number, name in enumerate(("a.vprmap", "b.vprmap")):
        drive = painted_drive(name=f"street {number}", start=40.0 * number)
        build_map(folder / name, [drive], lite, views_each=1).close()
    return folder


@pytest.fixture
def streets(tmp_path, built):
    """Paths of copies of them."""
    return [Path(shutil.copy(built / name, tmp_path)) for name in ("a.vprmap", "b.vprmap")]


def test_a_map_learns_and_keeps_its_vocabulary(streets, lite, painted_drive):
    """What the map was described with is what the robot describes with, whatever the describer did in between."""
    with PlaceMap.open(streets[0]) as place_map:
        assert len(place_map) >= LEAST_IMAGES and place_map.model.vocabulary not in ("", lite.manifest.vocabulary)
        assert map_info(place_map)["vocabulary"] == place_map.model.vocabulary
        stored = place_map.places.descriptors
        place_map.prepare(lite)
        frames = list(painted_drive(name="street 0"))
        again = lite.describe(np.stack([_input(lite, frame) for frame in frames[:3]])).descriptors
        assert np.allclose(again, stored[:3, 0], atol=2e-3)  # float16
        with PlaceMap.open(streets[1]) as other:
            other.prepare(lite)
        differs = lite.describe(np.stack([_input(lite, frame) for frame in frames[:3]])).descriptors
        assert not np.allclose(differs, stored[:3, 0], atol=0.1)
    with Localizer.open(streets[0], backend="onnx", threads=1) as localizer:
        errors = [
            abs(localizer.localize(frame.load()).matches[0].T_map_camera[0, 3] - frame.T_map_camera[0, 3])
            for frame in painted_drive(start=1.0, noise=10.0)
        ]
    assert np.mean(np.array(errors) < 10) > 0.8


def _input(describer, frame):
    from vpr_ros.base.image import preprocess

    return preprocess(frame.read(), describer.manifest.preprocessing)


def test_adding_takes_the_maps_vocabulary(streets, lite, painted_drive):
    """Places of a later drive are compared with those of the first."""
    with PlaceMap.open(streets[0], writable=True) as place_map:
        before = place_map.model.vocabulary
        lite.vocabulary = lite.own_vocabulary
        assert add_drive(place_map, painted_drive(name="again", start=1.0, noise=5.0), lite).new == 24
        assert lite.vocabulary.fingerprint == before == place_map.model.vocabulary
        descriptors = place_map.places.descriptors[:, 0]
        nearest = (descriptors[24:] @ descriptors[:24].T).argmax(axis=1)
        assert np.mean(np.abs(nearest - np.arange(24)) <= 1) > 0.8


def test_maps_merge_only_with_one_vocabulary(tmp_path, streets, lite, painted_drive):
    """Numbers of two vocabularies look alike and mean nothing to each other."""
    with pytest.raises(MapError, match=r"another vocabulary .* build one of them again with --vocabulary"):
        merge_maps(tmp_path / "both.vprmap", streets)
    with PlaceMap.open(streets[0]) as first:
        first.prepare(lite)
        shared = first.vocabulary
    path = tmp_path / "c.vprmap"
    build_map(path, [painted_drive(name="street 2", start=40.0)], lite, views_each=1, vocabulary=shared).close()
    with merge_maps(tmp_path / "both.vprmap", [streets[0], path]) as merged:
        assert merged.model.vocabulary == shared.fingerprint and merged.vocabulary.fingerprint == shared.fingerprint


def test_a_session_is_compared_with_earlier_maps(tmp_path, streets, lite):
    """Mapping mode beside an earlier map describes its keyframes as that map was."""
    with PlaceMap.open(streets[0]) as first:
        wanted = first.model.vocabulary
    session = tmp_path / "day.vprmap"
    LoopCloser.open(session, [streets[0]], backend="onnx").close()
    with PlaceMap.open(session) as made:
        assert made.model.vocabulary == wanted
    LoopCloser.open(session, backend="onnx").close()  # and goes on so without it
    with pytest.raises(MapError, match="another vocabulary"):
        LoopCloser.open(session, [streets[1]], backend="onnx")
    with pytest.raises(MapError, match="another vocabulary"):
        LoopCloser.open(tmp_path / "new.vprmap", streets, backend="onnx")


def test_few_images_and_no_earlier_map_take_the_models_own(tmp_path, lite, painted_drive):
    """Nothing is stored then: every copy of the model has it."""
    with build_map(tmp_path / "short.vprmap", [painted_drive(length=20.0)], lite) as place_map:
        assert place_map.model.vocabulary == "" and place_map.vocabulary is None
        assert map_info(place_map)["vocabulary"] == "none of its own"
    assert with_vocabulary(lite) is lite


@pytest.mark.parametrize("change", ["DELETE FROM vocabulary", "UPDATE vocabulary SET data = x'00'"])
def test_a_damaged_vocabulary_is_one_sentence(streets, change):
    """A map file is untrusted."""
    with sqlite3.connect(streets[0]) as connection:
        connection.execute(change)
    with pytest.raises(MapError, match="corrupt"):
        Localizer.open(streets[0], backend="onnx")


def test_a_vocabulary_of_another_map_is_noticed(streets):
    """Someone exchanged the vocabularies of two maps: without an error no descriptor would match."""
    with sqlite3.connect(streets[1]) as connection:
        (other,) = connection.execute("SELECT data FROM vocabulary").fetchone()
    with sqlite3.connect(streets[0]) as connection:
        connection.execute("UPDATE vocabulary SET data = ?", (other,))
    with pytest.raises(MapError, match="not the one that its descriptors were made with"):
        Localizer.open(streets[0], backend="onnx")


def test_no_vocabulary_is_learnt_for_a_path_that_cannot_be_written(tmp_path, lite, painted_drive, monkeypatch):
    """Learning takes minutes on long drives, and SQLite only says that it cannot open the file."""
    monkeypatch.setattr(builder, "learn_vocabulary", lambda *_: pytest.fail("it was learnt"))
    with pytest.raises(MapError, match="none does not exist"):
        build_map(tmp_path / "none" / "m.vprmap", [painted_drive()], lite)
    monkeypatch.setattr(map_file.os, "access", lambda path, wanted: False)
    with pytest.raises(MapError, match="you may not write to the folder"):
        build_map(tmp_path / "m.vprmap", [painted_drive()], lite)
