"""The report is what people see first: it must come out whole, with and without images, truth or off-map frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.scenes import Images, Plan, choose_frames, decode
from vpr_ros.evaluation.summary import assess, recall_rows

Make = Callable[..., Any]


def jpeg_of(place_id: int) -> bytes:
    image = np.full((60, 80, 3), (place_id * 40) % 255, np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def test_a_report_with_everything(street: Run, make_run: Make, tmp_path: Path, answer: Make, hypothesis: Make) -> None:
    """One file that needs no other: all pictures inlined, the summary's figures in its tables, PNGs beside it."""
    snow = make_run([answer(i, 10 * i, [10 * i], [hypothesis(10 * i + 3, 0.9)]) for i in range(8)], condition="<snow>")
    images = Images(
        query=lambda i: np.full((480, 640, 3), 20 * i, np.uint8),
        place=jpeg_of,
        depth=lambda i: np.full((56, 56), 5.0 + i, np.float32),
    )
    plan = Plan([np.array([[0.0, -5], [100, -5], [100, 5]])], ["#dddddd"])
    runs = [assess(street), assess(snow)]
    path = write_report(tmp_path / "report.html", runs, {street.name: images}, plan, facts={"model": "tiny"})
    html = path.read_text()
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', html)
    names = {png.stem for png in (tmp_path / "report_pictures").glob("*.png")}
    overviews = {"recall_at_n", "recall_at_distance", "precision_recall", "reliability"}
    scenes = {f"street_sun_{name}" for name in ("map", "confidence", "queries", "depth")}
    assert names == overviews | scenes | {"street_snow_map", "street_snow_confidence"}
    assert html.count("data:image/png") == len(names)
    assert all(f"<td>{cell}</td>" in html for cell in recall_rows([runs[0].summary])[1][0])
    assert "&lt;snow&gt;" in html


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["no truth", "frames", "only drops", "no places"])
def test_a_report_of_poor_runs(case: str, make_run: Make, tmp_path: Path, answer: Make, hypothesis: Make) -> None:
    """A bag without truth, a numbered drive, a dead camera: fewer pictures, no crash and no warning."""
    runs = {
        "no truth": make_run([answer(i, None, [50], [hypothesis(50, 0.9)]) for i in range(3)]),
        "frames": make_run([answer(i, i, [i], [hypothesis(i, 0.9)]) for i in range(3)], Tolerance(frames=3)),
        "only drops": make_run([answer(0, 50, answered=False)]),
        "no places": make_run([answer(0, 50, [], [], 1.0)]),
    }
    assert write_report(tmp_path / "report.html", [assess(runs[case])]).stat().st_size > 10_000


def test_pictures_show_a_miss_and_an_off_map_frame(street: Run, make_run: Make, answer: Make, hypothesis: Make) -> None:
    """Nobody should be shown the successes alone."""
    assert choose_frames(assess(street), 3) == [1, 2, 4]
    many = [answer(i, 50, [50], [hypothesis(50, 0.9)]) for i in range(20)]
    assert choose_frames(assess(make_run(many)), 4) == [2, 7, 12, 17]


def test_a_broken_thumbnail_is_an_empty_tile() -> None:
    assert decode(b"not a jpeg") is None
    assert decode(None) is None
