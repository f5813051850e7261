"""Figures, trajectories and one HTML page of `vpr demo slam`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.demo import slam_pictures as pictures
from vpr_ros.demo.slam_session import Judgement, Session
from vpr_ros.evaluation import style
from vpr_ros.evaluation.output import write_tum
from vpr_ros.evaluation.report import write_page
from vpr_ros.evaluation.scenes import Plan


def figures(sessions: Sequence[Session], judgements: Sequence[Judgement]) -> list[list[str]]:
    """A table, header first: one row a session."""
    header = ["session", "images", "closures", "on earlier map", "false", "error m", "error deg", "NEES"]
    header += ["ATE before m", "after m", "ratio"]
    rows = []
    for numbers in (_numbers(s, j) for s, j in zip(sessions, judgements, strict=True)):
        shown = [
            f"{numbers[name]:.2f}" for name in ("position_m", "rotation_deg", "nees", "before_m", "after_m", "ratio")
        ]
        counts = [str(numbers[name]) for name in ("images", "closures", "closures_earlier", "false")]
        rows.append([numbers["name"], *counts, *shown])
    return [header, *rows]


def _numbers(session: Session, judgement: Judgement) -> dict[str, Any]:
    """Of results.json; medians over the closures, NaN without closures."""
    nothing = np.array([np.nan])
    medians = {
        name: float(np.median(values if len(values) else nothing))
        for name, values in (
            ("position_m", judgement.position_m),
            ("rotation_deg", judgement.rotation_deg),
            ("nees", judgement.nees),
        )
    }
    return {
        "name": session.name,
        "images": len(session.truth.stamps_ns),
        "closures": len(session.closures),
        "closures_earlier": sum(closure.match_map != "" for closure in session.closures),
        "false": judgement.false,
        **medians,
        "before_m": judgement.before.rmse,
        "after_m": judgement.after.rmse,
        "ratio": judgement.after.rmse / judgement.before.rmse,
    }


def write_slam_report(folder: Path, sessions: Sequence[Session], judgements: Sequence[Judgement], plan: Plan) -> Path:
    """results.json, each session's closures and three trajectories for evo, and the page, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    results = [_numbers(session, judgement) for session, judgement in zip(sessions, judgements, strict=True)]
    (folder / "results.json").write_text(json.dumps(results, indent=2).replace("NaN", "null") + "\n")
    shown: list[dict[str, Any]] = []
    charts: dict[str, dict[str, Any]] = {}
    for session, judgement in zip(sessions, judgements, strict=True):
        for name, track in (("true", session.truth), ("odometry", session.odometry), ("optimised", session.optimised)):
            poses = zip(track.stamps_ns.tolist(), track.T, strict=True)
            write_tum(folder / f"{session.name}_{name}.tum", poses)
        (folder / f"{session.name}_closures.json").write_text(
            json.dumps(_closures(session, judgement), indent=1) + "\n"
        )
        charts[f"{session.name}-error"] = pictures.error_along(session, judgement)
        if closures := pictures.error_of_closures(session, judgement):
            charts[f"{session.name}-closures"] = closures
        drawn = _draw(folder / "report_pictures", session, judgement, sessions, plan)
        shown.append({"name": session.name, "closures": len(session.closures), **drawn})
    return write_page(
        folder / "report.html",
        "slam.html",
        title="Loop closure report",
        facts={"machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}"},
        table_rows=figures(sessions, judgements),
        sessions=shown,
        pictures="report_pictures",
        data={"charts": charts},
    )


def _closures(session: Session, judgement: Judgement) -> list[dict[str, Any]]:
    """Every closure with its errors."""
    errors = zip(judgement.position_m.tolist(), judgement.rotation_deg.tolist(), judgement.nees.tolist(), strict=True)
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
    folder: Path, session: Session, judgement: Judgement, sessions: Sequence[Session], plan: Plan
) -> dict[str, Path | None]:
    """A session's pictures as PNG: name -> path, or None if there is nothing to show."""
    folder.mkdir(exist_ok=True)
    by_map = {other.map_path.name: other for other in sessions} | {"": session}
    written: dict[str, Path | None] = {}
    with style.styled():
        for name, picture in (
            ("town", pictures.town(session, judgement, plan)),
            ("gallery", pictures.gallery(session, judgement, by_map)),
        ):
            path = folder / f"{session.name}_{name}.png"
            if picture is not None:
                picture.savefig(path, dpi=110)
            written[name] = None if picture is None else path
    return written
