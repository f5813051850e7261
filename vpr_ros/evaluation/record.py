"""The input of an evaluation: answers of one drive with the truth, in memory and as JSON lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.records import DriveFrame, Estimate, Hypothesis, likeliest

FORMAT = "vpr_ros answers 1"
MATCHES_KEPT = 25
_OFF_MAP_SPACINGS = 5.0


@dataclass(frozen=True)
class Tolerance:
    """The largest error of a right answer.

    metres: a place or pose is right if strictly nearer than this to the true position, in the map's plane. 25 m is the
    usual value on RobotCar.
    frames: if set, poses are those of a ``NumberedDrive`` (frame k at x = k). A pose is right if the frame nearest to
    it is at most this many frames away.
    off_map_metres: a frame without a right place is off the map if no place is nearer than this.
    levels: whether the map has places above each other; then none on another level is right (``maps.levels``).
    """

    metres: float = 25.0
    frames: int | None = None
    off_map_metres: float = 25.0
    levels: bool = False

    @classmethod
    def in_metres(cls, metres: float, spacing: float) -> Tolerance:
        """That of a map with places so many metres apart: an image between two of them is not off it."""
        return cls(metres, off_map_metres=max(metres, min(_OFF_MAP_SPACINGS * spacing, cls.off_map_metres)))

    def right(self, error: np.ndarray) -> np.ndarray:
        """Whether errors are within the tolerance; False for NaN."""
        return error < self.metres if self.frames is None else error < self.frames + 0.5

    @property
    def unit(self) -> str:
        """The unit of positions."""
        return "m" if self.frames is None else "frames"

    def __str__(self) -> str:
        return f"within {self.metres:g} m" if self.frames is None else f"within {self.frames} frames"


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer for one query frame, and the truth.

    frame_index: the frame's number in its drive, from 0.
    T_map_camera_true: (4, 4), or None if unknown.
    place_ids, similarities: (K,) of this frame's places, most similar first.
    place_probabilities: (K,) of the robot being at these places, filtered; empty in files of earlier versions.
    T_map_places: (K, 4, 4) poses of these places.
    hypotheses: filtered over the frames so far, best first.
    timings_ms: of each step, by name.
    latency_ms: from image in to answer out, NaN if not measured.
    answered: False if the frame was dropped or not readable. problem: why, or why the image is no evidence.
    """

    stamp_ns: int
    frame_index: int
    T_map_camera_true: np.ndarray | None = None
    place_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    similarities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    place_probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    T_map_places: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 4)))
    hypotheses: tuple[Hypothesis, ...] = ()
    off_map_probability: float = 0.0
    timings_ms: dict[str, float] = field(default_factory=dict)
    latency_ms: float = math.nan
    answered: bool = True
    problem: str = ""

    @property
    def best(self) -> Hypothesis | None:
        """The likeliest pose, or None if "not on this map" is at least as likely, as in ``Estimate.best``."""
        return likeliest(self.hypotheses, self.off_map_probability)


@dataclass(frozen=True, eq=False)
class Run:
    """One drive answered against one map.

    name: as shown to the user.
    condition: "sun", "night", ...
    T_map_places: (N, 4, 4) every place of the map.
    slug: the name in file names; made from the name unless given.
    filtered: whether the filter over time was on.
    """

    name: str
    condition: str
    answers: tuple[Answer, ...]
    T_map_places: np.ndarray
    tolerance: Tolerance = field(default_factory=Tolerance)
    slug: str = ""
    filtered: bool = True

    def __post_init__(self) -> None:
        slug = self.slug or re.sub(r"[^A-Za-z0-9.-]+", "_", self.name).strip("_.") or "run"
        object.__setattr__(self, "slug", slug)

    def save(self, path: Path) -> None:
        """Write JSON lines: a header with the map's places, then one answer a line."""
        header = {
            "format": FORMAT,
            "name": self.name,
            "condition": self.condition,
            "tolerance": asdict(self.tolerance),
            "filtered": self.filtered,
            "places": [_pose_to_list(T) for T in self.T_map_places],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(header) + "\n")
            file.writelines(answer_to_json(answer) + "\n" for answer in self.answers)

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a file that ``save`` wrote. Raises DriveError with the file and the line that cannot be read."""
        if not path.is_file():
            raise DriveError(f"no recorded answers at {path}: run vpr evaluate or vpr replay first")
        number = 1
        try:
            with path.open(encoding="utf-8") as file:
                header = json.loads(next(file, ""))
                if header["format"] != FORMAT:
                    raise ValueError(f"its format is {header['format']!r}")
                answers = []
                for line in file:
                    number += 1
                    answers.append(answer_from_json(line))
            places, tolerance = _poses_from_lists(header["places"]), Tolerance(**header["tolerance"])
            filtered = bool(header.get("filtered", True))
            return cls(header["name"], header["condition"], tuple(answers), places, tolerance, filtered=filtered)
        except (ValueError, KeyError, TypeError) as error:
            raise DriveError(
                f"line {number} of {path} is not a recorded answer ({error}): record the drive again"
            ) from error


def answer_from_estimate(
    estimate: Estimate,
    frame_index: int,
    T_map_camera_true: np.ndarray | None = None,
    latency_ms: float | None = None,
) -> Answer:
    """The record of one estimate.

    latency_ms: from image in to answer out; without it the estimate's ``total`` timing, else the sum of its steps.
    """
    matches = estimate.matches[:MATCHES_KEPT]
    if latency_ms is None:
        steps = estimate.timings_ms
        latency_ms = steps["total"] if "total" in steps else sum(steps.values()) if steps else math.nan
    return Answer(
        stamp_ns=estimate.stamp_ns,
        frame_index=frame_index,
        T_map_camera_true=T_map_camera_true,
        place_ids=np.array([match.place_id for match in matches], np.int64),
        similarities=np.array([match.similarity for match in matches], float),
        place_probabilities=np.array([match.probability for match in matches], float),
        T_map_places=np.array([match.T_map_camera for match in matches], float).reshape(-1, 4, 4),
        hypotheses=tuple(estimate.hypotheses),
        off_map_probability=estimate.off_map_probability,
        timings_ms=dict(estimate.timings_ms),
        latency_ms=latency_ms,
        problem=estimate.problem,
    )


def unanswered(frame: DriveFrame, frame_index: int, problem: str) -> Answer:
    """The record of a frame without an answer: dropped, or not readable."""
    return Answer(frame.stamp_ns, frame_index, frame.T_map_camera, answered=False, problem=problem)


def answer_to_json(answer: Answer) -> str:
    """One answer as one line of JSON, without the line's end."""
    return json.dumps(
        {
            "stamp_ns": int(answer.stamp_ns),
            "frame_index": int(answer.frame_index),
            "truth": _pose_to_list(answer.T_map_camera_true),
            "places": {
                "ids": answer.place_ids.tolist(),
                "similarities": answer.similarities.tolist(),
                "probabilities": answer.place_probabilities.tolist(),
                "poses": [_pose_to_list(T) for T in answer.T_map_places],
            },
            "hypotheses": [_hypothesis_to_dict(hypothesis) for hypothesis in answer.hypotheses],
            "off_map_probability": float(answer.off_map_probability),
            "timings_ms": {name: float(value) for name, value in answer.timings_ms.items()},
            "latency_ms": float(answer.latency_ms) if math.isfinite(answer.latency_ms) else None,
            "answered": answer.answered,
            "problem": answer.problem,
        }
    )


def answer_from_json(line: str) -> Answer:
    """The inverse of answer_to_json. Raises ValueError, KeyError or TypeError for anything else."""
    data = json.loads(line)
    return Answer(
        stamp_ns=data["stamp_ns"],
        frame_index=data["frame_index"],
        T_map_camera_true=None if data["truth"] is None else _poses_from_lists([data["truth"]])[0],
        place_ids=np.array(data["places"]["ids"], np.int64),
        similarities=np.array(data["places"]["similarities"], float),
        place_probabilities=np.array(data["places"].get("probabilities", []), float),
        T_map_places=_poses_from_lists(data["places"]["poses"]),
        hypotheses=tuple(_hypothesis_from_dict(entry) for entry in data["hypotheses"]),
        off_map_probability=data["off_map_probability"],
        timings_ms=data["timings_ms"],
        latency_ms=math.nan if data["latency_ms"] is None else data["latency_ms"],
        answered=data["answered"],
        problem=data["problem"],
    )


def _hypothesis_to_dict(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "pose": _pose_to_list(hypothesis.T_map_camera),
        "covariance": np.asarray(hypothesis.covariance, float).ravel().tolist(),
        "probability": float(hypothesis.probability),
        "place_ids": [int(place_id) for place_id in hypothesis.place_ids],
        "inliers": hypothesis.inliers,
    }


def _hypothesis_from_dict(data: dict[str, Any]) -> Hypothesis:
    return Hypothesis(
        _poses_from_lists([data["pose"]])[0],
        np.array(data["covariance"], float).reshape(6, 6),
        data["probability"],
        tuple(data["place_ids"]),
        data.get("inliers", 0),
    )


def _pose_to_list(T: np.ndarray | None) -> list[float] | None:
    """Upper three rows, row by row; None for a pose that is missing or not finite."""
    return None if T is None or not np.isfinite(T).all() else np.asarray(T, float)[:3].ravel().tolist()


def _poses_from_lists(rows: Sequence[list[float] | None]) -> np.ndarray:
    """(N, 4, 4); NaN for a row that is None."""
    poses = np.full((len(rows), 4, 4), np.nan)
    for T, row in zip(poses, rows, strict=True):
        if row is not None:
            T[:3] = np.reshape(row, (3, 4))
            T[3] = 0.0, 0.0, 0.0, 1.0
    return poses
