"""What a map's keeper reads before sending a robot out again: it must name the right streets, and invent none."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Hypothesis
from vpr_ros.evaluation import health
from vpr_ros.evaluation.health import LOST, OFF_MAP, OLD, TWINS, Health, examine, stretches
from vpr_ros.evaluation.health_picture import draw_health
from vpr_ros.evaluation.record import Answer, Run
from vpr_ros.maps.place_map import MapModel, PlaceMap, session_world

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
DATE_NS, DAY_NS, SECOND = 1_700_000_000 * 10**9, 86_400 * 10**9, 10**9
ORIGIN = np.array([1000.0, 0.0, 0.0])


@pytest.fixture
def place_map(tmp_path, toy_world):
    """A round; its second half was driven again a year later."""
    made = PlaceMap.create(tmp_path / "town.vprmap", MODEL, "town", ORIGIN)
    with made, made.together():
        for drive, rows, day in (("old", range(80), 0), ("new", range(40, 80), 365)):
            for k in rows:
                stamp_ns = DATE_NS + day * DAY_NS + k * SECOND
                made.add(drive, stamp_ns, toy_world.pose(5.0 * k), toy_world.descriptor(5.0 * k, 0.1, k + day))
        yield made


def answer(number: int, T_true, T_answer, probability: float = 0.95, day: int = 365) -> Answer:
    hypotheses = () if T_answer is None else (Hypothesis(T_answer, np.eye(6), probability, ()),)
    stamp_ns = DATE_NS + day * DAY_NS + number * SECOND
    return Answer(stamp_ns, number, T_true, hypotheses=hypotheses, off_map_probability=1 - probability)


def run(toy_world, place_map, truth: bool = True, lost: range = range(20, 26), day: int = 365) -> Run:
    """A round; images 20 to 25, at 100 to 125 m, got no sure pose."""
    answers = []
    for k in range(80):
        T = toy_world.pose(5.0 * k)
        answers.append(answer(k, T if truth else None, T, 0.3 if k in lost else 0.95, day))
    return Run("monday", "monday", tuple(answers), place_map.whereabouts.T_map_camera)


@pytest.mark.parametrize("truth", [True, False])
def test_where_robots_got_lost(place_map, toy_world, truth):
    """With true poses, and on a robot without any: there, between the last sure pose and the next one."""
    found = examine(place_map, [run(toy_world, place_map, truth)])
    (stretch,) = found.of(LOST)
    assert stretch.count == 6 and 20 < stretch.length_m < 27
    middle = (np.array(stretch.start) + stretch.end) / 2
    assert np.linalg.norm(middle - toy_world.pose(112.5)[:2, 3] - ORIGIN[:2]) < 3.0
    assert found.runs[0].sure == 74 and found.runs[0].lost == 6 and stretch in found.drive_again


def test_a_wrong_pose_is_lost_however_sure(place_map, toy_world):
    given = run(toy_world, place_map, lost=range(0))
    wrong = replace(given.answers[50], hypotheses=(Hypothesis(toy_world.pose(100.0), np.eye(6), 0.99, ()),))
    given = replace(given, answers=(*given.answers[:50], wrong, *given.answers[51:]))
    assert [stretch.count for stretch in examine(place_map, [given]).of(LOST)] == [1]


def test_off_the_map_is_not_lost(place_map, toy_world):
    """A detour where the map has no place: something to drive, but nothing is wrong with the map."""
    given = run(toy_world, place_map, lost=range(0))
    away = np.array(toy_world.pose(0.0))
    away[:2, 3] += 300.0
    given = replace(given, answers=(*given.answers, answer(80, away, None), answer(81, away, None)))
    found = examine(place_map, [given])
    assert [s.count for s in found.of(OFF_MAP)] == [2] and not found.of(LOST) and found.runs[0].off_map == 2


def test_images_that_nobody_can_place_are_counted(place_map, toy_world):
    """Lost from the start, without true poses: not drawn anywhere, and said."""
    found = examine(place_map, [run(toy_world, place_map, truth=False, lost=range(0, 10))])
    assert found.runs[0].unplaced == 10 and any("10 image(s) without" in note for note in found.notes)


def test_places_not_seen_lately(place_map, toy_world):
    """The half that was driven a year ago; a robot that recognises it has seen it."""
    (stretch,) = examine(place_map, []).of(OLD)
    assert 36 <= stretch.count <= 40
    assert not examine(place_map, [], days=400.0).of(OLD)
    assert not examine(place_map, [run(toy_world, place_map, lost=range(0))]).of(OLD)
    assert examine(place_map, [run(toy_world, place_map, lost=range(0), day=0)]).of(OLD)


def test_stamps_that_are_no_dates_are_said(tmp_path, toy_world):
    made = PlaceMap.create(tmp_path / "b.vprmap", MODEL, "town")
    with made:
        with made.together():
            for k in range(10):
                made.add("a", k, toy_world.pose(5.0 * k), toy_world.descriptor(5.0 * k))
        found = examine(made, [])
        assert not found.of(OLD) and any("are not dates" in note for note in found.notes)


def test_twins_far_apart(place_map, toy_world):
    """Two equal houses at 60 m and 260 m are found, from both sides, and nothing else is."""
    assert not examine(place_map, []).of(TWINS)
    rows = [k for k in range(80) if k in (12, 13)]
    with place_map.together():
        for k in rows:
            blob = toy_world.descriptor(5.0 * (k + 40), 0.0).astype("<f4").tobytes()
            place_map._connection.execute("UPDATE places SET descriptor = ? WHERE id = ?", (blob, k + 1))
    found = examine(place_map, []).of(TWINS)
    ends = [stretch.start for stretch in found]
    for along in (60.0, 260.0):
        assert any(np.linalg.norm(toy_world.pose(along)[:2, 3] + ORIGIN[:2] - end) < 12.0 for end in ends), along
    assert "looks like (" in found[0].note


def test_a_large_map_is_sampled(place_map, monkeypatch):
    """And it says so."""
    monkeypatch.setattr(health, "SAMPLE", 30)
    found = examine(place_map, [])
    assert found.sampled == 30 and any("30 of 120 places were compared" in note for note in found.notes)


def test_a_run_on_another_map_is_refused(place_map, toy_world):
    """Its positions would be nonsense here."""
    other = np.array(place_map.whereabouts.T_map_camera)
    other[:, 0, 3] += 5000.0
    with pytest.raises(DriveError, match="the run monday was recorded on another map"):
        examine(place_map, [replace(run(toy_world, place_map), T_map_places=other)])


def test_maps_that_cannot_be_examined(tmp_path, toy_world):
    with PlaceMap.create(tmp_path / "a.vprmap", MODEL, "town") as empty, pytest.raises(MapError, match="no places"):
        examine(empty, [])
    session = PlaceMap.create(tmp_path / "b.vprmap", MODEL, session_world("b"), is_odometry=True)
    with session, pytest.raises(MapError, match="raw odometry"):
        examine(session, [])


def test_stretches_join_what_touches():
    """Two streets apart are two stretches, the longer list first."""
    near = np.stack([np.arange(0, 100, 5.0), np.zeros(20)], axis=1)
    far = near[:5] + np.array([0.0, 500.0])
    found = stretches(LOST, np.concatenate([far, near]), 20.0, np.zeros(2))
    assert [(s.count, s.length_m) for s in found] == [(20, 95.0), (5, 20.0)]
    assert {found[0].start, found[0].end} == {(0.0, 0.0), (95.0, 0.0)}
    assert stretches(LOST, np.zeros((0, 2)), 20.0, np.zeros(2)) == []


def test_what_is_written(place_map, toy_world, tmp_path):
    """JSON that another program reads, and a picture that shows something, also of a map without findings."""
    found = examine(place_map, [run(toy_world, place_map)])
    found.write(tmp_path / "health.json")
    content = json.loads((tmp_path / "health.json").read_text())
    assert {stretch["problem"] for stretch in content["drive_again"]} == {LOST, OLD} and content["runs"][0]["lost"] == 6
    for name, shown in (("a", found), ("b", Health(120, 120, (), (), ()))):
        draw_health(shown, place_map.whereabouts.positions[:, :2], tmp_path / f"{name}.png")
        image = cv2.imread(str(tmp_path / f"{name}.png")).astype(int)
        is_red = (image[..., 2] > image[..., 1] + 100) & (image[..., 2] > image[..., 0] + 50)
        assert image.std() > 5 and is_red.any() == (name == "a")  # the marks of lost robots
