"""A second look changes the order of places, never what a similarity means; and it looks at the right places."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.localize import rerank
from vpr_ros.localize.config import FilterConfig, LocalizerConfig, RerankConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.thumbnails import ThumbnailReranker
from vpr_ros.maps.calibration import Calibration

IMAGE = np.zeros((8, 8, 3), np.uint8)
EAST, WEST = 0.0, np.pi


class Backwards:
    """A second look that finds the last place best."""

    name = "backwards"

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return rows[::-1]

    def reset(self) -> None: ...


def test_similarities_stay_and_places_move(toy_world: Any) -> None:
    """Calibration and filter judge similarities: the place now first must have the best that the search found."""
    single = LocalizerConfig(filter=FilterConfig(enabled=False))
    easily = Calibration(off_map_score=1.0)  # convinced
    plain = Localizer(toy_world.places(), None, single, easily)
    turned = Localizer(toy_world.places(), None, single, easily, rerankers=[Backwards()])
    before = plain.recognise(0, toy_world.descriptor(100.0)).matches
    after = turned.recognise(0, toy_world.descriptor(100.0), image_rgb=IMAGE)
    assert [match.place_id for match in after.matches] == [match.place_id for match in before][::-1]
    assert [match.similarity for match in after.matches] == [match.similarity for match in before]
    best = after.best
    assert best is not None and np.linalg.norm(best.T_map_camera[:2, 3] - toy_world.pose(100.0)[:2, 3]) > 25
    assert after.timings_ms["backwards"] >= 0
    unseen = turned.recognise(0, toy_world.descriptor(100.0))  # descriptors alone, as calibration has them
    assert unseen.matches[0].place_id == before[0].place_id and "backwards" not in unseen.timings_ms


def test_a_map_without_thumbnails_is_refused(make_map: Any) -> None:
    """There is nothing to compare: found before the first image."""
    with pytest.raises(MapError, match="no thumbnails"):
        ThumbnailReranker(make_map("map", [("d", 1, 0.0, EAST)]), SimpleNamespace(name="it"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (lambda rows: rows - 1000, "different rows of places"),
        (lambda rows: np.repeat(rows[:1], len(rows)), "different rows of places"),
        (lambda rows: rows[:3], "different rows of places"),
        (lambda rows: rows * 1.0, "different rows of places"),
        (lambda rows: None, "different rows of places"),
        (lambda rows: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["negative", "twice", "few", "floats", "none", "raises"],
)
def test_a_reranker_of_another_package_is_named_when_it_is_wrong(toy_world: Any, found: Any, says: str) -> None:
    """Negative rows were counted from the end and took the robot off the map; other mistakes were tracebacks."""

    class Wrong(Backwards):
        name = "theirs"

        def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> Any:
            return found(rows)

    localizer = Localizer(toy_world.places(), None, rerankers=[Wrong()])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"re-ranker 'theirs' .*{says}"):
        localizer.recognise(0, toy_world.descriptor(100.0), image_rgb=IMAGE)


def test_times_of_two_rerankers_of_one_name_add_up(toy_world: Any) -> None:
    """The second one's replaced the first one's, and 50 ms were gone from the report."""

    class Slow(Backwards):
        def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
            time.sleep(0.02)
            return rows

    found = Localizer(toy_world.places(), None, rerankers=[Slow(), Backwards()])
    timings_ms = found.recognise(0, toy_world.descriptor(100.0), image_rgb=IMAGE).timings_ms
    assert timings_ms["backwards"] > 20


def test_a_reranker_is_not_called_as_a_step_is(monkeypatch: pytest.MonkeyPatch, toy_world: Any) -> None:
    """Its time would replace that of the search."""
    made = SimpleNamespace(name="search", rerank=None, reset=None)
    monkeypatch.setattr(rerank, "load", lambda *_: lambda context, options: made)
    config = LocalizerConfig(rerank=RerankConfig(methods=("theirs",)))
    with pytest.raises(ConfigError, match="is called search, as a step of the localiser is"):
        rerank.open_rerankers(rerank.RerankContext(None, config))  # type: ignore[arg-type]
