"""Answers and figures as files: results.json, a CSV of frames, TUM trajectories."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.files import written_whole
from vpr_ros.base.geometry import heading, quat_xyzw_from_matrix
from vpr_ros.evaluation.record import Answer, Run
from vpr_ros.evaluation.summary import Assessment, Summary

ANSWERS, FRAME_TABLE, TRAJECTORIES = ".answers.jsonl", ".csv", ("_true.tum", "_estimated.tum")
"""What the names of a run's files end with, after its slug."""


def results(summaries: Sequence[Summary], everything: Summary, warning: str = "") -> dict[str, Any]:
    """The content of results.json: figures by condition, then of all frames; null for a figure over no frames.

    warning: why the figures may be wrong, one sentence; empty if nothing is known against them.
    """
    return _without_nan(
        {
            "conditions": {summary.condition: _condition(summary) for summary in summaries},
            "off_map_detected": everything.off_map_detected,
            "ece": everything.ece,
            "latency_ms": everything.latency_ms,
            "network_ms": everything.network_ms,
            "search_ms": everything.search_ms,
            "frames": everything.frames,
            "dropped": everything.dropped,
            "warning": warning,
        }
    )


def _condition(summary: Summary) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for suffix, recall in (("", summary.single), ("_filtered", summary.filtered)):
        out |= {f"recall@{n}{suffix}": value for n, value in recall.at_n.items()}
        out |= {f"top1_recall@{d}{suffix}": value for d, value in recall.top1_at_m.items()}
        out |= {f"average_precision{suffix}": recall.average_precision}
        out |= {f"recall@100%precision{suffix}": recall.at_full_precision}
    rest = {key: value for key, value in asdict(summary).items() if key not in ("condition", "single", "filtered")}
    found = out | rest | {"tolerance": str(summary.tolerance)}
    if summary.tolerance.frames is not None:  # numbers of frames have neither metres nor headings
        found["position_error_frames"] = found.pop("position_error_m")
        found = {key: value for key, value in found.items() if not key.startswith(("top1_", "heading_", "nees_"))}
    return found


def write_results(path: Path, summaries: Sequence[Summary], everything: Summary, warning: str = "") -> None:
    """Write results.json. warning: see ``results``."""
    text = json.dumps(results(summaries, everything, warning), indent=2, allow_nan=False)
    with written_whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def write_csv(path: Path, assessment: Assessment) -> None:
    """One line per frame, dropped ones too; cells without a value are empty. Map frame, metres, degrees, ms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = assessment.scores
    position = 0  # among the answered frames
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        writer.writeheader()
        for answer in assessment.run.answers:
            row = _row(assessment.run, answer)
            if answer.answered:
                row |= {name: _cell(getattr(scores, name)[position]) for name in ("on_map", "off_map", "correct")}
                row["position_error_m"] = _cell(scores.position_error[position])
                row["heading_error_deg"] = _cell(np.degrees(scores.heading_error_rad[position]))
                row["top_place_error_m"] = _cell(scores.match_error[position, 0])
                position += 1
            writer.writerow(row)


_COLUMNS = [
    *("condition", "frame_index", "stamp_ns", "answered", "problem", "true_x", "true_y", "true_z", "true_yaw_deg"),
    *("x", "y", "z", "yaw_deg", "probability", "off_map_probability", "called_off_map", "on_map", "off_map", "correct"),
    *("position_error_m", "heading_error_deg", "top_place_id", "top_similarity", "top_place_error_m", "latency_ms"),
]


def _row(run: Run, answer: Answer) -> dict[str, Any]:
    """The columns of a frame that need no truth."""
    row: dict[str, Any] = {
        "condition": run.condition,
        "frame_index": answer.frame_index,
        "stamp_ns": answer.stamp_ns,
        "answered": int(answer.answered),
        "problem": answer.problem,
        **_pose_cells("true_", answer.T_map_camera_true),
    }
    if not answer.answered:
        return row
    best = answer.best
    row |= _pose_cells("", None if best is None else best.T_map_camera)
    row["probability"] = "" if best is None else _cell(best.probability)
    row["off_map_probability"] = _cell(answer.off_map_probability)
    row["called_off_map"] = int(best is None)
    row["latency_ms"] = _cell(answer.latency_ms)
    if len(answer.place_ids):
        row |= {"top_place_id": int(answer.place_ids[0]), "top_similarity": _cell(answer.similarities[0])}
    return row


def _pose_cells(prefix: str, T_map_camera: np.ndarray | None) -> dict[str, Any]:
    if T_map_camera is None:
        return {}
    x, y, z = T_map_camera[:3, 3]
    yaw_deg = np.degrees(heading(T_map_camera))
    return {f"{prefix}x": _cell(x), f"{prefix}y": _cell(y), f"{prefix}z": _cell(z), f"{prefix}yaw_deg": _cell(yaw_deg)}


def _cell(value: float | np.bool_) -> float | int | str:
    """A cell: booleans as 0 or 1, numbers to six decimals, empty if not finite."""
    if isinstance(value, np.bool_ | bool):
        return int(value)
    return round(float(value), 6) if math.isfinite(value) else ""


def write_trajectories(folder: Path, run: Run) -> tuple[Path, Path]:
    """Write ``<slug>_true.tum`` and ``<slug>_estimated.tum`` for evo; the second only has frames with a pose."""
    folder.mkdir(parents=True, exist_ok=True)
    true, estimated = (folder / f"{run.slug}{end}" for end in TRAJECTORIES)
    answered = [answer for answer in run.answers if answer.answered]
    write_tum(true, ((a.stamp_ns, a.T_map_camera_true) for a in run.answers))
    write_tum(estimated, ((a.stamp_ns, a.best.T_map_camera if a.best else None) for a in answered))
    return true, estimated


def write_tum(path: Path, poses: Iterable[tuple[int, np.ndarray | None]]) -> None:
    """Lines ``stamp tx ty tz qx qy qz qw``: seconds to the nanosecond, metres, unit quaternion.

    poses: (stamp_ns, (4, 4)) each; missing ones and those not finite are left out.
    """
    with path.open("w", encoding="utf-8") as file:
        for stamp_ns, T in poses:
            if T is None or not np.isfinite(T).all():
                continue
            values = [*T[:3, 3], *quat_xyzw_from_matrix(T[:3, :3])]
            seconds, nanoseconds = divmod(abs(stamp_ns), 10**9)
            stamp = f"{'-' * (stamp_ns < 0)}{seconds}.{nanoseconds:09d}"
            file.write(" ".join([stamp, *(f"{value:.9f}" for value in values)]) + "\n")


def _without_nan(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON lacks; dicts are followed."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
