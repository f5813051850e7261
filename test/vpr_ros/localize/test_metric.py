"""The best pose is measured: nearer to the truth than the places are, and only if features say so."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.records import Hypothesis
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.open import open_drive
from vpr_ros.evaluation.record import answer_from_estimate, answer_from_json, answer_to_json
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.config import LocalizerConfig, MetricConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.metric import MetricStage, _Measured
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.features import choose_extractor
from vpr_ros.maps.place_map import PlaceMap

BAGS = Path(__file__).parents[3] / "demo" / "bags"
MEASURING = LocalizerConfig(metric=MetricConfig(enabled=True))


class FirstFrames:
    """The beginning of a drive."""

    def __init__(self, drive: Drive, count: int) -> None:
        self.name, self.world, self._drive, self._count = drive.name, drive.world, drive, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self):
        return islice(self._drive, self._count)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """The first 150 m of the demo's town: (with local features, without)."""
    folder, describer = tmp_path_factory.mktemp("maps"), open_describer(threads=1)
    extractors = {"features": choose_extractor("xfeat"), "plain": None}
    for name, extractor in extractors.items():
        drive = FirstFrames(open_drive(BAGS / "overcast"), 60)
        build_map(folder / f"{name}.vprmap", [drive], describer, extractor=extractor).close()
    return folder / "features.vprmap", folder / "plain.vprmap"


def errors_of(localizer, name, count=20, **changes):
    """Errors in metres of each pose, the estimates, and NEES of the measured ones, after a few images to get going."""
    errors, estimates, squared = [], [], []
    for number, frame in enumerate(islice(open_drive(BAGS / name), 6 + count)):
        estimate = localizer.localize(replace(frame.load(), **changes))
        if number < 6:
            continue
        best = estimate.best
        assert best is not None
        error = geometry.difference(best.T_map_camera, frame.T_map_camera)
        errors.append(float(np.linalg.norm(error[:3])))
        estimates.append(estimate)
        if best.measured:
            squared.append(error @ np.linalg.solve(best.covariance, error) / 6)
    return np.array(errors), estimates, squared


@pytest.mark.parametrize(("name", "largest_m", "least_share"), [("sun", 0.25, 0.8), ("night", 0.4, 0.4)])
def test_measured_poses_are_near_the_truth(maps, name, largest_m, least_share):
    """The whole way on real files: places are metres apart, the pose between them is found to decimetres."""
    with Localizer.open(maps[0], config=MEASURING, threads=1) as localizer:
        errors, estimates, squared = errors_of(localizer, name)
    with Localizer.open(maps[0], threads=1) as localizer:
        before, unmeasured, _ = errors_of(localizer, name)
    measured = np.array([estimate.best.measured for estimate in estimates])
    assert measured.mean() >= least_share and not any(estimate.best.measured for estimate in unmeasured)
    assert np.median(errors[measured]) < largest_m < np.median(before)
    assert 0.1 < np.mean(squared) < 4
    assert all(estimate.timings_ms["metric"] > 0 for estimate in estimates)
    for estimate, plain in zip(estimates, unmeasured, strict=True):
        assert estimate.best.probability == plain.best.probability
        assert np.linalg.eigvalsh(estimate.best.covariance)[0] > 0
        for other, as_before in zip(estimate.hypotheses[1:], plain.hypotheses[1:], strict=True):
            assert np.array_equal(other.T_map_camera, as_before.T_map_camera) and not other.measured


def test_without_intrinsics_the_pose_is_that_of_the_places(maps):
    """A pose that nothing measured must not be called measured."""
    with Localizer.open(maps[0], config=MEASURING, threads=1) as localizer:
        _, estimates, _ = errors_of(localizer, "sun", 3, intrinsics=None)
        assert localizer.unmeasurable == "" and not any(estimate.best.measured for estimate in estimates)


def test_a_map_without_local_features_says_so(maps):
    """Asked for and not there: one sentence for the log, and poses as before."""
    with Localizer.open(maps[1], config=MEASURING, threads=1) as localizer:
        assert "plain.vprmap has no local features" in localizer.unmeasurable
        _, estimates, _ = errors_of(localizer, "sun", 2)
        assert not any(estimate.best.measured for estimate in estimates)
    with Localizer.open(maps[1], threads=1) as localizer:
        assert localizer.unmeasurable == ""


def test_single_images_have_no_past(maps):
    """A question about one image, possibly of another camera, neither uses nor moves what was measured."""
    with Localizer.open(maps[0], config=MEASURING, threads=1) as localizer:
        errors_of(localizer, "sun", 2)
        last = localizer.metric._last
        assert last is not None and localizer.alone().metric is None
        localizer.reset()
        assert localizer.metric._last is None


def test_the_record_keeps_that_it_was_measured(maps):
    """Files of answers are judged later: which poses were measured must be in them."""
    with Localizer.open(maps[0], config=MEASURING, threads=1) as localizer:
        _, estimates, _ = errors_of(localizer, "sun", 2)
    read = answer_from_json(answer_to_json(answer_from_estimate(estimates[-1], 0)))
    assert read.hypotheses[0].inliers == estimates[-1].best.inliers > 0


def test_the_last_measured_pose_helps_unless_it_contradicts(maps):
    """Odometry carries it on; where the places say otherwise, as after a jump, it is dropped."""
    place_map = PlaceMap.open(maps[0])
    stage = MetricStage.open(place_map, MEASURING)
    T = place_map.places.T_map_camera[3]
    hypothesis = Hypothesis(T, np.diag([1.0] * 3 + [0.01] * 3), 0.9, (4,))
    frame = next(iter(open_drive(BAGS / "overcast")))
    stage.measured([hypothesis], frame.load().image_rgb, None, frame.intrinsics, np.eye(4))
    assert stage._last is None  # that image is of another place
    step = geometry.transform(np.eye(3), np.array([0.0, 0.0, 1.0]))
    for aside, used in ((0.5, True), (30.0, False)):
        T_last = T @ geometry.inverse(step)
        T_last[0, 3] += aside
        stage._last = _Measured(T_last, 1e-4 * np.eye(6), T, T)
        T_known, covariance, followed = stage._known(hypothesis, T @ step, T @ step)
        assert (np.trace(covariance[:3, :3]) < 0.3) == followed == used
        assert np.linalg.norm(T_known[:3, 3] - (T_last @ step)[:3, 3]) < 0.1 or not used
        assert np.array_equal(stage._known(hypothesis, None, None)[0], T)
        T_far = T @ geometry.transform(np.eye(3), np.array([0.0, 0.0, 100.0]))
        assert not stage._known(hypothesis, T_far, T_far)[2]  # odometry has drifted by more than the places are apart
    # The rear camera's image of the same moment: no way was driven, so that odometry adds next to no error.
    rear = geometry.transform(geometry.matrix_from_rpy(0, np.pi, 0), np.array([0.0, 0.0, -2.0]))
    seen = replace(hypothesis, T_map_camera=T @ rear)
    stage._last = _Measured(T, np.diag([1e-4] * 6), T, T)
    of_same_moment = stage._known(seen, T @ rear, T)[1]
    of_driven_way = stage._known(seen, T @ rear, T @ rear)[1]
    assert of_same_moment[5, 5] < 0.3 * of_driven_way[5, 5]
    place_map.close()
