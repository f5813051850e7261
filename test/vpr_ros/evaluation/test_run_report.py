"""One call from a drive to every file of a result: what `vpr evaluate` and the demo are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.run_report import run_drive, write_run_report
from vpr_ros.evaluation.summary import assess
from vpr_ros.localize.localizer import Localizer

Make = Callable[..., Any]


def test_a_study_leaves_every_file(localizer: Localizer, drive: Make, tmp_path: Path) -> None:
    place_map = localizer.place_map
    assert place_map is not None
    run, gallery = run_drive(localizer, place_map, drive(20, broken=(3,)), "sun", Tolerance(10))
    report = write_run_report(tmp_path / "out", [assess(run)], {run.name: gallery}, place_map)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    files = {"results.json", "street.csv", "street.answers.jsonl", "street_true.tum", "street_estimated.tum"}
    assert written == files | {"report.html", "report_pictures"}
    assert (report.parent / "report_pictures" / "street_queries.png").is_file()
    loaded = assess(Run.load(tmp_path / "out" / "street.answers.jsonl")).summary
    assert repr(loaded) == repr(assess(run).summary)  # NaN equals itself here


def test_truth_is_moved_to_the_maps_origin(localizer: Localizer, drive: Make) -> None:
    """Poses in UTM metres are millions; the map keeps an origin, and truth must follow it."""
    place_map = localizer.place_map
    assert place_map is not None
    place_map.origin = np.array([100.0, 0.0, 0.0])
    run, _ = run_drive(localizer, place_map, drive(2))
    assert [a.T_map_camera_true[0, 3] for a in run.answers if a.T_map_camera_true is not None] == [-100.0, -95.0]


def test_a_drive_of_another_world_is_refused(localizer: Localizer, drive: Make) -> None:
    place_map = localizer.place_map
    assert place_map is not None
    elsewhere = drive(2)
    elsewhere.world = "utm 30N"
    with pytest.raises(DriveError, match="utm 30N"):
        run_drive(localizer, place_map, elsewhere)


def test_runs_of_like_names_have_files_of_their_own(localizer: Localizer, drive: Make, tmp_path: Path) -> None:
    """A slash makes no folder, and two names that look alike in a file's name overwrite nothing."""
    place_map = localizer.place_map
    assert place_map is not None
    run, _ = run_drive(localizer, place_map, drive(3))
    runs = [replace(run, name=name, condition=name, slug="") for name in ("a/b", "a b", "A b")]
    write_run_report(tmp_path, [assess(one) for one in runs], {}, place_map)
    assert sorted(p.name for p in tmp_path.glob("*.jsonl")) == ["A_b_3.answers.jsonl"] + [
        f"a_b{number}.answers.jsonl" for number in ("", "_2")
    ]
    assert sorted(json.loads((tmp_path / "results.json").read_text())["conditions"]) == ["A b", "a b", "a/b"]
