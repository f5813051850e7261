"""The ensemble merges two networks' lists, and the re-rankers of the lab are opened by name."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_lab.plugins.ensemble_reranker import EnsembleReranker, rows_of_same_places
from vpr_lab.plugins.multiscale import MultiScaleDescriber, open_multiscale
from vpr_ros.base.errors import ConfigError, MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.describer import Description
from vpr_ros.localize.config import LocalizerConfig, RerankConfig, SearchConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.rerank import RerankContext, open_rerankers

IMAGE = np.zeros((8, 8, 3), np.uint8)
EAST, WEST = 0.0, np.pi
PLAIN = LocalizerConfig(search=SearchConfig(mean_centring=False))


class Says:
    """A network that says one thing of every image."""

    def __init__(self, descriptor: list[float]) -> None:
        self.descriptor = np.array(descriptor, np.float32) / np.linalg.norm(descriptor)
        self.manifest: Any = SimpleNamespace(preprocessing=Preprocessing(8, 8))
        self.backend, self.batch_sizes = "by hand", (1,)

    def describe(self, images: np.ndarray) -> Description:
        return Description(np.tile(self.descriptor, (len(images), 1)).astype(np.float32), None)


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize(("how", "expected"), [("nif", [2, 0, 1]), ("sif", [0, 2, 1])])
def test_an_ensemble_by_hand(toy_world: Any, how: str, expected: list[int], scale: float) -> None:
    """The first map finds rows 0, 1 and 2, with scores 1, -1 and -2.

    The second map's places, rows 5, 2, none and 0 of the first, have cosines 0, 1, 0.7 and 0.4. Their median is 0.4, as
    is the spread below it: scores -1, 1.5, 0.75 and 0, also where all cosines are a tenth of that. By distance row 2
    wins with 1.5, then 0 with 1, then 1. Both lists hold 0 and 2.
    """
    cosines = scale * np.array([0.0, 1.0, 0.7, 0.4])
    descriptors = np.column_stack([cosines, np.diag(np.sqrt(1 - cosines**2))]).astype(np.float32)  # none alike
    places = replace(toy_world.places().subset(np.arange(4)), descriptors=descriptors[:, None])
    ensemble = EnsembleReranker(Says([1, 0, 0, 0, 0]), places, np.array([5, 2, -1, 0]), PLAIN, merge=how)
    assert ensemble.rerank(IMAGE, np.array([0, 1, 2]), np.array([1.0, -1.0, -2.0])).tolist() == expected


def test_the_second_map_brings_in_what_the_first_did_not_find(toy_world: Any) -> None:
    """Two networks that fail differently: where the first one is lost and the second sure, the answer is the second's,
    and the other way round, whichever of them tells places apart by smaller differences.
    """
    places, along = toy_world.places(), 100.0
    config = LocalizerConfig(search=SearchConfig(matches=5, mean_centring=False))
    seen, lost, its_row = toy_world.descriptor(along), toy_world.noise_image(1), 20  # a place every 5 m
    timid = np.concatenate([0.2 * places.descriptors, np.full((80, 1, 1), 0.96**0.5)], axis=2).astype(np.float32)
    for own, other, right in ((lost, seen, True), (seen, lost, True), (lost, lost, False)):
        says = Says([*(0.2 * other), 0.96**0.5])
        ensemble = EnsembleReranker(says, replace(places, descriptors=timid), np.arange(80), config)
        answer = Localizer(places, None, config, rerankers=[ensemble]).recognise(0, own, image_rgb=IMAGE)
        assert bool(answer.matches[0].place_id == places.ids[its_row]) == right


def test_places_of_two_maps_meet(make_map: Any) -> None:
    """By image where both have it, else by pose: within 2 m, looking the same way, whatever each map counts from."""
    first = make_map("a", [("d", 1, 0.0, EAST), ("d", 2, 10.0, EAST), ("d", 3, 11.0, WEST), ("d", 4, 30.0, EAST)])
    other = [("d", 4, 30.0, EAST), ("e", 9, 11.2, EAST), ("e", 8, 10.6, WEST), ("e", 7, 20.0, EAST), ("e", 6, 1.9, 0.4)]
    second = make_map("b", other, origin=np.array([-100.0, 0.0, 0.0]))
    assert rows_of_same_places(first, second).tolist() == [3, 1, 2, -1, 0]


def test_maps_that_do_not_belong_together_are_refused(make_map: Any) -> None:
    """Merging lists of two worlds would be nonsense that looks like an answer: one sentence says which map is wrong."""
    street = [("d", number, 10.0 * number, EAST) for number in range(10)]
    first = make_map("first", street)
    with pytest.raises(MapError, match=r"other.*world 'town'.*'street'"):
        rows_of_same_places(first, make_map("other", street, world="town"))
    away = [("e", number, 1000.0 + number, EAST) for number in range(6)]
    with pytest.raises(MapError, match="they share 4 of 10 places"):
        rows_of_same_places(first, make_map("elsewhere", street[:4] + away))
    with pytest.raises(MapError, match="they share 0 of 0"):
        rows_of_same_places(first, make_map("empty", []))
    assert (rows_of_same_places(first, make_map("sparse", street[::2])) == np.arange(0, 10, 2)).all()


@pytest.mark.parametrize(
    ("methods", "error", "words"),
    [
        ("ensemble", ConfigError, "needs a second map"),
        ("ensemble map=nowhere.vprmap", MapError, r"no map .*nowhere"),
        ("ensemble map=nowhere.vprmap merge=best", ConfigError, "choose one of nif, sif"),
        ("ensemble maps=a.vprmap", ConfigError, "did you mean 'map'"),
        ("ensembles", ConfigError, "did you mean 'ensemble'"),
        ("geowarp", ConfigError, "needs a model"),
        ("geowarp model", ConfigError, "must be KEY=VALUE"),
        ("local_features features=surf", ConfigError, "choose xfeat"),
    ],
)
def test_settings_that_cannot_be_are_refused(make_map: Any, methods: str, error: type, words: str) -> None:
    """Each is the user's mistake, found before the first image."""
    place_map = make_map("map", [("d", 1, 0.0, EAST)])
    assert open_rerankers(RerankContext(place_map, LocalizerConfig())) == []
    with pytest.raises(error, match=words):
        open_rerankers(RerankContext(place_map, LocalizerConfig(rerank=RerankConfig(methods=(methods,)))))


def test_several_scales_are_a_describer_by_name() -> None:
    """The node takes it as search.describer: what the text says must be what is made."""
    made = open_multiscale(Says([1, 0]), {"scales": [0.7, 1.0], "pool": "max"})
    assert isinstance(made, MultiScaleDescriber) and made.backend == "by hand at 2 scales"
    for options in ({"scales": [1.0, -1.0]}, {"pool": "middle"}, {"scale": 1}):
        with pytest.raises(ConfigError):
            open_multiscale(Says([1, 0]), options)


def test_a_copy_for_single_images_disturbs_nobody(toy_world: Any) -> None:
    """~/query may come between two images of a drive: what the drive learnt of its light must stay."""
    places = toy_world.places()
    ensemble = EnsembleReranker(Says(list(toy_world.descriptor(100.0))), places, np.arange(80))
    live = Localizer(places, None, rerankers=[ensemble])
    live.recognise(0, toy_world.descriptor(100.0), image_rgb=IMAGE)
    learnt = ensemble._session_mean
    live.alone().recognise(0, toy_world.descriptor(300.0), image_rgb=IMAGE)
    assert ensemble._session_mean is learnt and learnt._learnt == 1
    live.reset()
    assert ensemble._session_mean._learnt == 0
