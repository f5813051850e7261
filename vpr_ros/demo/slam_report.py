"""Figures, trajectories and one HTML page of `vpr demo slam`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.demo import slam_pictures as pictures
from vpr_ros.demo.slam_session import Session, SessionScores
from vpr_ros.evaluation import style
from vpr_ros.evaluation.output import write_tum
from vpr_ros.evaluation.report import write_page
from vpr_ros.evaluation.scenes import Plan


def figures(sessions: Sequence[Session], scores: Sequence[SessionScores]) -> list[list[str]]:
    """A table, header first: one row a session."""
    header = ["session", "images", "closures", "on earlier map", "false", "error m", "error deg", "NEES"]
    header += ["ATE before m", "after m", "ratio"]
    rows = []
    for numbers in (_numbers(s, j) for s, j in zip(sessions, scores, strict=True)):
        shown = [
            f"{numbers[name]:.2f}" for name in ("position_m", "rotation_deg", "nees", "before_m", "after_m", "ratio")
        ]
        left_out = "" if numbers["answered"] == numbers["images"] else f"{numbers['answered']} of "
        counts = [f"{left_out}{numbers['images']}"]
        counts += [str(numbers[name]) for name in ("closures", "closures_earlier", "false")]
        rows.append([numbers["name"], *counts, *shown])
    return [header, *rows]


def _numbers(session: Session, score: SessionScores) -> dict[str, Any]:
    """Of results.json; medians over the closures, NaN without closures."""
    nothing = np.array([np.nan])
    medians = {
        name: float(np.median(values if len(values) else nothing))
        for name, values in (
            ("position_m", score.position_m),
            ("rotation_deg", score.rotation_deg),
            ("nees", score.nees),
        )
    }
    return {
        "name": session.name,
        "images": len(session.truth.stamps_ns),
        "answered": session.answered,
        "closures": len(session.closures),
        "closures_earlier": sum(closure.match_map != "" for closure in session.closures),
        "false": score.false,
        **medians,
        "before_m": score.before.rmse,
        "after_m": score.after.rmse,
        "ratio": score.after.rmse / score.before.rmse,
    }


def write_slam_report(folder: Path, sessions: Sequence[Session], scores: Sequence[SessionScores], plan: Plan) -> Path:
    """results.json, each session's closures and three trajectories for evo, and the page, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    results = [_numbers(session, score) for session, score in zip(sessions, scores, strict=True)]
    (folder / "results.json").write_text(json.dumps(results, indent=2).replace("NaN", "null") + "\n")
    shown: list[dict[str, Any]] = []
    charts: dict[str, dict[str, Any]] = {}
    for session, score in zip(sessions, scores, strict=True):
        for name, track in (("true", session.truth), ("odometry", session.odometry), ("optimised", session.optimised)):
            poses = zip(track.stamps_ns.tolist(), track.T, strict=True)
            write_tum(folder / f"{session.name}_{name}.tum", poses)
        (folder / f"{session.name}_closures.json").write_text(json.dumps(_closures(session, score), indent=1) + "\n")
        charts[f"{session.name}-error"] = pictures.error_along(session, score)
        if closures := pictures.error_of_closures(session, score):
            charts[f"{session.name}-closures"] = closures
        drawn = _draw(folder / "report_pictures", session, score, sessions, plan)
        shown.append({"name": session.name, "closures": len(session.closures), **drawn})
    return write_page(
        folder / "report.html",
        "slam.html",
        title="Loop closure report",
        facts={"machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}"},
        table_rows=figures(sessions, scores),
        sessions=shown,
        pictures="report_pictures",
        data={"charts": charts},
    )


def _closures(session: Session, score: SessionScores) -> list[dict[str, Any]]:
    """Every closure with its errors."""
    errors = zip(score.position_m.tolist(), score.rotation_deg.tolist(), score.nees.tolist(), strict=True)
    names = ("stamp_ns", "keyframe_id", "match_stamp_ns", "match_id", "match_map", "inliers")
    return [
        {
            **{name: getattr(closure, name) for name in names},
            "position_m": metres,
            "rotation_deg": degrees,
            "nees": nees,
        }
        for closure, (metres, degrees, nees) in zip(session.closures, errors, strict=True)
    ]


def _draw(
    folder: Path, session: Session, score: SessionScores, sessions: Sequence[Session], plan: Plan
) -> dict[str, Path | None]:
    """A session's pictures as PNG: name -> path, or None if there is nothing to show."""
    folder.mkdir(exist_ok=True)
    by_map = {other.map_path.name: other for other in sessions} | {"": session}
    written: dict[str, Path | None] = {}
    with style.styled():
        for name, picture in (
            ("town", pictures.town(session, score, plan)),
            ("gallery", pictures.gallery(session, score, by_map)),
        ):
            path = folder / f"{session.name}_{name}.png"
            if picture is not None:
                picture.savefig(path, dpi=110)
            written[name] = None if picture is None else path
    return written
