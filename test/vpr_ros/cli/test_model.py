"""`vpr model compare`: the figures are those of `vpr evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest


@pytest.mark.parametrize(("tolerance", "recall"), [("0", "0.0"), ("1", "0.0"), ("2", "100.0"), ("3", "100.0")])
def test_frames_within_the_tolerance_are_right(
    tmp_path: Path,
    painted_drive,
    monkeypatch: pytest.MonkeyPatch,
    vpr: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tolerance: str,
    recall: str,
) -> None:
    """Every best image is two frames off. With `--tolerance 2` none was right: nearer than, and not within."""
    drive = painted_drive()
    for name, ahead in (("reference", 0), ("query", 2)):
        (tmp_path / name).mkdir()
        for number in range(6):
            image = drive.image(40.0 * (number + ahead))[:, :, ::-1]
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image)
    for number in (4, 5):  # whose images are no frame of the reference
        (tmp_path / "query" / f"{number}.png").unlink()
    drives = ["--drive", str(tmp_path / "reference"), "--drive", str(tmp_path / "query")]
    options = ["--numbered", "--every", "0", "--tolerance", tolerance]
    monkeypatch.setenv("COLUMNS", "200")
    assert vpr("model", "compare", *["demixvpr_mobilenet"] * 2, *drives, *options) == 0
    assert recall in capsys.readouterr().out.splitlines()[-1].split()
