"""Each answer compared with the truth: right or wrong, its error and its probability. All figures come from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vpr_ros.base.geometry import heading, wrap_angle
from vpr_ros.evaluation.metrics import nees
from vpr_ros.evaluation.record import Answer, Run, Tolerance
from vpr_ros.maps.levels import distances

RANKS = 25
_RANKED = {"match_error", "match_right", "answer_error", "answer_right"}
_BOOLEAN = {"known", "on_map", "off_map", "match_right", "answer_right", "correct", "called_off_map"}


@dataclass(frozen=True, eq=False)
class Scores:
    """Arrays over the F answered frames of a run, in its order.

    Errors are metres in the map's plane (frames for a tolerance in frames), NaN if unknown.

    known: (F,) whether the truth is known.
    on_map: (F,) whether the map holds a right place.
    off_map: (F,) whether no place is within ``off_map_metres``.
    match_error, match_right: (F, RANKS) of the frame's own places, best first; inf and False after the last.
    answer_error, answer_right: (F, RANKS) of the filtered hypotheses, with "not on this map" at its rank.
    similarity: (F,) of the best place, NaN without places.
    confidence: (F,) stated probability of the answer, which is a pose or "not on this map".
    correct: (F,) whether that answer is right.
    called_off_map: (F,) whether the answer is "not on this map".
    position_error, heading_error_rad, nees: (F,) of the published pose, NaN without a pose.
    latency_ms, network_ms, search_ms: (F,) NaN if not measured.
    """

    known: np.ndarray
    on_map: np.ndarray
    off_map: np.ndarray
    match_error: np.ndarray
    match_right: np.ndarray
    answer_error: np.ndarray
    answer_right: np.ndarray
    similarity: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    called_off_map: np.ndarray
    position_error: np.ndarray
    heading_error_rad: np.ndarray
    nees: np.ndarray
    latency_ms: np.ndarray
    network_ms: np.ndarray
    search_ms: np.ndarray


def score(run: Run) -> Scores:
    """Compare the answered frames of a run with the truth."""
    rows = [_score_one(answer, run) for answer in run.answers if answer.answered]
    return Scores(**{f.name: _column(f.name, [row[f.name] for row in rows]) for f in fields(Scores)})


def pool(parts: Sequence[Scores]) -> Scores:
    """The frames of several runs, concatenated."""
    return Scores(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scores)})


def _column(name: str, values: list[object]) -> np.ndarray:
    """(F,) or (F, RANKS) with the right dtype, for zero frames too."""
    shape = (len(values), RANKS) if name in _RANKED else (len(values),)
    return np.array(values, bool if name in _BOOLEAN else float).reshape(shape)


def _score_one(answer: Answer, run: Run) -> dict[str, object]:
    known, on_map, off_map = _situation(answer, run)
    match_error = np.array([_error(answer, T, run.tolerance) for T in answer.T_map_places])
    answer_error = np.array([_error(answer, h.T_map_camera, run.tolerance) for h in answer.hypotheses])
    off_rank = sum(h.probability > answer.off_map_probability for h in answer.hypotheses)
    missed = np.inf if known else np.nan  # the error of a missing answer
    ranked_error = np.insert(answer_error, off_rank, missed)
    best = answer.best
    return {
        "known": known,
        "on_map": on_map,
        "off_map": off_map,
        "match_error": _ranked(match_error, missed),
        "match_right": _ranked(run.tolerance.right(match_error), False),
        "answer_error": _ranked(ranked_error, missed),
        "answer_right": _ranked(run.tolerance.right(ranked_error), False),
        "similarity": answer.similarities[0] if len(answer.similarities) else np.nan,
        "confidence": answer.off_map_probability if best is None else best.probability,
        "correct": known and (not on_map if best is None else bool(run.tolerance.right(answer_error[0]))),
        "called_off_map": best is None,
        "position_error": np.nan if best is None else _distance(answer, best.T_map_camera, run.tolerance),
        **_pose_errors(answer),
        "latency_ms": answer.latency_ms,
        "network_ms": answer.timings_ms.get("network", np.nan),
        "search_ms": answer.timings_ms.get("search", np.nan),
    }


def _situation(answer: Answer, run: Run) -> tuple[bool, bool, bool]:
    """(truth is known, on the map, off the map), as in the class above."""
    if answer.T_map_camera_true is None or not np.isfinite(answer.T_map_camera_true).all():
        return False, False, False
    truth = answer.T_map_camera_true[:3, 3]
    nearest = np.min(distances(run.T_map_places[:, :3, 3], truth, run.tolerance.levels), initial=np.inf)
    on_map = bool(run.tolerance.right(nearest))
    far = run.tolerance.frames is not None or bool(nearest >= run.tolerance.off_map_metres)
    return True, on_map, not on_map and far


def _error(answer: Answer, T_map_camera: np.ndarray, tolerance: Tolerance) -> float:
    """Distance to the true position in the map's plane; infinite on another level, NaN if the truth is unknown."""
    if answer.T_map_camera_true is None:
        return float("nan")
    return float(distances(T_map_camera[:3, 3], answer.T_map_camera_true[:3, 3], tolerance.levels))


def _distance(answer: Answer, T_map_camera: np.ndarray, tolerance: Tolerance) -> float:
    """Metres to the true position: in the plane, or in space where the map has levels; NaN if the truth is unknown."""
    if answer.T_map_camera_true is None:
        return float("nan")
    axes = 3 if tolerance.levels else 2
    return float(np.linalg.norm(T_map_camera[:axes, 3] - answer.T_map_camera_true[:axes, 3]))


def _ranked(values: np.ndarray, fill: float | bool) -> np.ndarray:
    """Cut or filled to (RANKS,)."""
    out = np.full(RANKS, fill)
    out[: min(len(values), RANKS)] = values[:RANKS]
    return out


def _pose_errors(answer: Answer) -> dict[str, float]:
    """Heading error and NEES in the plane of the published pose; NaN without a pose or without truth."""
    best, truth = answer.best, answer.T_map_camera_true
    if best is None or truth is None:
        return {"heading_error_rad": np.nan, "nees": np.nan}
    error = best.T_map_camera[:2, 3] - truth[:2, 3]  # heights of different drives may not agree
    turn = wrap_angle(heading(best.T_map_camera) - heading(truth))
    return {"heading_error_rad": float(np.abs(turn)), "nees": nees(error, best.covariance[:2, :2])}
