"""The answer is right for every robot: one that stands, turns, creeps or races, on a map of any scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.image import Preprocessing, has_content
from vpr_ros.base.records import DriveFrame, Estimate, Frame, Hypothesis
from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.options import DriveOptions
from vpr_ros.inference.describer import Description
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import FilterConfig, LocalizerConfig, SearchConfig
from vpr_ros.localize.eye import STUCK
from vpr_ros.localize.localizer import NO_CONTENT, Localizer
from vpr_ros.localize.look import Look
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.view_change import Change, SeenScale, ViewChange
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, map_mean
from vpr_ros.maps.places import Places

SECOND = 10**9
BAGS = Path(__file__).parents[3] / "demo" / "bags"
SURE = Calibration(
    z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5
)  # as shipped


def localizer(world: Any, **config: Any) -> Localizer:
    return Localizer(world.places(), None, LocalizerConfig(**config), SURE)  # type: ignore[arg-type]


def certainty(estimate: Estimate) -> float:
    return estimate.best.probability if estimate.best else estimate.off_map_probability


def error(world: Any, estimate: Estimate, along: float) -> float:
    """Metres between the answer and a place along the street; infinite for "not on this map"."""
    return float("inf") if estimate.best is None else error_of(world, estimate.best, along)


def error_of(world: Any, hypothesis: Hypothesis, along: float) -> float:
    """Metres between a hypothesis and a place along the street."""
    return float(np.linalg.norm(hypothesis.T_map_camera[:2, 3] - world.pose(along)[:2, 3]))


@pytest.mark.parametrize("odometry", [True, False])
def test_a_wrong_first_image_is_forgotten(toy_world: Any, odometry: bool) -> None:
    """A robot that stands and whose first image showed another place: the view changed, whatever odometry says."""
    found, pose = localizer(toy_world), toy_world.pose(100.0) if odometry else None
    found.recognise(0, toy_world.descriptor(300.0, 0.2), pose)
    answers = [found.recognise(k * SECOND // 4, toy_world.descriptor(100.0, 0.2, k), pose) for k in range(1, 13)]
    assert error(toy_world, answers[-1], 100.0) < 25 and certainty(answers[-1]) > 0.9


def test_standing_still_makes_neither_surer_nor_deaf(toy_world: Any) -> None:
    """Forty images of one view are one view; a new view then counts as if it were the second image."""
    found, pose = localizer(toy_world), toy_world.pose(100.0)
    views = [found.recognise(k * SECOND, toy_world.descriptor(100.0, 0.1, k), pose) for k in range(40)]
    assert error(toy_world, views[-1], 100.0) < 25
    assert abs(certainty(views[-1]) - certainty(views[3])) < 0.1
    moved = [found.recognise((40 + k) * SECOND, toy_world.descriptor(250.0, 0.1, k), pose) for k in range(6)]
    assert error(toy_world, moved[-1], 250.0) < 25


@pytest.mark.parametrize(("kept", "least", "most"), [(0.99, 0.9, 1.0), (0.95, 0.75, 0.95), (0.7, 0.5, 0.52)])
def test_noise_keeps_no_view_from_being_confirmed(kept: float, least: float, most: float) -> None:
    """By night each image of one view passes for a new one, whose first image counts half: a robot that stood stayed
    unknown, although each of its images alone was recognised. Steps of a drive stay first images of other views.
    """
    look, ratios = Look(0.3, 0.5), SparseValues(np.array([0]), np.array([1.0]), 0.0, 1)
    for _ in range(20):
        look.end(Change(kept=kept, distance=0.5, repeated=0.9))
        look.add(ratios)
    evidence = look.evidence
    assert evidence is not None and least <= evidence.values[0] <= most


@pytest.mark.parametrize("odometry", [True, False])
def test_a_covered_camera_does_not_hold_the_robot_where_it_saw_last(toy_world: Any, odometry: bool) -> None:
    """It drives on for 60 m. The last view was applied again with every black image: 98 % at the old place."""
    found = localizer(toy_world)

    def drive(along: float, problem: str = "") -> Estimate:
        pose = toy_world.pose(along) if odometry else None
        return found.recognise(int(along / 5.0 * SECOND), toy_world.descriptor(along, 0.1), pose, problem=problem)

    seen = [drive(along) for along in np.arange(20.0, 70.0, 2.5)]
    assert certainty(seen[-1]) > 0.9 and error(toy_world, seen[-1], 67.5) < 10
    covered = [drive(along, NO_CONTENT) for along in np.arange(70.0, 130.0, 2.5)]
    best = covered[-1].best
    assert best is None or (error(toy_world, covered[-1], 127.5) < 20 and best.probability < certainty(seen[-1]) - 0.1)
    again = [drive(along) for along in np.arange(130.0, 160.0, 2.5)]
    assert error(toy_world, again[-1], 157.5) < 10 and certainty(again[-1]) > 0.9


@pytest.mark.parametrize("odometry", [True, False])
def test_a_blinking_camera_makes_neither_surer_nor_deaf(toy_world: Any, odometry: bool) -> None:
    """Every other image of a standing robot is black: the view that comes back is no new one."""
    found, pose = localizer(toy_world), toy_world.pose(100.0) if odometry else None
    views = []
    for k in range(40):
        views.append(found.recognise(2 * k * SECOND, toy_world.descriptor(100.0, 0.1, 1), pose))
        found.recognise((2 * k + 1) * SECOND, toy_world.descriptor(0.0), pose, problem=NO_CONTENT)
    assert error(toy_world, views[-1], 100.0) < 25
    assert abs(certainty(views[-1]) - certainty(views[3])) < 0.1


@pytest.mark.parametrize(
    ("pause_s", "view_kept", "odometry", "forgotten"),
    [(0.5, 0.02, False, False), (20.0, 0.99, False, False), (20.0, 0.02, True, False), (20.0, 0.02, False, True)],
)
def test_missed_images_forget_where_the_robot_was(
    toy_world: Any, pause_s: float, view_kept: float, odometry: bool, forgotten: bool
) -> None:
    """Without images for 12 s a robot at 8 m/s was 100 m away, and got poses beside the old place at 92 %. One that
    stood, went on without a pause, or has odometry, is where its images and odometry say.
    """
    found = localizer(toy_world)
    for along in np.arange(20.0, 70.0, 2.5):
        pose = toy_world.pose(along) if odometry else None
        found.recognise(int(along / 5.0 * SECOND), toy_world.descriptor(along, 0.1), pose)
    pose, change = toy_world.pose(75.0) if odometry else None, Change(view_kept, 7.5, view_kept)
    found.filter.predict(int((67.5 / 5.0 + pause_s) * SECOND), pose, change)
    assert (found.filter.belief.sum() < 0.15) == forgotten


@pytest.mark.parametrize("offsets_s", [(0.0, 0.0), (0.0, 0.01), (0.0, 0.01, 0.02, 0.03)])
def test_several_cameras_miss_no_images(toy_world: Any, offsets_s: tuple[float, ...]) -> None:
    """Their images come together once a second: the time to the next ones is no pause, whatever the views keep."""
    found = localizer(toy_world)
    T_base_camera = geometry.T_BODY_OPTICAL
    doubts: list[float] = []
    doubt = found.filter._doubt
    found.filter._doubt = lambda share: (doubts.append(share), doubt(share))[1]  # type: ignore[method-assign]
    for k in range(20):
        for camera, offset_s in enumerate(offsets_s):
            stamp_ns = int((k + offset_s) * SECOND)
            found.recognise(
                stamp_ns, toy_world.descriptor(20.0 + 8 * k), camera=f"{camera}", T_base_camera=T_base_camera
            )
            found.filter.predict(stamp_ns, None, Change(0.05, 8.0, 0.0), camera)
    assert max(doubts[10:]) <= 0.25  # a change of view without motion may be doubted, FILTER.carried, no pause


def test_turning_on_the_spot_counts_as_seeing_something_else(toy_world: Any) -> None:
    """From a wall that no map has to a mapped view, without a metre of translation."""
    found = localizer(toy_world)
    for k in range(5):
        found.recognise(k * SECOND, toy_world.noise_image(1), toy_world.pose(100.0) @ turned(np.pi))
    answers = [
        found.recognise((5 + k) * SECOND, toy_world.descriptor(100.0, 0.1, k), toy_world.pose(100.0)) for k in range(6)
    ]
    assert error(toy_world, answers[-1], 100.0) < 25


def turned(angle: float) -> np.ndarray:
    """A turn of the camera about its vertical axis."""
    return geometry.transform(geometry.rotation_from_vector(np.array([0.0, angle, 0.0])), np.zeros(3))


@pytest.mark.parametrize("speed", [0.2, 1.0, 5.0, 12.0, 35.0])
def test_without_odometry_speed_comes_from_the_images(toy_world: Any, speed: float) -> None:
    """The same drive at any speed: its images say how far they are apart, the stamps do not."""
    found = localizer(toy_world)
    along = np.arange(20.0, 220.0, 2.5)
    answers = [found.recognise(int(a / speed * SECOND), toy_world.descriptor(a, 0.8, int(a))) for a in along]
    right = [error(toy_world, answer, a) < 25 for answer, a in zip(answers, along, strict=True)]
    assert np.mean(right[10:]) > 0.97


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_the_scale_comes_from_the_map(toy_world: Any, scale: float) -> None:
    """A corridor with a place each half metre and a motorway with one each 20 m are the same to the filter."""
    places = toy_world.places()
    T = places.T_map_camera.copy()
    T[:, :3, 3] *= scale
    found = Localizer(replace(places, T_map_camera=T), None, None, SURE)  # type: ignore[arg-type]
    along, errors = np.arange(20.0, 220.0, 2.5), []
    for row, a in enumerate(along):
        best = found.recognise(row * SECOND // 2, toy_world.descriptor(a, 0.8, row)).best
        away = np.inf if best is None else np.linalg.norm(best.T_map_camera[:2, 3] - scale * toy_world.pose(a)[:2, 3])
        errors.append(away / scale)
    assert np.mean(np.array(errors[10:]) < 15) > 0.95


def test_a_speed_that_is_set_wins(toy_world: Any) -> None:
    """A user who knows the speed keeps the last word."""
    found = localizer(toy_world, filter=FilterConfig(speed=7.0))
    for k in range(2):
        found.recognise(k * SECOND, toy_world.descriptor(100.0 + 7 * k))
    assert (
        found.filter._motion(
            SECOND, None, 2 * SECOND, None, found.eyes[0].view_change.to(toy_world.descriptor(0.0))
        ).distance
        == 7.0
    )


@pytest.mark.parametrize(("speed", "warned"), [(5.0, False), (50.0, True), (0.4, True), (0.0, False)])
def test_a_speed_that_the_images_contradict_is_named(
    toy_world: Any, caplog: pytest.LogCaptureFixture, speed: float, warned: bool
) -> None:
    """Set ten times too high or low, it cost recall without a word. The warning comes once, not with each image."""
    found = localizer(toy_world, filter=FilterConfig(speed=speed))
    for k in range(300):
        found.recognise(k * SECOND // 2, toy_world.descriptor(2.5 * k, 0.1, k))  # 5 m/s
    assert len(caplog.messages) == warned
    assert not warned or f"filter.speed is {speed:g} m/s, but the images change as at" in caplog.text


@pytest.mark.parametrize("count", [1, 5])
def test_a_model_with_a_vocabulary_knows_elsewhere_from_few_images(tmp_path: Path, count: int) -> None:
    """A map of few images has the model's own vocabulary, in which all images are more alike: streets elsewhere must
    not pass for its places, as half of them did.
    """
    describer, path = open_describer("demixvpr_lite0", "onnx", 1), tmp_path / "few.vprmap"

    class Few(BagDrive):
        def __iter__(self) -> Iterator[DriveFrame]:
            return islice(super().__iter__(), 10, 10 + 8 * count, 8)

    build_map(path, [Few(BAGS / "overcast", DriveOptions())], describer, 0.0).close()
    here, elsewhere = [], []
    with Localizer.open(path, backend="onnx", threads=1) as found:
        places = found.places.positions
        for number, frame in enumerate(open_drive(BAGS / "sun")):
            position = found.place_map.map_pose(frame.T_map_camera)[:3, 3]
            away = np.linalg.norm(places - position, axis=1).min()
            if away < 3 or (away > 60 and number % 6 == 0):
                found.reset()
                poses = [found.localize(Frame(k * SECOND, frame.read())).best is not None for k in range(2)]
                (here if away < 3 else elsewhere).append(poses[-1])
    assert np.mean(here) >= 0.9 and np.mean(elsewhere) <= 0.02


@pytest.mark.parametrize("count", [1, 2, 60])
def test_maps_of_one_place_know_elsewhere(toy_world: Any, count: int) -> None:
    """One place, two, or sixty equal ones: a pose at the place and none anywhere else."""
    one = toy_world.places().subset(np.array([20]))
    seen = toy_world.descriptor(100.0)
    second = seen if count == 60 else toy_world.descriptor(105.0)
    places = Places(
        ids=np.arange(1, count + 1),
        drives=np.repeat(one.drives, count),
        stamps_ns=np.arange(count),
        T_map_camera=np.repeat(one.T_map_camera, count, axis=0),
        descriptors=np.stack([seen, *[second] * (count - 1)])[:, None],
    )
    found = Localizer(places, None, LocalizerConfig(filter=FilterConfig(enabled=False)), SURE)  # type: ignore[arg-type]
    here = [found.recognise(k, toy_world.descriptor(100.0, 1.0, k)).best is not None for k in range(20)]
    elsewhere = [found.recognise(k, toy_world.noise_image(k)).best is not None for k in range(60)]
    assert np.mean(here) >= 0.9 and np.mean(elsewhere) <= 0.02


def test_places_that_look_alike_do_not_stand_for_elsewhere(toy_world: Any) -> None:
    """A robot that parked while it mapped, or a tunnel: with half of the map alike, all else stood out at 0.98."""
    street = toy_world.places()
    parked = np.stack([toy_world.descriptor(0.0, 0.2, k) for k in range(120)])[:, None]
    places = Places(
        ids=np.arange(1, 201),
        drives=np.repeat(street.drives[:1], 200),
        stamps_ns=np.arange(200),
        T_map_camera=np.concatenate([np.repeat(street.T_map_camera[:1], 120, axis=0), street.T_map_camera]),
        descriptors=np.concatenate([parked, street.descriptors]),
    )
    assert len(places.distinct) < 90 and places.variety == 1.0
    assert places.elsewhere_cosine == pytest.approx(street.elsewhere_cosine, abs=0.15)
    found = Localizer(places, None, LocalizerConfig(filter=FilterConfig(enabled=False)), SURE)  # type: ignore[arg-type]
    here = [found.recognise(k, toy_world.descriptor(5.0 * k + 100, 0.5, k)).best is not None for k in range(20)]
    elsewhere = [found.recognise(k, toy_world.noise_image(k)).best is not None for k in range(60)]
    assert np.mean(here) >= 0.9 and np.mean(elsewhere) <= 0.02


@pytest.mark.parametrize(
    ("matches", "index"), [(1, "Flat"), (2, "Flat"), (50, "IVF16,Flat"), (50, "PQ16x4fs"), (50, "HNSW32")]
)
def test_few_or_rough_matches_are_no_nonsense(toy_world: Any, matches: int, index: str) -> None:
    """What was not fetched is background, and what was fetched is compared exactly."""
    found = localizer(toy_world, search=SearchConfig(matches=matches, index=index))
    along = np.arange(20.0, 200.0, 2.5)
    answers = [
        found.recognise(int(a / 5 * SECOND), toy_world.descriptor(a, 0.8, int(a)), toy_world.pose(a)) for a in along
    ]
    right = [error(toy_world, answer, a) < 25 for answer, a in zip(answers, along, strict=True)]
    assert np.mean(right[8:]) > 0.9


class Street:
    """A describer that sees where it is: the grey level is the metre along the street."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.manifest: Any = SimpleNamespace(preprocessing=Preprocessing(8, 8))
        self.backend, self.batch_sizes = "by hand", (1,)

    def describe(self, images: np.ndarray) -> Description:
        return Description(np.stack([self._world.descriptor(float(image.mean())) for image in images]), None)


def test_images_without_content_are_no_evidence(toy_world: Any) -> None:
    """A covered lens must not move the answer, and must be named."""
    found = Localizer(toy_world.places(), Street(toy_world), None, SURE)  # type: ignore[arg-type]
    image = np.full((32, 32, 3), 100, np.uint8)
    image[::2] += 40
    image[1::2] -= 40
    image[:16] += 20
    image[16:] -= 20
    before = found.localize(Frame(0, image))
    for k in range(1, 4):
        black = found.localize(Frame(k * SECOND, np.zeros((32, 32, 3), np.uint8)))
        assert black.problem == NO_CONTENT and abs(certainty(black) - certainty(before)) < 0.02
    assert found.localize(Frame(4 * SECOND, image)).problem == ""


def test_content_is_contrast() -> None:
    """Black, white and a finger have none; a night street has some."""
    rng = np.random.default_rng(0)
    assert not has_content(np.zeros((48, 64, 3), np.uint8)) and not has_content(np.full((48, 64, 3), 255, np.uint8))
    assert not has_content((60 + rng.normal(0, 2, (48, 64, 3))).astype(np.uint8))  # noise of the sensor
    night = np.zeros((48, 64, 3), np.uint8)
    night[10:20, 20:40] = 60
    assert has_content(night)


def test_the_maps_scale_is_its_own(toy_world: Any) -> None:
    """5 m a place here: a view that changed as much as between neighbours is 5 m away, and an equal one none."""
    places = toy_world.places()
    change = ViewChange(places)
    change.to(places.descriptors[10, 0])
    assert change.to(places.descriptors[10, 0]).same_view
    assert change.to(places.descriptors[11, 0]).distance == pytest.approx(5.0, rel=0.5)


def test_another_light_is_no_view(toy_world: Any) -> None:
    """At night all images have something in common. It must not make neighbours look as if the robot stood."""
    places = toy_world.places()
    night = 1.5 * toy_world.noise_image(7)

    def driven(descriptors: list[np.ndarray], shift: np.ndarray) -> float:
        session_mean = SessionMean(map_mean(places))
        change, total = ViewChange(places), 0.0
        for number, descriptor in enumerate(descriptors):
            shifted = (descriptor + shift) / np.linalg.norm(descriptor + shift)
            step = change.to(shifted.astype(np.float32), None, session_mean).distance
            session_mean.centred(shifted.astype(np.float32))
            total += step if number > 30 else 0.0
        return total

    views = [toy_world.descriptor(a) for a in np.arange(0.0, 400.0, 4.0)]
    assert driven(views, night) == pytest.approx(driven(views, 0 * night), rel=0.4)  # a third of that if it counted


@pytest.mark.parametrize("true_factor", [0.6, 1.0, 1.8])
def test_how_far_a_change_of_view_is_is_learnt(true_factor: float) -> None:
    """Another lens or light changes views faster or slower than the map's; places that are passed tell by how much."""
    scale = SeenScale(5.0)
    for k in range(200):
        if scale.is_due:
            scale.at(np.array([k * 2.5 * true_factor, 0.0]))
        scale.moved(2.5)
    assert scale.factor == pytest.approx(true_factor, rel=0.05)


def test_a_jump_teaches_no_scale() -> None:
    """The robot was found elsewhere, was lost in between, or turned on the spot."""
    scale = SeenScale(5.0)
    jumps: list[float | None] = [0.0, 25.0, 900.0, None, 300.0, 300.0, 300.5, None]
    for position in jumps:
        scale.at(None if position is None else np.array([position, 0.0]))
        scale.moved(25.0)
    assert scale.factor == pytest.approx(1.0)


def test_the_scale_differs_along_the_map(toy_world: Any) -> None:
    """Where neighbouring places look more alike, as on a long straight road, the same change is a longer way."""
    slow, fast = toy_world.places(every=2.0), toy_world.places(every=8.0)
    joined = Places(
        ids=np.arange(1, len(slow) + len(fast) + 1),
        drives=np.array(["road"] * (len(slow) + len(fast))),
        stamps_ns=np.concatenate([slow.stamps_ns, fast.stamps_ns]),
        T_map_camera=np.concatenate([slow.T_map_camera, fast.T_map_camera]),
        descriptors=np.concatenate([slow.descriptors, fast.descriptors]),
    )
    distances = []
    for row in (100, len(slow) + 20):  # a place of each half
        change = ViewChange(joined)
        belief = np.zeros(len(joined))
        belief[row] = 1.0
        change.to(toy_world.descriptor(100.0), SparseValues.of(belief))
        distances.append(change.to(toy_world.descriptor(103.0), SparseValues.of(belief)).distance)
    assert distances[0] > 1.5 * distances[1]


class RoughRoad:
    """A straight road, an image each half metre. Cosine of two: exp(-(distance / 8 m) ** 0.75), as on real roads."""

    def __init__(self, seed: int, length: float = 150.0, roughness: float = 0.75) -> None:
        self.along = np.arange(0.0, length, 0.5)
        apart = np.abs(self.along[:, None] - self.along)
        factor = np.linalg.cholesky(np.exp(-((apart / 8.0) ** roughness)) + 1e-9 * np.eye(len(self.along)))
        axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(1024, len(self.along))))[0].T
        self.descriptors = (factor @ axes).astype(np.float32)

    def places(self, every: int = 10) -> Places:
        rows = np.arange(0, len(self.along), every)
        poses = np.tile(geometry.transform(geometry.R_BODY_OPTICAL, np.zeros(3)), (len(rows), 1, 1))
        poses[:, 0, 3] = self.along[rows]
        stamps_ns = (self.along[rows] * 1e8).astype(np.int64)
        return Places(rows + 1, np.array(["road"] * len(rows)), stamps_ns, poses, self.descriptors[rows, None])


def test_small_steps_repeat_the_view_as_much_as_large_ones() -> None:
    """Near things leave the view first: ten half metres change it more than 5 m, and are no more evidence."""
    road = RoughRoad(0)
    repeated_5m = {}
    for step_m in (0.5, 1.0, 2.5, 5.0):
        change, every = ViewChange(road.places()), round(step_m / 0.5)
        change.to(road.descriptors[0])
        changes = [change.to(x) for x in road.descriptors[every::every]]
        driven_m = len(changes) * step_m
        assert sum(c.distance for c in changes) == pytest.approx(driven_m, rel=0.15)
        repeated_5m[step_m] = np.prod([c.repeated for c in changes]) ** (5.0 / driven_m)
    assert np.ptp(list(repeated_5m.values())) < 0.05, repeated_5m


@pytest.mark.parametrize("roughness", [0.7, 1.0])
def test_small_steps_count_on_a_map_of_places_far_apart(roughness: float) -> None:
    """Such a map does not show how a view changes in small steps: taken too short, the belief would stay behind."""
    road = RoughRoad(0, 400.0, roughness)
    change = ViewChange(road.places(every=40))
    change.to(road.descriptors[0])
    driven_m = sum(change.to(x).distance for x in road.descriptors[2::2])
    assert driven_m > 0.9 * 400.0


def test_a_slow_turn_back_to_the_road_is_seen(toy_world: Any) -> None:
    """From a wall to the road in sixty small steps: each repeats the one before, and the last is a mapped view."""
    found = localizer(toy_world)
    road, wall = toy_world.descriptor(100.0, 0.3), toy_world.noise_image(1)
    for k in range(20):
        found.recognise(k * SECOND // 4, toy_world.noise_image(k))
    for k, share in enumerate(np.linspace(0.0, 1.0, 60)):
        seen = share * road + (1 - share) * wall
        answer = found.recognise((20 + k) * SECOND // 4, (seen / np.linalg.norm(seen)).astype(np.float32))
    assert error(toy_world, answer, 100.0) < 25


def test_a_turn_without_odometry_leads_back_to_where_it_began(toy_world: Any) -> None:
    """After a turn past views that the map has not, the view where it began is known sooner than after a turn at
    another place.
    """

    views = [toy_world.descriptor(118.0, 1.5, 3), *(toy_world.noise_image(k) for k in range(8))]

    def probability(begun: float) -> float:
        found = localizer(toy_world)
        for k in range(10):
            found.recognise(k * SECOND, toy_world.descriptor(begun + 2 * k))
        for k in range(90):  # a whole turn, ten images from each view to the next
            share, before, after = k % 10 / 10, views[k // 10], views[(k // 10 + 1) % 9]
            seen = (1 - share) * before + share * after
            estimate = found.recognise(10 * SECOND + k * SECOND // 10, (seen / np.linalg.norm(seen)).astype(np.float32))
        return sum(h.probability for h in estimate.hypotheses if error_of(toy_world, h, 118.0) < 25)

    assert probability(100.0) > 1.5 * probability(300.0)


def test_one_strange_image_does_not_lose_the_map(toy_world: Any) -> None:
    """A bus in front of the camera is no proof that the robot left the map; a street of them is."""
    found = localizer(toy_world)
    for k in range(20):
        sure = found.recognise(k * SECOND, toy_world.descriptor(5.0 * k, 0.2, k), toy_world.pose(5.0 * k))
    bus = found.recognise(20 * SECOND, toy_world.noise_image(1), toy_world.pose(100.0))
    assert certainty(sure) > 0.9 and error(toy_world, bus, 100.0) < 25
    for k in range(21, 30):
        left = found.recognise(k * SECOND, toy_world.noise_image(k), toy_world.pose(5.0 * k))
    assert left.best is None


def test_a_calibration_of_before_is_read() -> None:
    """Maps that were calibrated with a correlation length keep their calibration."""
    old = {"slope": 2.0, "off_map_score": 3.0, "correlation_length": 20.0, "source": "drive"}
    read = Calibration.from_dict(old)
    assert (read.slope, read.independence, read.similarity_weight) == (2.0, 0.75, 0.0)
    assert read.log_ratio(4.0, 0.9) == pytest.approx(2.0)


@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat", "PQ8x4", "RR16,Flat", "HNSW8", "SQ4", "PCA16,Flat"])
@pytest.mark.parametrize("matches", [1, 3, 50])
def test_any_index_and_any_number_of_matches(toy_world: Any, index: str, matches: int) -> None:
    """An index may find less, or know similarities only roughly; what it finds is compared exactly."""
    config = SearchConfig(matches=matches, index=index)
    found = Localizer(toy_world.places(), None, LocalizerConfig(search=config), SURE)  # type: ignore[arg-type]
    errors = []
    for k in range(20):
        answer = found.recognise(k * SECOND, toy_world.descriptor(5.0 * k, 0.3, k), toy_world.pose(5.0 * k))
        errors.append(error(toy_world, answer, 5.0 * k))
        assert 1 <= len(answer.matches) <= matches
        values = [match.similarity for match in answer.matches]
        assert values == sorted(values, reverse=True) and max(values) <= 1.0001
    assert np.mean(np.array(errors[4:]) < 25) == 1.0


def test_an_index_without_cells_is_refused(toy_world: Any) -> None:
    """It was a traceback when the index was stored."""
    with pytest.raises(ConfigError, match=r"IVF0,Flat.*it has no cells.*try Flat"):
        localizer(toy_world, search=SearchConfig(index="IVF0,Flat"))


def test_an_index_that_would_crash_is_refused(toy_world: Any) -> None:
    """OPQ of fewer descriptors than dimensions ends the process inside FAISS."""
    config = LocalizerConfig(search=SearchConfig(index="OPQ16,PQ16"))
    places = toy_world.places()
    wide = replace(places, descriptors=np.pad(places.descriptors, ((0, 0), (0, 0), (0, 448))))
    with pytest.raises(ConfigError, match="trained on at least 512 descriptors, and 80 places have 80; try Flat"):
        Localizer(wide, None, config, SURE)  # type: ignore[arg-type]


def test_a_camera_that_repeats_its_last_image_is_named(toy_world: Any) -> None:
    """Drivers do that when a camera hangs, with fresh stamps: the answer stayed at 98 % while the robot drove 250 m."""
    found = localizer(toy_world)
    for along in np.arange(0.0, 60.0, 5.0):
        answer = found.recognise(
            int(along * SECOND), toy_world.descriptor(along, 0.1, int(along)), toy_world.pose(along)
        )
    assert error(toy_world, answer, 55.0) < 10
    for along in np.arange(57.0, 120.0, 1.0):
        repeated = toy_world.descriptor(55.0, 0.02, int(along))
        answer = found.recognise(int(along * SECOND), repeated, toy_world.pose(along))
        if along > 61:
            assert answer.problem == STUCK and certainty(answer) < 0.9
    for along in np.arange(120.0, 180.0, 5.0):
        answer = found.recognise(
            int(along * SECOND), toy_world.descriptor(along, 0.1, int(along)), toy_world.pose(along)
        )
    assert not answer.problem and error(toy_world, answer, 175.0) < 10 and certainty(answer) > 0.9


def after_standing(world: Any, offset_m: float, every_s: float, told: bool = False) -> list[Estimate]:
    """The answers of a robot that drove 60 m and stands for 20 images, with odometry that is off from the fifth on."""
    found, answers = localizer(world), []
    for along in np.arange(0.0, 60.0, 5.0):
        found.recognise(int(along * SECOND), world.descriptor(along, 0.1, int(along)), world.pose(along))
    for k in range(20):
        if told and k == 5:
            found.restart_odometry()
        T = world.pose(55.0).copy()
        T[0, 3] += offset_m * (k >= 5)
        stamp_ns = 60 * SECOND + int(k * every_s * SECOND)
        answers.append(found.recognise(stamp_ns, world.descriptor(55.0, 0.02, k), T))
    return answers


@pytest.mark.parametrize(("offset_m", "told"), [(8.0, False), (100.0, False), (100.0, True)])
def test_odometry_that_jumps_while_the_robot_stands_is_no_frozen_camera(
    toy_world: Any, offset_m: float, told: bool
) -> None:
    """The robot was lost until it drove on."""
    answers = after_standing(toy_world, offset_m, 0.1, told)
    assert all(not answer.problem and error(toy_world, answer, 55.0) < 10 for answer in answers)


def test_a_camera_that_repeats_an_image_or_two_is_evidence(toy_world: Any) -> None:
    """At the speed of a car, 5 m are driven in half a second."""
    found, lost = localizer(toy_world), 0
    for along in np.arange(0.0, 200.0, 5.0):
        seen = along - along % 15  # each image three times
        answer = found.recognise(
            int(along / 10 * SECOND), toy_world.descriptor(seen, 0.05, int(seen)), toy_world.pose(along)
        )
        lost += along > 30 and answer.best is None
        assert not answer.problem
    assert lost == 0


def test_a_frozen_camera_takes_nothing_from_another_one(toy_world: Any) -> None:
    """The front camera was without a pose whenever the rear one hung."""
    found = localizer(toy_world)
    behind = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi) @ geometry.R_BODY_OPTICAL, np.zeros(3))
    ahead, lost = geometry.T_BODY_OPTICAL, 0
    for k, along in enumerate(np.arange(0.0, 300.0, 2.5)):
        T_base = toy_world.pose(along) @ geometry.inverse(ahead)
        front = found.recognise(
            k * SECOND // 2, toy_world.descriptor(along, 0.1, k), T_base @ ahead, camera="front", T_base_camera=ahead
        )
        rear = toy_world.descriptor(20.0, 0.02, k) if along > 100 else toy_world.noise_image(k)
        found.recognise(k * SECOND // 2 + 1, rear, T_base @ behind, camera="rear", T_base_camera=behind)
        lost += along > 50 and error(toy_world, front, along) > 25
    assert lost <= 2
