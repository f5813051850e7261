"""A second look at thumbnails puts the right place first, and leaves the search's order where it sees nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import thumbnail
from vpr_ros.localize.config import LocalizerConfig, RerankConfig
from vpr_ros.localize.rerank import RerankContext, open_rerankers
from vpr_ros.localize.thumbnails import LocalFeatureLook, LocalFeatureReranker, ThumbnailReranker, evidence, inliers
from vpr_ros.matching.extractors import open_extractor

ROWS = np.arange(4)


def painted(seed: int) -> np.ndarray:
    """A wall of rectangles that no other seed has."""
    rng = np.random.default_rng(seed)
    image = np.full((240, 320, 3), 90, np.uint8)
    for _ in range(150):
        x, y, w, h = rng.integers([0, 0, 6, 6], [320, 240, 60, 60]).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(0, 255, 3).tolist(), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def seen_later(image: np.ndarray) -> np.ndarray:
    """The same wall from further right and nearer, in worse light."""
    H = np.array([[1.15, 0.03, -50.0], [0.02, 1.15, -20.0], [1e-4, 0.0, 1.0]])
    return (0.6 * cv2.warpPerspective(image, H, (320, 240), borderMode=cv2.BORDER_REFLECT)).astype(np.uint8)


class MapOf:
    """What a re-ranker asks of a map: places' ids and thumbnails."""

    path = Path("walls.vprmap")

    def __init__(self, jpegs: Sequence[bytes | None]) -> None:
        self.jpegs = jpegs
        self.whereabouts = SimpleNamespace(ids=10 + np.arange(len(jpegs)))

    def thumbnail(self, place_id: int) -> bytes | None:
        return self.jpegs[place_id - 10]


def reranker(look: Any, jpegs: Sequence[bytes | None], candidates: int = 20) -> ThumbnailReranker:
    return ThumbnailReranker(MapOf(jpegs), look, candidates)  # type: ignore[arg-type]


WALLS = [thumbnail(painted(seed)) for seed in range(4)]


@pytest.mark.parametrize("wall", [1, 3])
def test_the_place_that_is_seen_comes_first(wall: int) -> None:
    """The search had it second or last; 160 pixels of each place are enough to see which one it is."""
    look = look_of_xfeat()
    order = reranker(look, WALLS).rerank(seen_later(painted(wall)), ROWS, np.zeros(4))
    assert order[0] == wall and sorted(order) == list(ROWS)


def test_an_image_agrees_with_itself() -> None:
    """A robot that stands where the map was made, or a bag on its own map: no parallax, no fundamental matrix, and all
    features agree all the same, whatever OpenCV's version makes of equal points.
    """
    look = look_of_xfeat()
    for seed in range(6):
        features = look.encode(painted(seed))
        assert inliers(features, features) > 0.9 * len(features)


def test_where_nothing_is_seen_the_search_decides() -> None:
    """A covered lens agrees with no place: the order stays."""
    assert (reranker(look_of_xfeat(), WALLS).rerank(np.zeros((240, 320, 3), np.uint8), ROWS, -ROWS) == ROWS).all()


class Counts:
    """A look that counts as told; its agreement is the count."""

    name, weight = "counts", 4.0

    def __init__(self, counts: list[float]) -> None:
        self.counts = counts

    def encode(self, image_rgb: np.ndarray) -> int:
        return 0

    def agreement(self, query: int, places: Sequence[int]) -> np.ndarray:
        return np.array(self.counts[: len(places)])


def test_the_search_counts_beside_the_look() -> None:
    """By the look's weight, four here: 20 + 4 * 3 is less than 33, and more than 31."""
    scores = np.array([3.0, 0.0, 0.0, 0.0])
    image = np.zeros((8, 8, 3), np.uint8)
    assert reranker(Counts([20, 33, 0, 0]), WALLS).rerank(image, ROWS, scores).tolist() == [1, 0, 2, 3]
    assert reranker(Counts([20, 31, 0, 0]), WALLS).rerank(image, ROWS, scores).tolist() == [0, 1, 2, 3]


class Features(LocalFeatureLook):
    """The look at local features, which finds as many as told."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = np.array(counts)

    def encode(self, image_rgb: np.ndarray) -> Any:
        return 0

    def agreement(self, query: Any, places: Sequence[Any]) -> np.ndarray:
        return evidence(self.counts)


def order_of(counts: list[int], scores: list[float]) -> list[int]:
    """The order of places, best of the search first, after a look at local features."""
    rows = np.arange(len(counts))
    look = reranker(Features(counts), [WALLS[0]] * len(counts))
    return look.rerank(np.zeros((8, 8, 3), np.uint8), rows, np.array(scores)).tolist()


SCORES = [3.0, 2.7, 2.5, 2.4, 2.2, 2.1, 2.0, 1.9]


def test_a_look_that_cannot_tell_changes_nothing() -> None:
    """Equal counts, many or none, say nothing; nor do small ones by night, however little sure the search is."""
    for count in (0, 30, 400):
        assert order_of([count] * 8, SCORES) == list(range(8))
    assert order_of([6, 9, 8, 7, 6, 8, 7, 5], SCORES) == list(range(8)), "9 features are as good as 6"


def test_a_place_that_stands_out_comes_first() -> None:
    """It has several times the features of the others, and is worth two standard scores of the search."""
    assert order_of([25, 22, 28, 20, 90, 24, 21, 26], SCORES) == [4, 0, 1, 2, 3, 5, 6, 7]


def test_places_that_look_alike_damp_the_look() -> None:
    """40 more features among places with 20 decide. Among equal doors or behind a fisheye's rim, where all have 200,
    they do not; nor where other wrong places differ as much.
    """
    assert order_of([20, 22, 19, 60, 21, 20, 18, 20], SCORES)[0] == 3
    assert order_of([200, 202, 199, 240, 201, 200, 198, 200], SCORES) == list(range(8))
    assert order_of([50, 20, 8, 60, 55, 10, 5, 25], SCORES)[0] == 0


def test_the_search_outweighs_a_small_lead() -> None:
    """The same lead wins where the search cannot tell, and does not where it is sure."""
    counts = [30, 28, 31, 60, 30, 29, 31, 30]
    assert order_of(counts, SCORES)[0] == 3
    assert order_of(counts, [9.0, *SCORES[1:]])[0] == 0


def test_where_the_search_is_sure_nothing_is_looked_at() -> None:
    """Its time is saved where the first place is far ahead of the tenth; few places do not show whether it is."""
    counts = [20] * 11 + [200]

    def looked(scores: list[float]) -> bool:
        count = len(scores)
        sure = LocalFeatureReranker(MapOf([WALLS[0]] * count), Features(counts[-count:]))  # type: ignore[arg-type]
        order = sure.rerank(np.zeros((8, 8, 3), np.uint8), np.arange(count), np.array(scores))
        return bool(order[0] == count - 1)

    assert looked([4.0] * 9 + [3.0] * 3)
    assert not looked([7.0] + [4.0] * 11)
    assert looked([7.0] + [4.0] * 8), "nine places"


def test_places_nobody_can_look_at_stay() -> None:
    """One without a thumbnail, and those after the first candidates."""
    image = np.zeros((8, 8, 3), np.uint8)
    jpegs = [WALLS[0], None, WALLS[2], WALLS[3]]
    assert reranker(Counts([0, 1, 2]), jpegs).rerank(image, ROWS, np.zeros(4)).tolist() == [3, 1, 2, 0]
    assert reranker(Counts([0, 1]), WALLS, candidates=2).rerank(image, ROWS, np.zeros(4)).tolist() == [1, 0, 2, 3]


def test_a_map_without_thumbnails_is_refused() -> None:
    """It could never help, and every image would be slower."""
    with pytest.raises(MapError, match=r"walls\.vprmap has no thumbnails, which counts compares"):
        reranker(Counts([]), [None, None])
    reranker(Counts([]), [None, WALLS[1]])  # one place without is no reason


def look_of_xfeat() -> LocalFeatureLook:
    """As the re-ranker local_features has it."""
    return LocalFeatureLook(open_extractor("xfeat", 500, 0, 320))


def context(method: str) -> RerankContext:
    """A re-ranker's surroundings, with one method asked for."""
    config = LocalizerConfig(rerank=RerankConfig(methods=(method,)))
    return RerankContext(MapOf(WALLS), config)  # type: ignore[arg-type]


def test_the_configuration_asks_for_it() -> None:
    """By name, in the node and on the command line; a wrong name lists the right ones."""
    opened = open_rerankers(context("local_features"))
    assert [one.name for one in opened] == ["local_features"]
    for name in ("surf", "orb"):
        with pytest.raises(ConfigError, match="choose xfeat, or the path"):
            open_rerankers(context(f"local_features features={name}"))


def test_wide_images_are_seen_whole() -> None:
    """Fitted by their longer side, without black below: black would flatten the contrast of all the rest."""
    look = look_of_xfeat()
    wide = np.hstack([painted(5), painted(6), painted(7)])
    shifted = np.roll(wide, 40, axis=1)
    assert inliers(look.encode(wide), look.encode(shifted)) > 100


def test_upright_images_are_judged_as_others() -> None:
    """An inlier's error is a share of the longer side, which is what the network sees at one size."""
    look = look_of_xfeat()
    lying = [inliers(look.encode(a), look.encode(seen_later(a))) for a in (painted(8), painted(9))]
    upright = [
        inliers(*(look.encode(np.ascontiguousarray(x.transpose(1, 0, 2))) for x in (a, seen_later(a))))
        for a in (painted(8), painted(9))
    ]
    assert min(upright) > 0.7 * min(lying) > 20
