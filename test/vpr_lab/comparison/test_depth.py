"""Depth measures by hand on a few pixels, and a drive through the shipped network."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from vpr_lab.comparison.depth import DepthErrors, DepthScore, compare, evaluate_depth
from vpr_ros.base.errors import DriveError, ImageError, ModelError
from vpr_ros.drives import open as drives


def test_the_measures_are_eigens():
    """Worked out on paper: published figures are compared with these, so a factor or a root must not be off."""
    errors = DepthErrors.of(np.array([2.0, 5.0, 4.0]), np.array([2.0, 4.0, 8.0]))
    assert errors.abs_rel == pytest.approx((0 + 1 / 4 + 4 / 8) / 3)
    assert errors.sq_rel == pytest.approx((0 + 1 / 4 + 16 / 8) / 3)
    assert errors.rmse_m == pytest.approx(np.sqrt(17 / 3))
    assert errors.rmse_log == pytest.approx(np.sqrt((np.log(1.25) ** 2 + np.log(2) ** 2) / 3))
    # 5 / 4 is 1.25 and so not below it; 8 / 4 is above 1.25^3 = 1.953.
    assert (errors.delta_1, errors.delta_2, errors.delta_3) == pytest.approx((1 / 3, 2 / 3, 2 / 3))


def test_only_known_pixels_up_to_the_cap_count():
    """Sky (0) and what is too far are no truth; a prediction beyond the cap is brought down to it."""
    true = np.array([[0.0, 10.0], [79.0, 95.0]], np.float32)
    image = compare(np.array([[3.0, 10.0], [500.0, 1.0]], np.float32), true)
    assert image is not None and image.known == 0.5
    assert image.metric.rmse_m == pytest.approx(np.sqrt(1 / 2))
    assert compare(np.ones((2, 2), np.float32), np.zeros((4, 4), np.float32)) is None


def test_scaling_to_the_median_forgives_scale_and_nothing_else():
    """Another lens makes depth wrong by a factor: the second line of the table must not see it."""
    true = np.random.default_rng(0).uniform(2, 30, (8, 8)).astype(np.float32)
    image = compare(true / 2, true)
    assert image is not None and image.scale == pytest.approx(2)
    assert image.metric.abs_rel == pytest.approx(0.5)
    assert image.scaled.abs_rel == pytest.approx(0, abs=1e-6) and image.scaled.delta_1 == 1.0


def test_images_weigh_the_same():
    """A mean over images, as in the literature, not over pixels."""
    one, many = compare(np.ones((1, 1)), np.full((1, 1), 2.0)), compare(np.ones((9, 9)), np.ones((9, 9)))
    assert DepthScore.of("both", [one, many]).metric.abs_rel == pytest.approx(0.25)


@pytest.fixture
def walled_drive(painted_drive):
    """Painted walls 8 m ahead; the image at 10 m is broken, the one at 15 m has no depth."""

    class Walled(painted_drive):  # type: ignore[misc]
        def broken(self) -> np.ndarray:
            raise ImageError("truncated")

        def __iter__(self):
            for number, frame in enumerate(super().__iter__()):
                read = self.broken if number == 2 else frame.read
                depth = None if number == 3 else partial(np.full, (120, 160), 8.0, np.float32)
                yield dataclasses.replace(frame, read=read, read_depth=depth)

    return Walled(length=30.0)


def test_a_drive_through_the_network(describer, walled_drive, painted_drive):
    """What has no truth or cannot be read is left out and counted; nothing to measure is said."""
    seen: list[tuple[int, int]] = []
    images, left_out = evaluate_depth(describer, walled_drive, on_progress=lambda *p: seen.append(p))
    assert (len(images), left_out, seen[-1]) == (4, 2, (6, 6))
    assert all(np.isfinite(image.metric.abs_rel) and image.known == 1.0 for image in images)
    with pytest.raises(DriveError, match="painted has no true depth"):
        evaluate_depth(describer, painted_drive(length=10.0))


def test_a_model_without_depth_is_refused(describer, walled_drive):
    class Flat:
        manifest = dataclasses.replace(describer.manifest, depth=False)

    with pytest.raises(ModelError, match="has no depth"):
        evaluate_depth(Flat(), walled_drive)  # type: ignore[arg-type]


def test_the_command(tmp_path, monkeypatch, walled_drive):
    """A table for people, JSON for machines, metric and scaled side by side."""
    from vpr_ros.cli.main import app

    monkeypatch.setattr(drives, "open_drives", lambda specs, options: [walled_drive])
    result = CliRunner().invoke(app, ["evaluate-depth", "demixvpr_mobilenet", "anything", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "abs-rel" in result.output and "scaled" in result.output
    (drive,) = json.loads((tmp_path / "out/results.json").read_text())["drives"]
    assert drive["images"] == 4 and 0 <= drive["metric"]["delta_1"] <= drive["metric"]["delta_3"] <= 1
    picture = cv2.imread(str(tmp_path / "out" / "depth.jpg"))  # two rows: of three images one has no depth
    assert picture is not None and picture.shape[0] < picture.shape[1] and picture.std() > 30
