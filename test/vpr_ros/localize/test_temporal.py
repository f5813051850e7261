"""The filter is what makes a weak camera answer trustworthy: it must follow odometry, doubt, forget and say "off
the map".
"""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.records import Estimate
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.config import FilterConfig, LocalizerConfig
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.localize.temporal import BayesFilter
from vpr_ros.localize.view_change import Change
from vpr_ros.maps.calibration import Calibration

SECOND = 1_000_000_000


def drive(
    localizer, world, start, metres, step=1.0, noise=1.5, odometry=True, first_stamp=0, speed=5.0
) -> list[Estimate]:
    """Answers along a stretch of the street, images a step apart."""
    answers = []
    for k in range(int(metres / step)):
        along = start + k * step
        stamp = first_stamp + int(k * step / speed * SECOND)
        pose = world.pose(along) if odometry else None
        answers.append(localizer.recognise(stamp, world.descriptor(along, noise, seed=k), pose))
    return answers


def right(world, answers: list[Estimate], start: float, step: float = 1.0) -> np.ndarray:
    """Whether each answer lies within 25 m of the truth."""
    truth = [world.pose(start + k * step)[:3, 3] for k in range(len(answers))]
    return np.array(
        [
            a.best is not None and np.linalg.norm(a.best.T_map_camera[:3, 3] - t) < 25
            for a, t in zip(answers, truth, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def calibration(toy_world) -> Calibration:
    """Fitted on a noisy drive of its own, as a user would."""
    along = np.arange(0.0, 380.0, 2.0)
    held_out = DescribedDrive(
        name="held out",
        stamps_ns=(along / 5 * SECOND).astype(np.int64),
        descriptors=np.stack([toy_world.descriptor(a, 1.5, seed=5000 + int(a)) for a in along]),
        T_map_camera=np.stack([toy_world.pose(a) for a in along]),
        T_odom_camera=[toy_world.pose(a) for a in along],
    )
    return fit(toy_world.places(), None, [held_out]).calibration


@pytest.fixture
def localizer(toy_world, calibration) -> Localizer:
    return Localizer(toy_world.places(), describer=None, calibration=calibration)


def test_time_helps_where_single_images_fail(localizer, toy_world):
    """With heavy noise a single image is often wrong; after 30 m of odometry the filter must not be."""
    answers = drive(localizer, toy_world, 50, 100)
    alone = np.array(
        [
            np.linalg.norm(a.matches[0].T_map_camera[:3, 3] - toy_world.pose(50 + k)[:3, 3]) < 25
            for k, a in enumerate(answers)
        ]
    )
    filtered = right(toy_world, answers, 50)[30:]
    assert filtered.mean() > 0.97
    assert filtered.mean() >= alone.mean()


def test_odometry_that_restarts_is_no_motion(localizer, toy_world):
    """A reset that is slower than 40 m/s passes for driving, and took the belief along."""
    right_here = []
    for told in (True, False):
        localizer.reset()
        drive(localizer, toy_world, 100.0, 60.0)
        if told:
            localizer.restart_odometry()
        answer = localizer.recognise(13 * SECOND, toy_world.descriptor(161.0, 3.0), toy_world.pose(196.0))
        truth = toy_world.pose(161.0)[:3, 3]
        near = [h for h in answer.hypotheses if np.linalg.norm(h.T_map_camera[:3, 3] - truth) < 15]
        right_here.append(sum(hypothesis.probability for hypothesis in near))
    assert right_here[0] > 0.5 and right_here[1] < 0.1


def test_without_odometry_time_alone_still_helps(localizer, toy_world):
    """Users without odometry get a filter too: motion is bounded by the typical speed."""
    answers = drive(localizer, toy_world, 50, 100, odometry=False)
    assert right(toy_world, answers, 50)[40:].mean() > 0.95


def test_pose_follows_odometry_between_places(localizer, toy_world):
    """Between two places 5 m apart the pose must move with the odometry, not jump from place to place."""
    answers = drive(localizer, toy_world, 50, 60, noise=0.0)
    errors = [
        np.linalg.norm(a.best.T_map_camera[:2, 3] - toy_world.pose(50 + k)[:2, 3])
        for k, a in enumerate(answers)
        if k > 30
    ]
    assert np.median(errors) < 2.5


def test_leaving_the_map_is_said(localizer, toy_world):
    """A detour over unknown streets must be called off the map, and coming back must be noticed."""
    drive(localizer, toy_world, 0, 60, noise=0.5)
    lost = []
    for k in range(100):  # straight on, away from the circle
        pose = toy_world.pose(60).copy()
        pose[:3, 3] += pose[:3, 2] * k
        lost.append(localizer.recognise(12 * SECOND + k * SECOND // 5, toy_world.noise_image(k), pose))
    assert np.mean([a.best is None for a in lost[40:]]) > 0.95
    back = drive(localizer, toy_world, 200, 60, noise=0.5, first_stamp=40 * SECOND)
    assert right(toy_world, back, 200)[30:].mean() > 0.95


@pytest.mark.parametrize("odometry", [True, False])
@pytest.mark.parametrize("step_m", [1.0, 2.5, 5.0])
def test_beyond_the_end_of_the_map_nothing_holds_the_belief(toy_world, odometry, step_m):
    """In small steps too: each ends nearest to the last place, and must not begin there again."""
    places = toy_world.places().subset(np.arange(40))  # half of the circle
    bayes = BayesFilter(places, FilterConfig(), Calibration())
    at_the_end = SparseValues.with_rows(np.array([39]), np.array([30.0]), -30.0, len(places))
    bayes.start_at(at_the_end)
    change = Change(kept=np.exp(-step_m / 8.0), distance=step_m, repeated=np.exp(-step_m / 8.0))
    for k in range(round(30.0 / step_m)):
        bayes.predict(k * SECOND, toy_world.pose(195.0 + k * step_m) if odometry else None, change)
        belief = bayes.weigh(None)
        assert k > 0 or belief.off_map < 0.01
    assert belief.off_map > 0.9


@pytest.mark.parametrize("odometry", [True, False])
def test_on_the_map_nothing_is_lost_by_driving(toy_world, odometry):
    """Without evidence the belief stays on a road that goes on, in a bend too, but for the rate of leaving."""
    places = toy_world.places()
    bayes = BayesFilter(places, FilterConfig(), Calibration())
    bayes.start_at(SparseValues.with_rows(np.array([0]), np.array([30.0]), -30.0, len(places)))
    for k in range(12):
        bayes.predict(k * SECOND, toy_world.pose(k * 5.0) if odometry else None, Change(0.5, 5.0, 0.5))
        belief = bayes.weigh(None)
    assert belief.off_map < 1 - 0.97**12


@pytest.mark.parametrize("odometry", [True, False])
def test_one_image_that_looks_like_the_map_is_no_return(toy_world, odometry):
    """Off the map a street looks like a mapped one now and then, each time like another; it is not one."""
    calibration = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=8.0, temperature=1.0)
    localizer = Localizer(toy_world.places(), None, None, calibration)
    answers = []
    for k in range(100):
        image = toy_world.noise_image(k)
        if k % 5 == 4:
            image = 0.4 * toy_world.descriptor(37.0 * k) + image
        pose = toy_world.pose(100.0)
        pose[0, 3] += 1000.0 + 3.0 * k
        image = (image / np.linalg.norm(image)).astype(np.float32)
        answers.append(localizer.recognise(k * SECOND, image, pose if odometry else None))
    assert max(answer.matches[0].similarity for answer in answers[4::5]) > 0.3
    assert np.mean([answer.best is None for answer in answers[10:]]) > 0.95


def test_clock_going_back_forgets(localizer, toy_world):
    """A looped bag starts again at stamp zero, elsewhere: the old belief must not drag the new answer."""
    drive(localizer, toy_world, 0, 60, noise=0.2, first_stamp=100 * SECOND)
    answer = localizer.recognise(0, toy_world.descriptor(200), toy_world.pose(200))
    assert np.linalg.norm(answer.best.T_map_camera[:3, 3] - toy_world.pose(200)[:3, 3]) < 10


def test_standing_still_adds_no_confidence(localizer, toy_world):
    """A hundred pictures of one view are one observation; else a parked robot grows certain of a wrong place."""
    descriptor, pose = toy_world.descriptor(50, noise=1.0), toy_world.pose(50)
    answers = [localizer.recognise(k * SECOND // 30, descriptor, pose) for k in range(100)]
    tenth, last = answers[9].hypotheses[0], answers[-1].hypotheses[0]  # a first image alone could be an accident
    assert last.probability == pytest.approx(tenth.probability, abs=0.02)


def test_belief_stays_a_distribution(toy_world):
    """Whatever the motion and the evidence, even absurd odometry, probabilities sum to one and stay finite."""
    places = toy_world.places()
    bayes = BayesFilter(places, FilterConfig(), Calibration())
    rng = np.random.default_rng(0)
    for k in range(200):
        pose = None if k % 7 == 0 else toy_world.pose(k) @ np.diag([1.0, 1.0, 1.0, 1.0])
        if k % 31 == 0 and pose is not None:
            pose[:3, 3] += 1e6
        bayes.predict(k * SECOND // 10, pose)
        belief = bayes.weigh(SparseValues.of(rng.normal(0, 50, len(places))))
        assert np.all(belief.places.values >= 0)
        assert belief.places.sum() + belief.off_map == pytest.approx(1.0)


def test_single_frame_mode_ignores_the_past(toy_world):
    """filter: false promises each answer from its image alone."""
    config = LocalizerConfig(filter=FilterConfig(enabled=False))
    one, other = (Localizer(toy_world.places(), describer=None, config=config) for _ in range(2))
    drive(one, toy_world, 0, 50)
    descriptor = toy_world.descriptor(200, 0.5)
    first = one.recognise(100 * SECOND, descriptor).hypotheses[0].probability
    assert first == other.recognise(0, descriptor).hypotheses[0].probability
