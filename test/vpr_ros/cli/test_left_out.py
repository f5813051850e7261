"""Jobs that fail: what they left out until then is said all the same, and no empty folder stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from vpr_ros.cli import common, maps
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.tiles import write_tiles


@pytest.fixture
def vpr(vpr: Callable[..., int]) -> Callable[..., int]:
    """As everywhere, with ONNX Runtime."""
    return lambda *arguments: vpr(*arguments, "--backend", "onnx")


def walk(folder: Path, painted_drive, start: float, unreadable: int, late_s: int = 0) -> Path:
    """Six images 5 m apart, the first few cut short; late_s: by how much the images' clock is ahead of the poses'."""
    folder.mkdir()
    rows = ["stamp,x,y,yaw"]
    for i in range(6):
        image = folder / f"{1_700_000_000 + i + late_s}.png"
        cv2.imwrite(str(image), painted_drive().image(start + 5.0 * i)[:, :, ::-1])
        rows.append(f"{1_700_000_000 + i},{start + 5.0 * i},0,0")
        if i < unreadable:
            image.write_bytes(b"cut")
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def drives(tmp_path, painted_drive) -> dict[str, Path]:
    return {
        "half": walk(tmp_path / "half", painted_drive, 0.0, 3),
        "none": walk(tmp_path / "none", painted_drive, 200.0, 6),
        "far": walk(tmp_path / "far", painted_drive, 9000.0, 3),
        "late": walk(tmp_path / "late", painted_drive, 0.0, 0, 37),
    }


def test_a_later_drive_that_fails_hides_nothing(drives, tmp_path, vpr, capsys):
    """A map of three stayed, and that three more could not be read was never said."""
    path = tmp_path / "m.vprmap"
    assert vpr("map", "build", drives["half"], drives["none"], "-o", path) == 1
    assert "9 image(s) left out: they cannot be read" in (said := capsys.readouterr().err)
    assert "keeps the 3 places so far" in said
    assert vpr("map", "add", path, drives["far"], drives["none"]) == 1
    assert "9 image(s) left out: they cannot be read" in capsys.readouterr().err
    assert vpr("map", "calibrate", path, walk_apart := drives["none"].rename(tmp_path / "apart")) == 1
    assert f"6 image(s) left out: they cannot be read or described (the first: {walk_apart}" in capsys.readouterr().err
    out = tmp_path / "runs" / "out"
    assert vpr("evaluate", path, drives["half"], walk_apart, "-o", out) == 1
    assert "3 image(s) left out: they cannot be read" in (said := capsys.readouterr().err)
    assert "no frame of the drive apart can be read" in said and not out.parent.exists()


def test_thinned_drives_without_a_pose_say_from_when_to_when(drives, tmp_path, vpr, capsys):
    """ "Has no frames" was said of a drive with six images, all of another time than its poses."""
    path, out = tmp_path / "m.vprmap", tmp_path / "out"
    assert vpr("map", "build", drives["half"], "-o", path) == 0
    capsys.readouterr()
    out.mkdir()
    assert vpr("evaluate", path, drives["late"], "--every", "5", "-o", out) == 1
    said = capsys.readouterr().err
    assert "drive late has no usable images: 6 image(s) left out: no pose at their time" in said
    assert "22:13:57" in said and "22:14:02" in said and "22:13:20" in said
    assert out.is_dir()  # it was there before


@pytest.mark.parametrize("name", ["2014-05-06", "5", "2014-13-40", "yes", "a: b", "null"])
def test_a_name_is_text(drives, tmp_path, vpr, capsys, name):
    """YAML reads a date or a number in many a name."""
    assert vpr("map", "build", drives["half"], "-o", tmp_path / "m.vprmap", "-d", f"name={name}") == 0
    assert vpr("map", "add", tmp_path / "m.vprmap", drives["half"]) == 0
    assert f"{name}: 0 new places, 3 already in the map" in capsys.readouterr().out


def test_a_drive_above_is_called_as_its_folder(drives, tmp_path, monkeypatch, vpr, capsys):
    """`vpr map build ..` called it "..", which says nothing next year."""
    (drives["half"] / "maps").mkdir()
    monkeypatch.chdir(drives["half"] / "maps")
    assert vpr("map", "build", "..", "-o", "m.vprmap") == 0
    assert vpr("map", "add", "m.vprmap", "..") == 0
    assert "half: 0 new places, 3 already in the map" in capsys.readouterr().out


def test_a_second_evaluation_replaces_the_first(drives, tmp_path, vpr, capsys):
    """The report was the new one, and the answers of the first stayed beside it: `vpr map health` counted both."""
    path, out = tmp_path / "m.vprmap", tmp_path / "out"
    assert vpr("map", "build", drives["half"], "-o", path) == 0
    assert vpr("evaluate", path, drives["half"], "-o", out) == 0
    first = {file.name for file in out.rglob("half*")}
    assert {"half.csv", "half.answers.jsonl", "half_true.tum", "half_map.png"} <= first
    capsys.readouterr()
    (out / "notes.csv").write_text("mine")
    (out / "robot.answers.jsonl").write_text("recorded by a node")
    assert vpr("evaluate", path, drives["half"], "-o", out, "-d", "name=later") == 0
    assert f"{out} had results of half, which these replace" in capsys.readouterr().err
    assert not list(out.rglob("half*"))
    assert {file.name.replace("later", "half") for file in out.rglob("later*")} == first
    assert (out / "notes.csv").is_file() and (out / "robot.answers.jsonl").is_file()  # whatever else lies there stays


def test_a_tile_that_is_missing_is_in_the_results(drives, tmp_path, vpr, caplog):
    """The terminal said it once, in passing; who reads the figures next week must see it."""
    path, tiles, out = tmp_path / "m.vprmap", tmp_path / "tiles", tmp_path / "out"
    assert vpr("map", "build", drives["half"], drives["far"], "-o", path) == 0
    with PlaceMap.open(path) as whole:
        write_tiles(whole, tiles, 50.0)
    assert vpr("evaluate", tiles, drives["half"], "-o", out) == 0
    assert not json.loads((out / "results.json").read_text())["warning"]
    missing = sorted(tiles.glob("tile_*"))[0]
    missing.unlink()
    assert vpr("evaluate", tiles, drives["half"], "-o", out) == 0
    warning = json.loads((out / "results.json").read_text())["warning"]
    assert "comparisons with places were left out" in warning and missing.name in warning
    assert warning in caplog.text and missing.name in (out / "report.html").read_text()


def test_results_need_a_folder(drives, tmp_path, vpr, capsys):
    """ "File exists" said neither what was wrong nor what to do."""
    path, file = tmp_path / "m.vprmap", tmp_path / "results"
    assert vpr("map", "build", drives["half"], "-o", path) == 0
    file.write_text("mine")
    for output in (file, file / "run"):
        assert vpr("evaluate", path, drives["half"], "-o", output) == 1
        assert f"{output} cannot be a folder for the results: a file is in the way" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_numbered_maps_and_other_drives_say_what_to_give(drives, tmp_path, vpr, capsys):
    """Without --numbered a drive with poses was told to say that these are frame numbers, one without got no hint."""
    path, out, posed = tmp_path / "m.vprmap", tmp_path / "out", tmp_path / "posed.vprmap"
    (drives["half"] / "poses.csv").unlink()
    assert vpr("map", "build", drives["half"], "--numbered", "--every", "1", "-o", path) == 0
    assert vpr("evaluate", path, drives["half"], "-o", out) == 0
    assert "the places of this map are frame numbers: give --numbered" in capsys.readouterr().err
    assert vpr("map", "add", path, drives["far"]) == 1
    assert "its places are frame numbers, so give --numbered" in capsys.readouterr().err
    assert vpr("map", "build", drives["far"], "-o", posed) == 0
    assert vpr("map", "add", posed, drives["half"], "--numbered") == 1
    assert "leave out --numbered" in capsys.readouterr().err


def test_a_drive_that_stands_is_one_place_and_says_so(drives, tmp_path, vpr, capsys):
    """Six images of one position, or poses in kilometres, became a map of one place without a word."""
    rows = [f"{1_700_000_037 + i},0,{0.001 * i},0" for i in range(6)]
    (drives["late"] / "poses.csv").write_text("\n".join(["stamp,x,y,yaw", *rows]) + "\n")
    assert vpr("map", "build", drives["late"], "-o", tmp_path / "m.vprmap") == 0
    assert "all poses of the drive lie closer together than places do" in capsys.readouterr().err


def test_a_log_shows_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A build of hours in a batch job wrote nothing until its end."""
    monkeypatch.setattr(common, "_LINE_S", 0.0)
    with common.progress_bar("building") as progress:
        progress(1, 4)
        progress(4, 4)
    said = capsys.readouterr().err
    assert "building: 1 of 4, 0:00:00 left\n" in said and said.endswith("building: done, 4\n")


def test_an_add_that_is_interrupted_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended without a word, and half a drive was in the map."""
    (tmp_path / "town.vprmap").touch()
    with pytest.raises(KeyboardInterrupt), maps.interruptible(tmp_path / "town.vprmap", "give the same again"):
        raise KeyboardInterrupt
    assert "holds the places so far; give the same again" in capsys.readouterr().err
