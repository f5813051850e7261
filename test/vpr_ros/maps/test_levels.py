"""The floor above is another place: it must not be found, counted or averaged with the one below."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Estimate
from vpr_ros.evaluation.record import Run, Tolerance, answer_from_estimate
from vpr_ros.evaluation.summary import assess
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.levels import distances, nearest, same_level
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places

SECOND = 1_000_000_000
STOREY_M = 3.2
SURE = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)


@pytest.mark.parametrize("levels", [True, False])
def test_the_nearest_of_many_is_that_of_comparing_all(levels: bool) -> None:
    """On a map of a city the table of all distances took gigabytes."""
    positions, others = np.random.default_rng(0).uniform(0, [500, 500, 9], (3, 2000, 3))[:2]
    found = nearest(positions, others, levels)
    np.testing.assert_array_equal(found, distances(positions[:, None], others, levels).min(axis=1))
    tracemalloc.start()
    nearest(positions, others, levels)
    assert tracemalloc.get_traced_memory()[1] < 8 * 4 * 2000 * 2000
    tracemalloc.stop()


def lifted(T: np.ndarray, metres: float) -> np.ndarray:
    return geometry.transform(np.eye(3), [0.0, 0.0, metres]) @ T


def mixed(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    found = (1 - share) * one + share * other
    return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True), np.float32)


class House:
    """Two floors of one plan, whose places look much alike."""

    def __init__(self, world: Any) -> None:
        self._world, self._upper = world, type(world)(seed=world.seed + 5)

    def descriptor(self, along: float, floor: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        below = self._world.descriptor(along, noise, seed)
        return mixed(below, self._upper.descriptor(along), 0.35 * floor)

    def pose(self, along: float, floor: int) -> np.ndarray:
        return lifted(self._world.pose(along), STOREY_M * floor)

    def places(self) -> Places:
        along = np.arange(0, 400.0, 5.0)
        floors = [0, 1]
        return Places(
            ids=np.arange(1, 2 * len(along) + 1),
            drives=np.repeat(["ground", "first"], len(along)),
            stamps_ns=np.arange(2 * len(along)),
            T_map_camera=np.stack([self.pose(a, floor) for floor in floors for a in along]),
            descriptors=np.stack([self.descriptor(a, floor) for floor in floors for a in along])[:, None],
        )


@pytest.fixture
def house(toy_world: Any) -> House:
    return House(toy_world)


def driven(house: House, places: Places, floor: int) -> list[Estimate]:
    localizer = Localizer(places, None, None, SURE)  # type: ignore[arg-type]
    return [
        localizer.recognise(
            k * SECOND // 2, house.descriptor(2.5 * k, floor, 0.5, k), lifted(house.pose(2.5 * k, floor), 7.0)
        )
        for k in range(80)
    ]


@pytest.mark.parametrize("floor", [0, 1])
def test_a_pose_is_on_one_floor(house: House, floor: int) -> None:
    """A mean of two floors is in the ceiling. The floor is told, and a doubt about it is two hypotheses."""
    places = house.places()
    assert places.has_levels
    answers = driven(house, places, floor)[10:]
    heights = [answer.best.T_map_camera[2, 3] - 1.6 for answer in answers if answer.best is not None]
    assert len(heights) > 0.9 * len(answers)
    assert np.mean(np.abs(np.array(heights) - STOREY_M * floor) < 0.2) > 0.95
    for answer in answers:
        for hypothesis in answer.hypotheses:
            above = (hypothesis.T_map_camera[2, 3] - 1.6) / STOREY_M
            assert abs(above - round(above)) < 0.1


def test_the_wrong_floor_is_wrong(house: House) -> None:
    """An evaluation in the plane alone would call it right."""
    places = house.places()
    answers = [
        answer_from_estimate(estimate, k, house.pose(2.5 * k, 0), 0.0)
        for k, estimate in enumerate(driven(house, places, 1))
    ]
    for levels, least, most in ((False, 0.9, 1.0), (True, 0.0, 0.1)):
        run = Run("first", "first", tuple(answers), places.T_map_camera, Tolerance(levels=levels))
        assert least <= assess(run).summary.filtered.at_n[1] <= most


def test_floors_are_found_in_the_poses(toy_world: Any, house: House) -> None:
    """One floor, a hill and satellites' heights are no levels; a second floor is, in one drive too."""
    flat = toy_world.places()
    assert not flat.has_levels
    hill = flat.T_map_camera.copy()
    hill[:, 2, 3] += 12 * np.sin(np.linspace(0, 2 * np.pi, len(hill)))
    assert not replace(flat, T_map_camera=hill).has_levels
    two = house.places()
    assert replace(two, drives=np.repeat("both floors", len(two))).has_levels
    assert not replace(two, heights_agree=False).has_levels
    assert not replace(two, heights_agree=False).subset(np.arange(len(two))).has_levels
    glitch = flat.T_map_camera.copy()
    glitch[3, 2, 3] += 40.0
    assert not replace(flat, T_map_camera=glitch).has_levels


def test_satellites_heights_do_not_count(tmp_path: Any, house: House) -> None:
    """In UTM the second drive of a street may lie 20 m above the first one."""
    found = {}
    for world in ("utm 30 north", "house"):
        places = house.places()
        model = MapModel("m", "f", places.descriptors.shape[2], Preprocessing(8, 8))
        with PlaceMap.create(tmp_path / f"{world}.vprmap", model, world=world) as place_map:
            for row in range(0, len(places), 4):
                place_map.add(str(places.drives[row]), row, places.T_map_camera[row], places.descriptors[row])
            found[world] = place_map.places.has_levels
    assert found == {"utm 30 north": False, "house": True}


def test_a_slope_is_one_level() -> None:
    """A ramp of a car park and a steep street stay whole."""
    assert same_level(np.array([1.0, -1.5, 2.0, 3.0]), np.array([0.0, 5.0, 25.0, 5.0])).tolist() == [True] * 3 + [False]
    there = np.array([[3.0, 4.0, 0.0], [3.0, 4.0, 3.0]])
    assert distances(there, np.zeros(3), levels=True).tolist() == [5.0, np.inf]
    assert distances(there, np.zeros(3), levels=False).tolist() == [5.0, 5.0]
