"""Files other programs read: results.json for scripts, CSV for tables, TUM for evo."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.geometry import matrix_from_quat_xyzw
from vpr_ros.evaluation.output import _condition, write_csv, write_results, write_trajectories, write_tum
from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.summary import assess, summarise_all

Make = Callable[..., Any]


def test_results_have_the_published_keys_and_strict_json(
    street: Run, make_run: Make, tmp_path: Path, answer: Make, hypothesis: Make
) -> None:
    """Scripts rely on these names; NaN, which strict parsers refuse, is null."""
    snow = make_run([answer(0, 50, [50], [hypothesis(50, 0.9)])], condition="snow")
    runs = [assess(street), assess(snow)]
    write_results(tmp_path / "results.json", [run.summary for run in runs], summarise_all(runs))
    text = (tmp_path / "results.json").read_text()
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    top = [
        "conditions",
        "off_map_detected",
        "ece",
        "latency_ms",
        "network_ms",
        "search_ms",
        "frames",
        "dropped",
        "warning",
    ]
    assert list(data) == top
    assert list(data["latency_ms"]) == ["p50", "p95", "p99"]
    expected = {f"recall@{n}{kind}" for n in (1, 5, 10) for kind in ("", "_filtered")}
    expected |= {f"top1_recall@{d}{kind}" for d in (15, 25, 50) for kind in ("", "_filtered")}
    assert set(data["conditions"]) == {"sun", "snow"}
    assert expected <= set(data["conditions"]["sun"])
    assert data["conditions"]["sun"]["recall@1"] == pytest.approx(1 / 3)
    assert data["conditions"]["snow"]["off_map_detected"] is None
    assert (data["frames"], data["dropped"], data["off_map_detected"]) == (7, 1, 0.5)


def test_csv_has_a_line_for_every_frame(street: Run, tmp_path: Path) -> None:
    """The judgement stands in the line of its own frame, dropped frames included."""
    write_csv(tmp_path / "frames.csv", assess(street))
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_index"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row["position_error_m"] for row in rows] == ["2.0", "6.0", "40.0", "", "110.0", ""]
    assert [row["called_off_map"] for row in rows] == ["0", "0", "0", "1", "0", ""]
    assert (rows[5]["answered"], rows[5]["problem"], rows[5]["true_x"]) == ("0", "dropped", "60.0")


def test_tum_lines_keep_nanoseconds_and_the_pose(tmp_path: Path, pose: Make) -> None:
    T = pose(1.0, 2.0, 0.3)
    write_tum(tmp_path / "track.tum", [(1_700_000_000_000_000_007, T), (1, None), (2, np.full((4, 4), np.nan))])
    lines = (tmp_path / "track.tum").read_text().splitlines()
    assert len(lines) == 1
    stamp, *values = lines[0].split()
    assert stamp == "1700000000.000000007"
    numbers = np.array(values, float)
    np.testing.assert_allclose(numbers[:3], [1, 2, 0], atol=1e-9)
    np.testing.assert_allclose(matrix_from_quat_xyzw(numbers[3:]), T[:3, :3], atol=1e-8)


def test_evo_reads_both_trajectories(street: Run, tmp_path: Path) -> None:
    """Where evo is installed: it parses the files, matches the stamps and finds the errors 2, 6, 40 and 110 m."""
    file_interface = pytest.importorskip("evo.tools.file_interface", reason="evo is not installed")
    from evo.core import metrics, sync

    true, estimated = write_trajectories(tmp_path, street)
    reference, estimate = sync.associate_trajectories(
        file_interface.read_tum_trajectory_file(str(true)), file_interface.read_tum_trajectory_file(str(estimated))
    )
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, estimate))
    np.testing.assert_allclose(ape.error, [2, 6, 40, 110], atol=1e-6)


def test_numbered_frames_have_no_metres_and_stamps_a_sign(make_run: Make, answer: Make, tmp_path: Path) -> None:
    """results.json had position_error_m of frames and a heading of 0; a stamp of -1.5 s was written as -2.5."""
    run = replace(make_run([answer(0, 50, [50])]), tolerance=Tolerance(3.0, 3, 3.0))
    found = _condition(assess(run).summary)
    assert "position_error_frames" in found
    assert not [key for key in found if key.startswith(("top1_", "heading_", "nees_", "position_error_m"))]
    write_tum(tmp_path / "t.tum", [(-1_500_000_000, np.eye(4)), (-1, np.eye(4)), (1_500_000_000, np.eye(4))])
    stamps = [line.split()[0] for line in (tmp_path / "t.tum").read_text().splitlines()]
    assert stamps == ["-1.500000000", "-0.000000001", "1.500000000"]
