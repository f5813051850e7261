"""A large map is searched where the robot should be, and everywhere as soon as that is in doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.records import Prior
from vpr_ros.localize import localizer as localizer_module
from vpr_ros.localize.constants import NearConstants
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

COUNT = 3000
SURE = Calibration(similarity_weight=20.0, threshold=9.0)


class Counted:
    """An index that counts its searches."""

    steps = None

    def __init__(self, index: Any) -> None:
        self._index, self.searches = index, 0

    def search(self, descriptor: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        self.searches += 1
        return self._index.search(descriptor, count)


def places() -> Places:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(COUNT, 1, 128)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=2, keepdims=True)
    T = np.tile(geometry.T_BODY_OPTICAL, (COUNT, 1, 1))
    T[:, 0, 3] = 5.0 * np.arange(COUNT)
    return Places(np.arange(1, COUNT + 1), np.full(COUNT, "d"), np.arange(COUNT), T, descriptors)


def robot(monkeypatch: pytest.MonkeyPatch, near: NearConstants) -> tuple[Localizer, Counted]:
    monkeypatch.setattr(localizer_module, "NEAR", near)
    localizer = Localizer(places(), None, None, SURE)  # type: ignore[arg-type]
    counted = Counted(localizer.index)
    localizer.index = counted  # type: ignore[assignment]
    return localizer, counted


def drive(localizer: Localizer, rows: range, prior: bool = False, first_ns: int = 0) -> list[int]:
    """Best place, by its row, of each image."""
    found = []
    for number, row in enumerate(rows):
        priors = [Prior(np.array([5.0 * row + 20, 0.0]), np.eye(2) * 40.0**2)] if prior else []
        T = localizer.places.T_map_camera[row]
        estimate = localizer.recognise(
            first_ns + number * 10**9, localizer.places.descriptors[row, 0], T, priors=priors
        )
        found.append(estimate.matches[0].place_id - 1)
    return found


def test_a_sure_robot_searches_around_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the belief is clear the index rests, but for one image in so many; the best places are those of all."""
    localizer, index = robot(monkeypatch, NearConstants(places=1000, every=10))
    assert drive(localizer, range(100, 140)) == list(range(100, 140))
    assert 40 / 10 <= index.searches < 15


def test_a_prior_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image too is compared with the places around a prior alone, if one of them is recognised."""
    localizer, index = robot(monkeypatch, NearConstants(places=1000))
    assert drive(localizer, range(100, 105), prior=True) == list(range(100, 105)) and index.searches == 0


def test_a_lost_robot_searches_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carried away, it is recognised at the first image, whatever the belief says; and a wrong prior is left."""
    localizer, index = robot(monkeypatch, NearConstants(places=1000))
    drive(localizer, range(100, 130))
    before = index.searches
    assert drive(localizer, range(2000, 2005), first_ns=100 * 10**9)[0] == 2000 and index.searches > before
    wrong = [Prior(np.array([500.0, 0.0]), np.eye(2) * 900.0)]
    localizer.reset()
    estimate = localizer.recognise(0, localizer.places.descriptors[2500, 0], None, priors=wrong)
    assert 2501 in [match.place_id for match in estimate.matches]


def test_a_small_map_is_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a search costs nothing, and its answers stay what they were."""
    localizer, index = robot(monkeypatch, NearConstants())
    drive(localizer, range(100, 120), prior=True)
    assert index.searches == 20
