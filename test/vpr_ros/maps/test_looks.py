"""Which looks stay: the map is bounded whatever is driven, no place is lost, and a rare condition is worth more than a
tenth day like the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.maps.looks import Choice, choose_looks
from vpr_ros.maps.places import Places

DAY_NS = 86_400 * 10**9


def drive(toy_world, number: int, condition: int = 0, every: float = 5.0, weight: float = 0.7) -> Places:
    """A round in a condition, which moves all descriptors in one direction and hides a part of the place."""
    along = np.arange(0, toy_world.length, every) + 1.3 * number % 5
    hidden = np.random.default_rng(condition).uniform(size=64) < 0.4 * (condition > 0)
    light = toy_world.noise_image(condition) * (condition > 0)
    seen = np.stack([toy_world.descriptor(a, 0.05, 1000 * number + k) for k, a in enumerate(along)])
    seen = np.where(hidden, 0, seen) + weight * light
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    count = len(along)
    return Places(
        ids=1000 * number + np.arange(1, count + 1),
        drives=np.array([f"{number} {condition}"] * count),
        stamps_ns=DAY_NS * (20_000 + number) + (along * 1e8).astype(np.int64),
        T_map_camera=np.stack([toy_world.pose(a) for a in along]),
        descriptors=seen.astype(np.float32)[:, None],
    )


def together(*drives: Places) -> Places:
    names = ("ids", "drives", "stamps_ns", "T_map_camera", "descriptors")
    return Places(*(np.concatenate([getattr(drive, name) for drive in drives]) for name in names))


def choose(places: Places, looks: int) -> Choice:
    return choose_looks(places, places.stamps_ns, lambda rows: places.descriptors[rows], looks)


def kept_by_drive(places: Places, choice: Choice) -> dict[str, int]:
    return {name: int(choice.kept[places.drives == name].sum()) for name in np.unique(places.drives).tolist()}


def assert_none_is_lost(places: Places, choice: Choice) -> None:
    """Whatever is dropped has a kept place near it that looks the same way."""
    kept = places.subset(choice.kept)
    away = np.linalg.norm(places.positions[:, None] - kept.positions[None], axis=2)
    turn = np.abs(geometry.wrap_angle(places.headings[:, None] - kept.headings[None]))
    assert np.all(np.where(turn < 0.8, away, np.inf).min(axis=1) <= 1.2 * places.spacing)


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_ten_conditions_are_bounded(toy_world, looks):
    """k looks of a place are k times one drive, however different ten drives are, and each place stays."""
    places = together(*(drive(toy_world, number, number) for number in range(10)))
    choice = choose(places, looks)
    assert choice.kept.sum() <= 1.05 * looks * 80
    assert choice.kept.sum() + choice.alike + choice.beyond == len(places)
    assert choice.beyond > 0  # ten conditions do not fit
    assert_none_is_lost(places, choice)


def test_a_day_like_the_others_is_dropped_and_the_night_is_not(toy_world):
    """Nine days and one night: two looks are enough, and the day that stays is the newest."""
    nights = {4}
    places = together(*(drive(toy_world, number, int(number in nights)) for number in range(10)))
    choice = choose(places, 3)
    kept = kept_by_drive(places, choice)
    assert kept["4 1"] >= 72
    days = {name: count for name, count in kept.items() if name != "4 1"}
    assert days["9 0"] == max(days.values()) and sum(days.values()) < 150
    assert choice.alike > 5 * 80
    assert_none_is_lost(places, choice)


def test_the_images_of_a_drive_still_follow_each_other(toy_world):
    """The localiser measures the map's spacing and the change of the view along a drive: holes would spoil both."""
    places = together(*(drive(toy_world, number, number) for number in range(6)))
    kept = places.subset(choose(places, 2).kept)
    assert kept.spacing == pytest.approx(places.spacing, rel=0.05)


def test_a_single_drive_stays_whole(toy_world):
    """There is nothing like it; only the last image of the round shows the first place again."""
    assert choose(drive(toy_world, 0), 1).kept.sum() >= 79


def test_the_other_direction_is_another_place(toy_world):
    """With one look, each direction keeps one."""
    there, back = drive(toy_world, 0), drive(toy_world, 1, 1)
    turned = np.array(back.T_map_camera)
    turned[:, :3, :3] = geometry.matrix_from_rpy(0, 0, np.pi) @ turned[:, :3, :3]
    assert choose(together(there, replace(back, T_map_camera=turned)), 1).kept.sum() >= 158


def test_floors_are_other_places(toy_world):
    """The street above is not the street below, however alike."""
    below, above = drive(toy_world, 0), drive(toy_world, 1)
    lifted = np.array(above.T_map_camera)
    lifted[:, 2, 3] += 4.0
    places = together(below, replace(above, T_map_camera=lifted))
    assert places.has_levels and choose(places, 1).kept.sum() >= 158


def test_a_camera_that_stood_still_is_one_place(toy_world):
    """A map of every image must neither fill the memory nor be kept as it is."""
    moving = drive(toy_world, 0)
    standing = moving.subset(np.full(3000, 40))
    standing = replace(standing, ids=np.arange(5000, 8000), stamps_ns=standing.stamps_ns + np.arange(3000))
    places = together(moving.subset(np.arange(40)), standing, moving.subset(np.arange(41, 80)))
    choice = choose(replace_spacing(places), 3)
    assert 78 <= choice.kept.sum() <= 81 and choice.alike >= 2999


def replace_spacing(places: Places) -> Places:
    """With the spacing of the drive that moved: measured, it would be that of standing."""
    object.__setattr__(places, "spacing", 5.0)
    return places


def test_laps_of_one_drive_are_looks(toy_world):
    """A taxi that goes round all day brings no more than k looks either."""
    laps = [drive(toy_world, number, 0) for number in range(8)]
    places = together(*laps)
    places = replace(places, drives=np.array(["taxi"] * len(places)))
    kept = choose(places, 2).kept
    assert 76 <= kept.sum() <= 170
    assert_none_is_lost(places, choose(places, 2))


def test_a_map_without_places(toy_world):
    assert not len(choose(drive(toy_world, 0).subset(np.zeros(0, int)), 3).kept)
