"""Calibration: fit the constants that turn similarities into probabilities, on a drive that is not in the map.

A held-out drive shows how similar the right places are. It also shows images that are off the map: the places around a
stretch of the drive are hidden.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.covariance import rotated
from vpr_ros.base.errors import DriveError
from vpr_ros.base.records import Estimate, Hypothesis
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.config import LocalizerConfig
from vpr_ros.localize.constants import CALIBRATION_GRID, CLUSTERS
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.hypotheses import hypothesis_radii, hypothesis_radius
from vpr_ros.localize.localizer import Localizer, check_has_places
from vpr_ros.localize.observation import ObservationModel
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.levels import distances, nearest
from vpr_ros.maps.places import Places


@dataclass(frozen=True, eq=False)
class _Outcome:
    """An estimate with the true pose (4, 4), whether that is on the map, and which hypotheses are right."""

    estimate: Estimate
    T_map_camera: np.ndarray
    on_map: bool
    right: Sequence[bool]

    @property
    def answer_right(self) -> bool:
        """Whether the best pose is right, or rightly missing."""
        return not self.on_map if self.estimate.best is None else self.on_map and self.right[0]


def fit(
    places: Places,
    describer: Describer,
    drives: Sequence[DescribedDrive],
    config: LocalizerConfig | None = None,
    default: Calibration | None = None,
) -> Fitted:
    """The calibration under which the true places of these drives are most probable.

    config: what the robot will run with. default: the model's; its evidence is kept unless the fitted one is clearly
    better, and never gives fewer images off the map away. Raises MapError for a map without places, DriveError if no
    image of the drives was taken on it.
    """
    config, default = config or LocalizerConfig(), default or Calibration()
    check_has_places(places)
    wanted = config.hypotheses.radius
    radius, radii = hypothesis_radius(wanted, places), hypothesis_radii(wanted, places)
    reached = [(drive, _reaches(drive, places, radii)) for drive in drives]
    if not any((_nearest(drive.T_map_camera, places) < reach).any() for drive, reach in reached):
        raise DriveError(
            f"none of {', '.join(d.name for d in drives)} comes within {radius:g} m of the map: "
            "calibrate with a drive on it"
        )
    worlds = [(drive, reach, shown) for drive, reach in reached for shown in _with_holes(places, drive, radii)]
    trials = [
        _tried(candidate, worlds, describer, config) for candidate in _candidates(places, drives, config, default)
    ]
    chosen = _chosen(trials)
    fitted = dataclasses.replace(chosen.calibration, source=", ".join(drive.name for drive in drives))
    if chosen.is_short:  # its answers may all be right by chance
        fitted = dataclasses.replace(fitted, temperature=default.temperature, floor=default.floor)
    else:
        temperature, floor = _fit_softening(chosen.outcomes)
        fitted = _fit_spread(dataclasses.replace(fitted, temperature=temperature, floor=floor), chosen.outcomes)
    return Fitted(fitted, _given(chosen), _notes(fitted, trials, chosen, radius))


@dataclass(frozen=True)
class Fitted:
    """A fitted calibration.

    given: what it was fitted to, in one sentence. notes: what a user should know of it, a sentence each.
    """

    calibration: Calibration
    given: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Trial:
    """A candidate's answers, with shares of images on the map and off it (NaN without any) that it gets wrong."""

    calibration: Calibration
    outcomes: list[_Outcome]
    wrong_on_map: float
    wrong_off_map: float
    on_map: int
    off_map: int

    @property
    def wrong(self) -> float:
        """Share of wrong answers; images on the map and off it weigh the same, whatever their numbers."""
        return float(np.nanmean([self.wrong_on_map, self.wrong_off_map]))

    @property
    def is_short(self) -> bool:
        """Whether too few images on the map were answered to fit certainty and covariance to them."""
        return self.on_map < CALIBRATION_GRID.few_images

    @property
    def standard_error(self) -> float:
        """Of ``wrong``. Neighbouring images err together."""
        shares, counts = np.array([self.wrong_on_map, self.wrong_off_map]), np.array([self.on_map, self.off_map])
        known = counts > 0
        variance = shares[known] * (1 - shares[known]) * CALIBRATION_GRID.images_alike / counts[known]
        return float(np.sqrt(variance.sum()) / known.sum())


def _candidates(
    places: Places, drives: Sequence[DescribedDrive], config: LocalizerConfig, default: Calibration
) -> list[Calibration]:
    """The default first, then fitted ones; without images that are off the map only the default."""
    default = dataclasses.replace(default, temperature=1.0, floor=1e-6)
    evidence = _evidence(places, drives, config)
    if not any(image.elsewhere.any() for image in evidence):
        return [default]
    shifted = [_shifted(default, shift) for shift in CALIBRATION_GRID.shifts]
    observed = _fit_observation(evidence, default)
    return [default, *shifted, *(_shifted(observed, shift) for shift in CALIBRATION_GRID.observed_shifts)]


def _shifted(calibration: Calibration, shift: float) -> Calibration:
    """With another threshold, in log-likelihood ratios: what one image asks for is too much of a drive."""
    if calibration.similarity_weight:
        return dataclasses.replace(calibration, threshold=max(calibration.threshold + shift, 0.0))
    score = calibration.off_map_score + shift / max(calibration.slope, 1e-6)
    return dataclasses.replace(calibration, off_map_score=max(score, 0.0))


def _tried(
    candidate: Calibration,
    worlds: Sequence[tuple[DescribedDrive, np.ndarray, Places]],
    describer: Describer,
    config: LocalizerConfig,
) -> _Trial:
    """Localise every drive on every map with a candidate. worlds: drive, its ``_reaches``, map."""
    outcomes: list[_Outcome] = []
    all_listed = dataclasses.replace(config.hypotheses, count=CLUSTERS.clusters)  # certainty is shared among all
    config = dataclasses.replace(config, hypotheses=all_listed)
    for drive, reach, shown in worlds:
        on_map = _nearest(drive.T_map_camera, shown) < reach
        localizer = Localizer(shown, describer, config, candidate)
        for row, stamp_ns in enumerate(drive.stamps_ns):
            estimate = localizer.recognise(int(stamp_ns), drive.descriptors[row], drive.T_odom_camera[row])
            truth = drive.T_map_camera[row]
            right = [_right(hypothesis, truth, reach[row], shown.has_levels) for hypothesis in estimate.hypotheses]
            outcomes.append(_Outcome(estimate, truth, bool(on_map[row]), right))
    answers = np.array([outcome.answer_right for outcome in outcomes])
    on = np.array([outcome.on_map for outcome in outcomes])
    wrong_on_map, wrong_off_map = (float(1 - answers[rows].mean()) if rows.any() else np.nan for rows in (on, ~on))
    return _Trial(candidate, outcomes, wrong_on_map, wrong_off_map, int(on.sum()), int((~on).sum()))


def _chosen(trials: Sequence[_Trial]) -> _Trial:
    """The default, unless the best is clearly better; else the first trial that is as good within its standard error.

    That is one that no other of these beats both on the map and off it. Trials that miss more images off the map than
    the default are out, unless the default is wrong far more often.
    """
    allowed = [trial for trial in trials if not trial.wrong_off_map > trials[0].wrong_off_map]
    best = min(allowed, key=lambda trial: trial.wrong)
    if min(trial.wrong for trial in trials) < best.wrong - CALIBRATION_GRID.far_better:
        allowed = list(trials)
        best = min(allowed, key=lambda trial: trial.wrong)
    if trials[0].wrong <= best.wrong + max(best.standard_error, CALIBRATION_GRID.clearly_better):
        return trials[0]
    good = [trial for trial in allowed if trial.wrong <= best.wrong + best.standard_error]
    return next(trial for trial in good if not any(_beats(other, trial) for other in good))


def _beats(one: _Trial, other: _Trial) -> bool:
    """Whether a trial is wrong less often than another on the map or off it, and nowhere more often."""
    ours, theirs = (np.nan_to_num([trial.wrong_on_map, trial.wrong_off_map]) for trial in (one, other))
    return bool(np.all(ours <= theirs) and np.any(ours < theirs))


def _given(trial: _Trial) -> str:
    wrong = [f" ({share:.1%} wrong)" if share == share else "" for share in (trial.wrong_on_map, trial.wrong_off_map)]
    return (
        f"fitted on {trial.on_map + trial.off_map} answers, with the whole map and with stretches of it hidden: "
        f"{trial.on_map} of images on the map{wrong[0]}, {trial.off_map} of images off it{wrong[1]}"
    )


def _notes(fitted: Calibration, trials: Sequence[_Trial], chosen: _Trial, radius: float) -> tuple[str, ...]:
    """What a user should know of a calibration."""
    notes = []
    if len(trials) == 1:
        notes.append(
            f"no place of the map is further than {2 * radius:g} m from these drives, so the map cannot show what "
            'elsewhere looks like: the model\'s default for "not on this map" is kept'
        )
    elif chosen is trials[0]:
        notes.append(
            "on these drives the model's default evidence is as good as a fitted one, or nearly, so it is kept"
        )
    elif chosen.wrong_off_map > trials[0].wrong_off_map:
        notes.append(
            f"{chosen.wrong_off_map:.1%} of the images off the map get a pose, {trials[0].wrong_off_map:.1%} with the "
            f"model's default, which in turn loses {trials[0].wrong_on_map:.1%} of the images on the map"
        )
    if chosen.is_short:
        notes.append(
            f"{chosen.on_map} images on the map are few, so the model's certainty and covariance are kept: give a "
            "longer drive, or several"
        )
    grid = CALIBRATION_GRID
    ranges: dict[str, Sequence[float]] = {}
    if not chosen.is_short:
        ranges |= {"temperature": grid.temperatures, "floor": grid.floors}
    if len(trials) > 1 and chosen is not trials[0]:
        ranges |= {"similarity_weight": grid.similarity_weights, "threshold": tuple(grid.thresholds)}
    for name, values in ranges.items():
        value = getattr(fitted, name)
        if value in (values[0], values[-1]):
            doubtful = name in ("temperature", "floor") and value == values[-1]
            why = (
                "the answers are wrong too often to state how sure they are"
                if doubtful
                else "the drive may show too little, such as one condition or few errors"
            )
            notes.append(f"{name} is {value:g}, the end of the range that is tried: {why}")
    return tuple(notes)


def _nearest(T_map_camera: np.ndarray, places: Places) -> np.ndarray:
    """Distance (F,) of each true position to the nearest place, metres."""
    return nearest(T_map_camera[:, :3, 3], places.positions, places.has_levels)


def _reaches(drive: DescribedDrive, places: Places, radii: np.ndarray) -> np.ndarray:
    """Radius (F,) of a hypothesis at each image of a drive, metres. radii: (N,) at the places."""
    found = (distances(places.positions, T[:3, 3], places.has_levels).argmin() for T in drive.T_map_camera)
    return np.asarray(radii[np.fromiter(found, np.int64)])


def _with_holes(places: Places, drive: DescribedDrive, radii: np.ndarray) -> list[Places]:
    """The map as it is, and once for each stretch of the drive, without the places around it."""
    shown = [places]
    count = len(drive.stamps_ns)
    for start, end in CALIBRATION_GRID.holes:
        stretch = drive.T_map_camera[int(start * count) : int(end * count)]
        if not len(stretch):
            continue
        distance = nearest(places.positions, stretch[:, :3, 3], places.has_levels)
        if np.count_nonzero(distance > 2 * radii) > CALIBRATION_GRID.least_places:
            shown.append(places.subset(distance > 2 * radii))
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


def _fit_observation(evidence: Sequence[_Evidence], calibration: Calibration) -> Calibration:
    """Fit the evidence: maximum likelihood over single images, with and without the places around them."""
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
    radii = hypothesis_radii(config.hypotheses.radius, places)
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
            distance = distances(places.positions, T[:3, 3], places.has_levels)
            scores = observation.scores(seen, similarities)
            found.append(_Evidence(scores, similarities, distance < radii, distance > 2 * radii))
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


def _right(hypothesis: Hypothesis, T_map_camera: np.ndarray, radius: float, levels: bool) -> bool:
    return bool(distances(hypothesis.T_map_camera[:3, 3], T_map_camera[:3, 3], levels) < radius)


def _fit_softening(found: list[_Outcome]) -> tuple[float, float]:
    """Temperature and floor under which the truth is most probable."""
    raw = np.zeros((len(found), 32))  # raw probabilities, padded; the last column is the rest
    truth = np.full(len(found), -1)
    for row, outcome in enumerate(found):
        estimate = outcome.estimate
        listed = [hypothesis.probability for hypothesis in estimate.hypotheses]
        values = np.array([*listed, estimate.off_map_probability])
        raw[row, : len(values)] = values
        raw[row, -1] = max(1.0 - values.sum(), 0.0)
        if not outcome.on_map:
            truth[row] = len(listed)
        else:
            truth[row] = int(np.argmax(outcome.right)) if any(outcome.right) else -1
    best = (np.inf, 1.0, 0.05)
    for temperature, floor in itertools.product(CALIBRATION_GRID.temperatures, CALIBRATION_GRID.floors):
        powered = raw ** (1 / temperature) * (raw > 0)
        share = (1 - floor) * powered / powered.sum(axis=1, keepdims=True)
        of_truth = np.where(truth >= 0, share[np.arange(len(found)), truth], 0.0)
        loss = float(-np.log(of_truth + floor / 10).mean())
        best = min(best, (loss, temperature, floor))
    return best[1:]


def _fit_spread(calibration: Calibration, found: list[_Outcome]) -> Calibration:
    """Fit sigma_*: errors of right answers, less the spread of their own places."""
    excess = []
    own = calibration.covariance_body()
    for outcome in found:
        best, T_map_camera = outcome.estimate.best, outcome.T_map_camera
        if best is None or not outcome.right[0]:
            continue
        R_body_map = geometry.R_BODY_OPTICAL @ best.T_map_camera[:3, :3].T
        moved = R_body_map @ (T_map_camera[:3, 3] - best.T_map_camera[:3, 3])
        turned = R_body_map @ geometry.vector_from_rotation(T_map_camera[:3, :3] @ best.T_map_camera[:3, :3].T)
        of_places = np.diag(rotated(best.covariance, R_body_map)) - np.diag(own)
        excess.append(np.concatenate([moved, turned]) ** 2 - of_places)
    if not excess:
        return calibration
    sigma = np.sqrt(np.maximum(np.mean(excess, axis=0), np.array(CALIBRATION_GRID.least_sigma) ** 2))
    names = ("sigma_forward", "sigma_left", "sigma_up", "sigma_roll", "sigma_pitch", "sigma_yaw")
    fitted: dict[str, Any] = {name: float(value) for name, value in zip(names, sigma, strict=True)}
    return dataclasses.replace(calibration, **fitted)
