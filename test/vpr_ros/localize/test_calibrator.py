"""Calibration: what a map cannot show stays the model's, and a user is told what was given and what is doubtful."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from vpr_ros.localize.calibrator import Fitted, _chosen, _Trial, fit
from vpr_ros.localize.config import FilterConfig, LocalizerConfig
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

SECOND = 10**9
SHIPPED = Calibration(
    z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5, source="model"
)
FAR_TOO_LOW = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=0.5, independence=1.5, source="model")


def held_out(world: Any, noise: float = 0.5, along: np.ndarray | None = None) -> DescribedDrive:
    """A noisy drive past the places of the toy world."""
    along = np.arange(0.0, 380.0, 4.0) if along is None else along
    poses = np.stack([world.pose(a) for a in along])
    descriptors = np.stack([world.descriptor(a, noise, 5000 + int(a)) for a in along])
    return DescribedDrive("held out", (along / 5 * SECOND).astype(np.int64), descriptors, poses, list(poses))


def sparse_half(world: Any) -> Places:
    along = np.append(np.arange(0.0, 60.0, 0.3), np.arange(60.0, 160.0, 5.0))
    T, ids = np.stack([world.pose(a) for a in along]), np.arange(1, len(along) + 1)
    descriptors = np.stack([world.descriptor(a) for a in along])[:, None]
    return Places(ids, np.array(["reference"] * len(ids)), ids * SECOND, T, descriptors)


def fitted(world: Any, default: Calibration, **given: Any) -> Fitted:
    return fit(world.places(), None, [held_out(world, **given)], default=default)  # type: ignore[arg-type]


def test_a_good_default_is_kept(toy_world: Any) -> None:
    """A fit to one drive is noise where the model's default is as good; only the softening is fitted."""
    good = fitted(toy_world, FAR_TOO_LOW, along=np.arange(2.0, 380.0, 5.0)).calibration
    found = fitted(toy_world, good)
    kept = ("z_weight", "similarity_weight", "threshold", "independence")
    assert [getattr(found.calibration, name) for name in kept] == [getattr(good, name) for name in kept]
    assert any("default evidence is as good" in note for note in found.notes)
    assert found.calibration.source == "held out"


def test_a_bad_default_is_replaced(toy_world: Any) -> None:
    """A threshold at which foreign images get a pose."""
    found = fitted(toy_world, FAR_TOO_LOW)
    assert found.calibration.threshold > 2 * FAR_TOO_LOW.threshold
    localizer = Localizer(toy_world.places(), None, None, found.calibration)  # type: ignore[arg-type]
    foreign = [localizer.recognise(k * SECOND, toy_world.noise_image(k)) for k in range(12)]
    assert all(answer.best is None for answer in foreign[3:])


def test_a_default_that_never_gives_a_pose_is_replaced(toy_world: Any) -> None:
    """The default of a network without a calibration: it misses no image off the map, since it knows no place."""
    deaf = Calibration(off_map_score=50.0)
    found = fitted(toy_world, deaf)
    localizer = Localizer(toy_world.places(), None, None, found.calibration)  # type: ignore[arg-type]
    drive = held_out(toy_world, along=np.arange(3.0, 200.0, 4.0))
    images = zip(drive.stamps_ns, drive.descriptors, drive.T_odom_camera, strict=True)
    answers = [localizer.recognise(int(stamp_ns), descriptor, T) for stamp_ns, descriptor, T in images]
    assert np.mean([answer.best is not None for answer in answers[3:]]) > 0.9


def test_a_map_that_cannot_show_elsewhere_keeps_the_default(toy_world: Any) -> None:
    """All places within 50 m: a fit would never say "not on this map" again, for want of an example."""
    along = np.arange(0.0, 40.0, 2.0)
    short = toy_world.places().subset(np.arange(8))
    drive = held_out(toy_world, along=along)
    found = fit(short, None, [drive], default=SHIPPED)  # type: ignore[arg-type]
    assert (found.calibration.threshold, found.calibration.similarity_weight) == (7.75, 30.0)
    assert any("cannot show what elsewhere looks like" in note for note in found.notes)
    assert any("images on the map are few" in note for note in found.notes)
    kept = {name: getattr(SHIPPED, name) for name in ("temperature", "floor", "sigma_forward", "sigma_yaw")}
    assert kept == {name: getattr(found.calibration, name) for name in kept}, "20 right answers may be chance"
    localizer = Localizer(short, None, None, found.calibration)  # type: ignore[arg-type]
    assert all(localizer.recognise(k * SECOND, toy_world.noise_image(k)).best is None for k in range(20))


def test_an_image_between_places_of_the_sparse_half_is_on_the_map(toy_world: Any) -> None:
    """A place every 0.3 m in a corridor and every 5 m on the street: there, 1.5 m from a place was off the map."""
    places = sparse_half(toy_world)
    street = held_out(toy_world, along=np.arange(62.5, 154.0, 5.0))
    found = fit(places, None, [street], default=SHIPPED)  # type: ignore[arg-type]
    on_map = re.search(r"(\d+) of images on the map", found.given)
    assert on_map and int(on_map[1]) >= len(street.stamps_ns), found.given


def test_what_was_given_is_counted(toy_world: Any) -> None:
    """95 images, as they are and with two stretches of the map hidden."""
    given = fitted(toy_world, SHIPPED).given
    counts = [int(word) for word in given.replace(":", " ").split() if word.isdigit()]
    assert counts[0] == counts[1] + counts[2] == 3 * 95 and counts[2] > 0


def test_the_end_of_a_range_is_named(toy_world: Any) -> None:
    """A drive without an error, as one that equals the map and never leaves it, wants probabilities of one."""
    drive = held_out(toy_world, along=np.arange(0.0, 40.0, 0.5), noise=0.0)
    short = toy_world.places().subset(np.arange(8))
    notes = fit(short, None, [drive], default=SHIPPED).notes  # type: ignore[arg-type]
    assert any("the end of the range that is tried" in note for note in notes)


def test_a_network_that_does_not_know_the_places_is_told(toy_world: Any) -> None:
    """Its wrong answers were counted nowhere, and the note spoke of "few errors" where nearly all were some."""
    found = fitted(toy_world, SHIPPED, noise=60.0)
    (wrong,) = re.findall(r"of images on the map \(([0-9.]+) % wrong\)", found.given.replace("%", " %"))
    assert float(wrong) > 50
    assert any("wrong too often to state how sure they are" in note for note in found.notes), found.notes
    assert not any("few errors" in note for note in found.notes)


def test_the_robots_configuration_counts(toy_world: Any) -> None:
    """Without the filter every image is alone, and its answers are less sure."""
    drives = [held_out(toy_world, noise=2.5)]
    alone = LocalizerConfig(filter=FilterConfig(enabled=False))
    with_filter, without = (
        fit(toy_world.places(), None, drives, config, SHIPPED).calibration  # type: ignore[arg-type]
        for config in (None, alone)
    )
    assert with_filter != without


@pytest.mark.parametrize("default", [SHIPPED, FAR_TOO_LOW])
def test_detection_is_never_worse_than_the_defaults(toy_world: Any, default: Calibration) -> None:
    """Half of the map is missing: as many of its images get a pose as with the default, or fewer."""
    places = toy_world.places()
    half = places.subset(np.arange(len(places) // 2))
    found = fit(half, None, [held_out(toy_world)], default=default)  # type: ignore[arg-type]
    foreign = np.arange(230.0, 370.0, 4.0)
    missed = []
    for calibration in (default, found.calibration):
        localizer = Localizer(half, None, None, calibration)  # type: ignore[arg-type]
        answers = [
            localizer.recognise(int(a * SECOND), toy_world.descriptor(a, 0.5, int(a)), toy_world.pose(a))
            for a in foreign
        ]
        missed.append(sum(answer.best is not None for answer in answers))
    assert missed[1] <= missed[0]


def test_a_candidate_that_another_beats_is_not_chosen() -> None:
    """Of two as good within the standard error the first was taken, also if it was wrong more often on the map, and as
    often off it.
    """

    def trial(threshold: float, on_map: float, off_map: float) -> _Trial:
        return _Trial(Calibration(threshold=threshold), [], on_map, off_map, 400, 80)

    default, first, second = trial(7.0, 0.1, 0.25), trial(8.75, 0.162, 0.0), trial(7.75, 0.126, 0.0)
    assert _chosen([default, first, second]) is second
    assert _chosen([trial(7.0, 0.13, 0.0), second]).calibration.threshold == 7.0  # the default, as it is as good


def test_a_drive_of_one_condition_does_not_move_the_default_for_little() -> None:
    """Seven images off the map of 464, and none on it: by that a map became so strict that it lost other conditions."""

    def trial(threshold: float, off_map: float) -> _Trial:
        return _Trial(Calibration(threshold=threshold), [], 0.0117, off_map, 856, 464)

    default, strict = trial(4.5, 0.0172), trial(10.25, 0.0022)
    assert _chosen([default, strict]) is default
