"""`vpr map` on the command line: what a user types after a session, and what is said where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.evaluation.output import write_tum
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps.place_map import MapModel, PlaceMap

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
SECOND = 1_000_000_000


@pytest.fixture
def session(tmp_path, toy_world) -> tuple[Path, Path]:
    """A session of ten keyframes, and the base's trajectory for eight of them."""
    path, track = tmp_path / "session.vprmap", tmp_path / "optimised.tum"
    with KeyframeStore.grow(path, MODEL) as store:
        for second in range(10):
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([1.1 * second, 0.0, 1.5]))
            store.add("session-1", second * SECOND, T, toy_world.descriptor(second))
    write_tum(track, ((s * SECOND, geometry.transform(np.eye(3), np.array([s, 0.0, 0.0]))) for s in range(8)))
    return path, track


@pytest.mark.parametrize("camera_pose", ["0.5 0 1.5 0 0 0", "[0.5, 0, 1.5, 0, 0, 0]"])
def test_a_session_becomes_a_map(vpr, capsys, session, camera_pose):
    """The camera's pose as the node's parameter, what is left out is counted, and info shows the result."""
    path, track = session
    new = path.with_name("town.vprmap")
    assert vpr("map", "set-poses", path, track, "-o", new, "--camera-pose", camera_pose) == 0
    assert "8 places have poses in 'map'" in (said := capsys.readouterr().out) and "2 places of" in said
    with PlaceMap.open(new) as place_map:
        np.testing.assert_allclose(place_map.places.positions[3], [3.5, 0.0, 1.5], atol=1e-9)
    assert vpr("map", "info", new) == 0
    assert "local_features none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--camera-pose", "1 2 3"], "--camera-pose is '1 2 3'; give x y z"),
        (["--camera-pose", "0 0 1 0 0 90"], "--camera-pose has an angle of 90, and its angles are in radians"),
        (["--camera-pose", "0.5 0 1.5 0 0 0"], "give -o to write a new map without them"),
        (["-o", "new.vprmap"], "give --camera-pose if they are of the robot's base"),
        (["--max-gap", "nan"], "--max-gap must be a finite number"),
    ],
)
def test_mistakes_with_poses_are_one_sentence(monkeypatch, vpr, capsys, session, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    before = session[0].read_bytes()
    assert vpr("map", "set-poses", *session, *arguments) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said and session[0].read_bytes() == before and not Path("new.vprmap").exists()


def test_local_features_of_a_drive_without_a_camera(vpr, capsys, tmp_path, painted_drive):
    """A bag without camera_info: said at once, and no map left behind; with one, info tells the kind."""
    import dataclasses

    from vpr_ros.base.camera import Intrinsics
    from vpr_ros.drives.bag import write_bag

    class Calibrated(painted_drive):
        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, intrinsics=Intrinsics.pinhole(160, 120, 120.0))

    write_bag(tmp_path / "blind", painted_drive(length=20.0))
    write_bag(tmp_path / "seeing", Calibrated(length=20.0))
    path = tmp_path / "m.vprmap"
    build = ("map", "build", "-o", path, "--backend", "onnx", "--local-features", "sift")
    assert vpr(*build, tmp_path / "blind") == 1
    assert "drive blind has no camera intrinsics" in capsys.readouterr().err and not path.exists()
    assert vpr(*build, tmp_path / "seeing") == 0
    assert vpr("map", "info", path) == 0
    assert "local_features sift, of 4 places" in capsys.readouterr().out


def test_a_map_is_cut_into_tiles(vpr, capsys, session, tmp_path):
    """What was made and how large it is; the folder is a map for the commands that read one; wrong sizes leave none."""
    path, _ = session
    assert vpr("map", "tile", path, "-o", tmp_path / "tiles", "--cell", 50) == 0
    assert "10 places in 1 tiles of at most" in capsys.readouterr().out
    assert vpr("map", "info", tmp_path / "tiles") == 0
    assert "1 of 50 m" in (said := capsys.readouterr().out) and "{'session-1': 10}" in said
    assert vpr("map", "tile", path, "-o", tmp_path / "small", "--cell", 1) == 1
    assert "choose 50 to 100000 metres" in capsys.readouterr().err and not (tmp_path / "small").exists()


def test_a_map_keeps_its_descriptors_when_only_the_pictures_go(
    session: tuple[Path, Path], vpr: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """`upgrade --no-thumbnails` turned one bit a number into eight, and nothing said so."""
    path, _ = session
    assert vpr("map", "upgrade", path, "--descriptors", "bit") == 0
    assert vpr("map", "upgrade", path, "--no-thumbnails") == 0
    with PlaceMap.open(path) as place_map:
        assert (place_map.storage.descriptors, place_map.storage.thumbnails) == ("bit", False)
    assert vpr("map", "upgrade", path, "--descriptors", "float32") == 1
    assert "what is lost does not come back" in capsys.readouterr().err
