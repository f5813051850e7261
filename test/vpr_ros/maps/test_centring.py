"""What a whole session has in common, snow or another lens, must not decide which place an image resembles."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.image import Preprocessing
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.config import FilterConfig, LocalizerConfig, SearchConfig
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.loops.keyframe_store import KeyframeStore
from vpr_ros.maps.centring import SessionMean, centred
from vpr_ros.maps.index import Index
from vpr_ros.maps.place_map import MapModel, PlaceMap

SECOND = 1_000_000_000
PLAIN = LocalizerConfig(search=SearchConfig(mean_centring=False))


def unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def in_snow(world, along: float, noise: float = 0.3) -> np.ndarray:
    """(D,) descriptor in another season, which makes every place look like the one at 350 m."""
    return unit(world.descriptor(along, noise, seed=7000 + int(along)) + world.descriptor(350))


def distances(localizer: Localizer, world, start: int = 0, stop: int = 300) -> np.ndarray:
    """Metres from the truth to the most similar place, image after image of a drive in snow, 5 m apart."""
    found = [
        localizer.recognise(along * SECOND, in_snow(world, along), world.pose(along)).matches[0].T_map_camera[:3, 3]
        for along in range(start, stop, 5)
    ]
    truth = [world.pose(along)[:3, 3] for along in range(start, stop, 5)]
    return np.linalg.norm(np.array(found) - truth, axis=1)


def test_what_all_images_share_does_not_count(toy_world):
    """A season adds one vector to every descriptor of a drive: the places that lie that way must not win."""
    plain = distances(Localizer(toy_world.places(), None, PLAIN), toy_world)
    learnt = distances(Localizer(toy_world.places(), None), toy_world)
    assert np.mean(plain < 25) < 0.5
    assert np.mean(learnt[20:] < 25) > 0.95


def test_standing_still_teaches_nothing(toy_world):
    """An hour before a red light must not make its view the session's mean: what it looks like would be taken away."""
    session = SessionMean(toy_world.places().mean_descriptor)
    for along in range(0, 200, 5):
        session.centred(in_snow(toy_world, along))
    first = session.centred(toy_world.descriptor(200, 0.1))
    for k in range(1000):
        session.centred(toy_world.descriptor(200, 0.1, seed=k))
    assert np.array_equal(session.centred(toy_world.descriptor(200, 0.1)), first)


def test_what_a_season_adds_is_subtracted_whole(toy_world):
    """Seven tenths of it, as of the map's mean, left so much that in snow 11 of 100 images found another place."""
    mean, season = toy_world.places().mean_descriptor, toy_world.descriptor(350)
    session = SessionMean(mean)
    for along in [*range(0, 300, 5)] * 2:
        last = session.centred(in_snow(toy_world, along))
    season = unit(season - (season @ unit(mean)) * unit(mean))
    left, whole = abs(last @ season), abs(in_snow(toy_world, 295) @ season)
    assert left < 0.3 * whole


def test_forgetting_begins_another_session(toy_world):
    """After a relocalization, and when a bag begins again, the answer is the one a new localiser gives."""
    image, pose = in_snow(toy_world, 50), toy_world.pose(50)
    fresh = Localizer(toy_world.places(), None).recognise(0, image, pose)
    localizer = Localizer(toy_world.places(), None)
    distances(localizer, toy_world, 100, 200)
    looped = localizer.recognise(0, image, pose)
    distances(localizer, toy_world, 100, 200)
    localizer.reset()
    for again in (looped, localizer.recognise(300 * SECOND, image, pose)):
        assert again.matches[0].similarity == fresh.matches[0].similarity
        assert again.hypotheses[0].probability == fresh.hypotheses[0].probability


def test_without_a_filter_each_image_is_alone(toy_world):
    """filter: false promises an answer from the image alone: of a session there is no mean then."""
    alone = LocalizerConfig(filter=FilterConfig(enabled=False))
    localizer = Localizer(toy_world.places(), None, alone)
    distances(localizer, toy_world)
    fresh = Localizer(toy_world.places(), None, alone)
    one, other = (each.recognise(SECOND, in_snow(toy_world, 50)) for each in (localizer, fresh))
    assert [match.similarity for match in one.matches] == [match.similarity for match in other.matches]


def test_a_map_of_one_place(toy_world):
    """Its mean is the place itself: what is left of it must still be a direction."""
    one = toy_world.places().subset(np.array([10]))
    for along in (50.0, 250.0):
        answer = Localizer(one, None).recognise(0, toy_world.descriptor(along, 0.3), toy_world.pose(along))
        assert np.isfinite(answer.matches[0].similarity)
        assert np.isfinite(answer.off_map_probability)
    assert Localizer(one, None).recognise(0, one.descriptors[0, 0]).matches[0].similarity == pytest.approx(1, abs=1e-5)


def test_centred_and_plain_indexes_are_not_mistaken(tmp_path, toy_world):
    """One cache serves the localiser, which centres, and loop closing, which does not."""
    path, places = tmp_path / "town.vprmap", toy_world.places()
    with PlaceMap.create(path, MapModel("toy", "f" * 64, 64, Preprocessing(32, 32)), "toy") as town:
        for row, descriptor in enumerate(places.descriptors):
            town.add("reference", row, places.T_map_camera[row], descriptor)
        mean, image = town.places.mean_descriptor, toy_world.descriptor(100, 0.5)
        expected = Index.build(centred(places.descriptors, mean)).search(image, 5)
        for _ in ("built", "from the cache"):
            found = Index.of_map(town, mean=mean).search(image, 5)
            assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    with KeyframeStore.open(path) as store:
        similarities, rows = store.search(image, 5)
        assert similarities == pytest.approx(places.descriptors[rows, 0] @ image, abs=1e-6)


def test_calibration_sees_what_the_localiser_sees(toy_world):
    """Constants fitted to raw similarities would be another localiser's."""
    places, along = toy_world.places(), np.arange(0.0, 380.0, 4.0)
    session = SessionMean(places.mean_descriptor)
    descriptors = np.stack([in_snow(toy_world, a, 1.0) for a in along])
    T_map_camera = np.stack([toy_world.pose(a) for a in along])
    stamps_ns = (along / 5 * SECOND).astype(np.int64)
    drive = DescribedDrive("snow", stamps_ns, descriptors, T_map_camera, list(T_map_camera))
    taken = np.stack([session.centred(descriptor) for descriptor in descriptors])
    beforehand = DescribedDrive("snow", stamps_ns, taken, T_map_camera, list(T_map_camera))
    mapped = places.subset(np.arange(len(places)))
    mapped.descriptors[:] = centred(mapped.descriptors, places.mean_descriptor)
    fitted, expected, plain = (
        fit(places, None, [drive]).calibration,
        fit(mapped, None, [beforehand], PLAIN).calibration,
        fit(places, None, [drive], PLAIN).calibration,
    )
    assert (fitted.slope, fitted.off_map_score) == (expected.slope, expected.off_map_score)
    assert (fitted.slope, fitted.off_map_score) != (plain.slope, plain.off_map_score)
