"""Calibration: fit the constants that turn similarities into probabilities, on a drive that is not in the map.

A held-out drive shows how similar the right places are. It also shows images that are off the map: the places around a
stretch of the drive are hidden.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.image import preprocess
from vpr_ros.base.records import Estimate, Hypothesis
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, tally_of
from vpr_ros.drives.left_out import UNREADABLE, count_without_pose, without_poses
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.localize.constants import CALIBRATION_GRID
from vpr_ros.localize.hypotheses import hypothesis_radius
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.observation import ObservationModel
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.map_drives import same_image
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places

_Outcome = tuple[Estimate, np.ndarray, bool]  # estimate, true pose (4, 4), whether it is on the map


@dataclass(frozen=True, eq=False)
class DescribedDrive:
    """A held-out drive with its descriptors.

    stamps_ns: (F,). descriptors: (F, D). T_map_camera: (F, 4, 4) true poses in the map. T_odom_camera: F poses (4, 4)
    or None.
    """

    name: str
    stamps_ns: np.ndarray
    descriptors: np.ndarray
    T_map_camera: np.ndarray
    T_odom_camera: Sequence[np.ndarray | None]

    def is_in(self, places: Places) -> bool:
        """Whether some of these places were made from images of this drive: then it is not held out.

        Compared by stamp and descriptor, since two drives can share a name or have stamps that begin at zero.
        """
        _, ours, theirs = np.intersect1d(self.stamps_ns, places.stamps_ns, return_indices=True)
        return any(
            same_image(self.descriptors[row], places.descriptors[place, 0])
            for row, place in zip(ours, theirs, strict=True)
        )


def describe_drive(
    drive: Drive,
    place_map: PlaceMap,
    describer: Describer,
    on_progress: Callable[[int, int], None] | None = None,
    tally: Tally | None = None,
) -> DescribedDrive:
    """Describe the images of a drive; frames without a true pose and unreadable ones are left out.

    tally: counts those left out. Raises DriveError if the drive lies in another world than the map, or has no true pose
    or no readable image.
    """
    place_map.check_world(drive.name, drive.world)
    rows, stamps, counted, missing = [], [], Tally(), 0
    for count, frame in enumerate(drive, 1):
        stamps.append(frame.stamp_ns)
        if frame.T_map_camera is None:
            missing += 1
        else:
            try:
                image = preprocess(frame.read(), describer.manifest.preprocessing)
                descriptor = describer.describe(image[None]).descriptors[0]
                rows.append((frame.stamp_ns, descriptor, place_map.map_pose(frame.T_map_camera), frame.T_odom_camera))
            except (ImageError, DriveError) as error:
                counted.add(UNREADABLE, str(error))
        if on_progress:
            on_progress(count, len(drive))
    count_without_pose(counted, drive, stamps, missing)
    if tally is not None:
        tally.update(tally_of(drive))
        tally.update(counted)
    if missing == len(stamps):
        raise without_poses(drive, stamps, "so nothing can be calibrated with it: give true poses")
    if not rows:
        raise DriveError(f"no image of drive {drive.name} can be read: {counted.example(UNREADABLE)}")
    stamps_ns, descriptors, T_map_camera, T_odom_camera = zip(*rows, strict=True)
    return DescribedDrive(drive.name, np.array(stamps_ns), np.stack(descriptors), np.stack(T_map_camera), T_odom_camera)


def fit(
    places: Places, describer: Describer, drives: Sequence[DescribedDrive], config: LocalizerConfig | None = None
) -> Calibration:
    """The calibration under which the true places of these drives are most probable.

    Raises DriveError if no image of the drives was taken on the map.
    """
    config = config or LocalizerConfig()
    radius = hypothesis_radius(config.hypotheses.radius, places)
    if not any(_nearest(drive.T_map_camera, places).min() < radius for drive in drives):
        raise DriveError(
            f"none of {', '.join(d.name for d in drives)} comes within {radius:g} m of the map: "
            "calibrate with a drive on it"
        )
    source = ", ".join(drive.name for drive in drives)
    calibration = _fit_observation(places, drives, dataclasses.replace(Calibration(), source=source), config)
    worlds = [(drive, shown) for drive in drives for shown in _with_holes(places, drive, radius)]

    def answers(candidate: Calibration) -> list[_Outcome]:
        found = []
        for drive, shown in worlds:
            on_map = _nearest(drive.T_map_camera, shown) < radius
            localizer = Localizer(shown, describer, config, candidate)
            for row, stamp_ns in enumerate(drive.stamps_ns):
                estimate = localizer.recognise(int(stamp_ns), drive.descriptors[row], drive.T_odom_camera[row])
                found.append((estimate, drive.T_map_camera[row], bool(on_map[row])))
        return found

    best: tuple[float, Calibration, list[_Outcome]] | None = None
    for independence in CALIBRATION_GRID.independences:
        raw = dataclasses.replace(calibration, independence=independence, temperature=1.0, floor=1e-6)
        found = answers(raw)
        wrong, temperature, floor = _fit_softening(found, radius)
        if best is None or wrong < best[0]:
            best = (wrong, dataclasses.replace(raw, temperature=temperature, floor=floor), found)
    assert best is not None
    return _fit_spread(best[1], best[2], radius)


def _nearest(T_map_camera: np.ndarray, places: Places) -> np.ndarray:
    """Distance (F,) of each true position to the nearest place, metres."""
    offsets = T_map_camera[:, None, :2, 3] - places.positions[None, :, :2]
    return np.linalg.norm(offsets, axis=2).min(axis=1)


def _with_holes(places: Places, drive: DescribedDrive, radius: float) -> list[Places]:
    """The map as it is, and once for each stretch of the drive, without the places around it."""
    shown = [places]
    count = len(drive.stamps_ns)
    for start, end in CALIBRATION_GRID.holes:
        stretch = drive.T_map_camera[int(start * count) : int(end * count), :2, 3]
        if not len(stretch):
            continue
        distance = np.linalg.norm(places.positions[:, None, :2] - stretch[None], axis=2).min(axis=1)
        if np.count_nonzero(distance > 2 * radius) > CALIBRATION_GRID.least_places:
            shown.append(places.subset(distance > 2 * radius))
    return shown


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What one held-out image says of the map.

    scores, similarities: (N,) of each place. right: (N,) places that are near. elsewhere: (N,) places far away.
    """

    scores: np.ndarray
    similarities: np.ndarray
    right: np.ndarray
    elsewhere: np.ndarray


def _fit_observation(
    places: Places, drives: Sequence[DescribedDrive], calibration: Calibration, config: LocalizerConfig
) -> Calibration:
    """Fit the evidence: maximum likelihood over single images, with and without the places around them."""
    evidence = _evidence(places, drives, config)
    grid = CALIBRATION_GRID
    slope, _, threshold = _most_likely(evidence, [(slope, 0.0) for slope in grid.slopes], grid.off_map_scores, True)
    weights = [(z, s) for z in grid.z_weights for s in grid.similarity_weights]
    z_weight, similarity_weight, offset = _most_likely(evidence, weights, grid.thresholds, False)
    return dataclasses.replace(
        calibration,
        slope=slope,
        off_map_score=threshold / slope,
        z_weight=z_weight,
        similarity_weight=similarity_weight,
        threshold=offset,
    )


def _evidence(places: Places, drives: Sequence[DescribedDrive], config: LocalizerConfig) -> list[_Evidence]:
    mean = map_mean(places, config.search.mean_centring)
    radius = hypothesis_radius(config.hypotheses.radius, places)
    observation, session_mean = ObservationModel(places, Calibration(), mean), SessionMean(mean)
    of_places = centred(places.descriptors, mean)
    found = []
    for drive in drives:
        session_mean.reset()
        for descriptor, T in zip(drive.descriptors, drive.T_map_camera, strict=True):
            if not config.filter.enabled:
                session_mean.reset()
            seen = session_mean.centred(descriptor)
            similarities = (of_places @ seen).max(1)
            distance = np.linalg.norm(places.positions[:, :2] - T[:2, 3], axis=1)
            scores = observation.scores(seen, similarities)
            found.append(_Evidence(scores, similarities, distance < radius, distance > 2 * radius))
    return found


def _most_likely(
    evidence: Sequence[_Evidence], weights: Sequence[tuple[float, float]], thresholds: np.ndarray, relative: bool
) -> tuple[float, float, float]:
    """(weight of z, weight of the similarity, threshold) under which the images are most probable.

    thresholds: (T,) candidates; relative: in units of z.
    """
    best = (np.inf, 0.0, 0.0, 0.0)
    for z_weight, similarity_weight in weights:
        right, whole, elsewhere = [], [], []  # log mean exp of the weighted sum: right places, all, others
        for image in evidence:
            ratios = z_weight * image.scores + similarity_weight * image.similarities
            if image.elsewhere.any():
                elsewhere.append(_log_mean_exp(ratios[image.elsewhere]))
            if image.right.any():
                right.append(_log_mean_exp(ratios[image.right]) + np.log(np.mean(image.right)))
                whole.append(_log_mean_exp(ratios))
        levels = (z_weight if relative else 1.0) * thresholds
        loss = np.logaddexp(np.array(whole)[:, None], levels).mean(axis=0) - np.mean(right)
        if elsewhere:
            loss += (np.logaddexp(np.array(elsewhere)[:, None], levels) - levels).mean(axis=0)
        row = int(np.argmin(loss))
        best = min(best, (float(loss[row]), float(z_weight), float(similarity_weight), float(levels[row])))
    return best[1:]


def _log_mean_exp(values: np.ndarray) -> float:
    largest = float(values.max())
    return largest + float(np.log(np.exp(values - largest).mean()))


def _right(hypothesis: Hypothesis, T_map_camera: np.ndarray, radius: float) -> bool:
    return bool(np.linalg.norm(hypothesis.T_map_camera[:2, 3] - T_map_camera[:2, 3]) < radius)


def _fit_softening(found: list[_Outcome], radius: float) -> tuple[float, float, float]:
    """Share of wrong answers, and the temperature and floor under which the truth is most probable.

    In the share of wrong answers, images on the map and off it weigh the same, whatever their numbers.
    """
    raw = np.zeros((len(found), 32))  # raw probabilities, padded; the last column is the rest
    truth = np.full(len(found), -1)
    for row, (estimate, T_map_camera, on_map) in enumerate(found):
        listed = [hypothesis.probability for hypothesis in estimate.hypotheses]
        values = np.array([*listed, estimate.off_map_probability])
        raw[row, : len(values)] = values
        raw[row, -1] = max(1.0 - values.sum(), 0.0)
        if not on_map:
            truth[row] = len(listed)
        else:
            right = [_right(hypothesis, T_map_camera, radius) for hypothesis in estimate.hypotheses]
            truth[row] = int(np.argmax(right)) if any(right) else -1
    was_on = np.array([on_map for _, _, on_map in found])
    weights = np.where(was_on, 1 / max(was_on.sum(), 1), 1 / max((~was_on).sum(), 1))
    weights /= weights.sum()
    wrong = float(weights @ (np.argmax(raw[:, :-1], axis=1) != truth))
    best = (np.inf, 1.0, 0.05)
    for temperature, floor in itertools.product(CALIBRATION_GRID.temperatures, CALIBRATION_GRID.floors):
        powered = raw ** (1 / temperature) * (raw > 0)
        share = (1 - floor) * powered / powered.sum(axis=1, keepdims=True)
        of_truth = np.where(truth >= 0, share[np.arange(len(found)), truth], 0.0)
        loss = float(-np.log(of_truth + floor / 10).mean())
        best = min(best, (loss, temperature, floor))
    return wrong, *best[1:]


def _fit_spread(calibration: Calibration, found: list[_Outcome], radius: float) -> Calibration:
    """Fit sigma_*: errors of right answers, less the spread of their own places."""
    excess = []
    own = calibration.covariance_body()
    for estimate, T_map_camera, _ in found:
        best = estimate.best
        if best is None or not _right(best, T_map_camera, radius):
            continue
        R_body_map = geometry.R_BODY_OPTICAL @ best.T_map_camera[:3, :3].T
        moved = R_body_map @ (T_map_camera[:3, 3] - best.T_map_camera[:3, 3])
        turned = R_body_map @ geometry.vector_from_rotation(T_map_camera[:3, :3] @ best.T_map_camera[:3, :3].T)
        both = np.kron(np.eye(2), R_body_map)
        of_places = np.diag(both @ best.covariance @ both.T) - np.diag(own)
        excess.append(np.concatenate([moved, turned]) ** 2 - of_places)
    if not excess:
        return calibration
    sigma = np.sqrt(np.maximum(np.mean(excess, axis=0), np.array(CALIBRATION_GRID.least_sigma) ** 2))
    names = ("sigma_forward", "sigma_left", "sigma_up", "sigma_roll", "sigma_pitch", "sigma_yaw")
    fitted: dict[str, Any] = {name: float(value) for name, value in zip(names, sigma, strict=True)}
    return dataclasses.replace(calibration, **fitted)
