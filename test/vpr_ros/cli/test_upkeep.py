"""`vpr map refresh` and `vpr map health` as a user types them: what is printed, and what is said where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpr_ros.drives.bag import write_bag
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap


@pytest.fixture
def street(tmp_path, describer, painted_drive) -> Path:
    """A map of two drives alike."""
    path = tmp_path / "street.vprmap"
    drives = [painted_drive(name, length=60.0, noise=noise) for name, noise in (("monday", 4.0), ("tuesday", 5.0))]
    build_map(path, drives, describer, views_each=1).close()
    return path


def test_a_map_is_refreshed_and_examined(vpr, capsys, tmp_path, street, painted_drive):
    """The whole way: add a drive, compare, replace the map, evaluate on it, and look at its health."""
    write_bag(tmp_path / "new", painted_drive(length=60.0, noise=6.0))
    write_bag(tmp_path / "other", painted_drive(length=60.0, noise=7.0, start=2.0))
    options = ("--looks", 1, "--backend", "onnx", "--held-out", tmp_path / "other")
    assert vpr("map", "refresh", street, tmp_path / "new", *options) == 0
    said = capsys.readouterr()
    assert "places are kept" in said.out and "looks alike" in said.out and "MB became" in said.out
    assert "as it was: recall@1 1.0000" in said.out and "refreshed: recall@1 1.0000" in said.out
    assert "note: only 12 held-out images" in said.err
    with PlaceMap.open(street) as place_map:
        assert len(place_map) < 24
    assert vpr("map", "info", street) == 0
    assert "refreshed      {'looks': 1" in capsys.readouterr().out
    run, out = tmp_path / "run", tmp_path / "health"
    assert vpr("evaluate", street, tmp_path / "other", "-o", run, "--backend", "onnx") == 0
    assert vpr("map", "health", street, run, "-o", out) == 0
    said = capsys.readouterr()
    assert "12 images" in said.out and "drive again:" in said.out and "are not dates" in said.err
    assert json.loads((out / "health.json").read_text())["places"] < 24 and (out / "health.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("refresh", "street.vprmap", "-o", "street.vprmap"), "exists already"),
        (("refresh", "street.vprmap", "--max-loss", "nan"), "--max-loss must be a finite number"),
        (("refresh", "street.vprmap", "--max-loss", "2"), "--max-loss must be at most 1"),
        (("refresh", "none.vprmap"), "no map none.vprmap"),
        (("refresh", "street.vprmap", "nowhere"), "nowhere"),
        (("health", "street.vprmap", "."), "has no recorded answers"),
        (("health", "street.vprmap", "nowhere.answers.jsonl"), "no recorded answers at"),
    ],
)
def test_mistakes_are_one_sentence(monkeypatch, vpr, capsys, street, arguments, sentence):
    """And neither the map nor the folder changes."""
    monkeypatch.chdir(street.parent)
    before = street.read_bytes()
    assert vpr("map", *arguments) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert street.read_bytes() == before and [path.name for path in street.parent.iterdir()] == ["street.vprmap"]
