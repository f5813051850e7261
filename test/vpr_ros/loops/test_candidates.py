"""Loops are told by geometry: depths that neighbouring keyframes measure, and what is one scene and what a twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.loops.candidates import LoopSearch
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps.place_map import MapModel
from vpr_ros.matching.local_features import LocalFeatures

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(32, 32))
PIXEL = 1 / 250
CONFIG = LoopCloserConfig()


class Scene:
    """Points along a street of 120 m; cameras look along it."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = 1500
        sides = rng.choice([-1.0, 1.0], count) * rng.uniform(4, 9, count)
        self.points = np.column_stack([sides, rng.uniform(-4, 1.5, count), rng.uniform(0, 120, count)])
        self.descriptors = rng.integers(0, 256, (count, 128), dtype=np.uint8)

    def seen(self, along: float, aside: float = 0.0, factor: float = 1.0) -> LocalFeatures:
        """Features from there. factor: of the depths that the network guesses; 0: it guesses none."""
        points = self.points - [aside, 0.0, along]
        ahead = (points[:, 2] > 3) & (np.abs(points[:, :2]).max(axis=1) < 0.7 * points[:, 2])
        depths = points[ahead, 2]
        rays = points[ahead, :2] / depths[:, None]
        rays = rays + PIXEL / 2 * np.random.default_rng(int(97 * along)).normal(size=rays.shape)
        as_floats = rays.astype(np.float32), (factor * depths).astype(np.float32)
        return LocalFeatures("sift", *as_floats, self.descriptors[ahead], PIXEL)


def pose(along: float, aside: float = 0.0) -> np.ndarray:
    return geometry.transform(np.eye(3), np.array([aside, 0.0, along]))


def descriptor(number: int) -> np.ndarray:
    found = np.random.default_rng(number).normal(size=64).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found))


@pytest.fixture
def store(tmp_path: Path):
    with KeyframeStore.grow(tmp_path / "session.vprmap", MODEL) as growing:
        yield growing


def errors(features: LocalFeatures, scene: Scene, along: float) -> np.ndarray:
    """Errors of log depths that were measured, as they were stored in one order."""
    measured = np.isfinite(features.sigmas)
    true = scene.seen(along).depths
    return np.asarray(np.log(features.depths[measured] / true[measured]))


@pytest.mark.parametrize("factor", [0.0, 0.4, 2.5], ids=["no depth", "too near", "too far"])
def test_odometry_measures_what_the_network_guesses_wrong(store: KeyframeStore, factor: float) -> None:
    """A lens that the network never saw makes its metres wrong by a factor. What was driven between keyframes is
    known, so depths, and with them poses of loops, are right for any camera and for models without depth.
    """
    scene = Scene(0)
    for row in range(4):
        store.add("one", row, pose(2.0 * row), descriptor(row), scene.seen(2.0 * row, factor=factor))
    for row in (1, 3):  # between others, and the newest, which has none ahead
        measured = store.measured(row)
        assert measured is not None
        found = errors(measured, scene, 2.0 * row)
        assert len(found) > 50 and np.median(np.abs(found)) < 0.05
    store.add("two", 4, pose(8.0), descriptor(4), scene.seen(8.0, factor=factor))
    alone = store.measured(4)
    assert alone is not None and not np.isfinite(alone.sigmas).any(), "another drive has another origin"


@pytest.mark.parametrize("apart", [0.1, 0.5, 2.0, 8.0])
def test_depths_are_measured_however_densely_keyframes_lie(store: KeyframeStore, apart: float) -> None:
    """An indoor robot stores one every decimetre. Its next keyframes are too near to tell depths, others are not."""
    scene, count = Scene(0), max(5, round(4.0 / apart))
    for row in range(count):
        store.add("one", row, pose(apart * row), descriptor(row), scene.seen(apart * row, factor=2.5))
    measured = store.measured(count // 2)
    assert measured is not None
    found = errors(measured, scene, apart * (count // 2))
    assert len(found) > 200 and np.median(np.abs(found)) < 0.06


def test_a_standing_robot_measures_nothing(store: KeyframeStore) -> None:
    """Keyframes by time alone have no baseline: depths stay as guessed, and nothing is divided by zero."""
    for row in range(3):
        store.add("one", row, pose(0.01 * row), descriptor(row), Scene(0).seen(0.0, factor=2.0))
    measured = store.measured(1)
    assert measured is not None and not np.isfinite(measured.sigmas).any()
    assert np.allclose(measured.depths, store.features(1).depths)  # type: ignore[union-attr]


def verified(store: KeyframeStore, query: LocalFeatures, looks_like: int):
    """The closure of an image whose descriptor is nearly that of a row."""
    search = LoopSearch(store, CONFIG)
    candidates = search.candidates(descriptor(looks_like), pose(0.0), 0.0)
    return search.verified(candidates, query, pose(0.0), 0.0)


def filled(store: KeyframeStore, scenes: list[tuple[float, Scene, float]]) -> None:
    """Keyframes at (position in the map, what is seen there, position in the scene), guessed twice too far."""
    for row, (along, scene, there) in enumerate(scenes):
        store.add("one", row, pose(along), descriptor(row), scene.seen(there, factor=2.0))
    store.admit(len(scenes))


def test_one_street_seen_from_further_back_is_no_twin(store: KeyframeStore) -> None:
    """Keyframes 12 m back verify as well, at their own distance: they say the same of the camera, and no doubt."""
    scene = Scene(1)
    filled(store, [(2.0 * row, scene, 2.0 * row) for row in range(8)])
    found = verified(store, scene.seen(12.6, aside=0.4), looks_like=6)
    assert found is not None
    candidate, verification = found
    camera = store.place(candidate.row).T_map_camera @ verification.T_place_query
    assert np.allclose(camera[:3, 3], [0.4, 0.0, 12.6], atol=0.3)


def test_a_street_that_looks_the_same_elsewhere_is_a_twin(store: KeyframeStore) -> None:
    """Two streets alike down to the last stone, 60 m apart: nothing tells which one it is, and no loop is closed."""
    scene = Scene(1)
    filled(store, [(at + 2.0 * row, scene, 2.0 * row) for at in (0.0, 60.0) for row in range(6)])
    assert verified(store, scene.seen(4.3), looks_like=2) is None
