"""The benchmark of real recordings on folders of a user's own: what it measures, and that a missed limit is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pair(tmp_path: Path) -> str:
    """Eight places twice, each time in other light and a little aside; the second drive lacks one image."""
    random = np.random.default_rng(0)
    world = cv2.GaussianBlur(random.integers(0, 256, (240, 8 * 400, 3), np.uint8), (0, 0), 3)
    world = cv2.normalize(world, None, 0, 255, cv2.NORM_MINMAX)
    for name, light, aside in (("map", 1.0, 0), ("again", 0.7, 12)):
        (tmp_path / name).mkdir()
        for place in range(8):
            view = world[:, 400 * place + aside : 400 * place + aside + 320]
            if (name, place) != ("again", 3):
                cv2.imwrite(str(tmp_path / name / f"{place:04d}.png"), (view * light).astype(np.uint8))
    return f"mine={tmp_path / 'map'},{tmp_path / 'again'},0"


def run(pair: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "real.py"), "--pair", pair]
    command += ["--only", "thumbnail", "bag", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_numbers_are_places_and_limits_are_kept(pair: str, tmp_path: Path) -> None:
    """A missing image must move no other, and a limit that nothing meets, or names nothing, must fail the run."""
    cache = ("--cache", str(tmp_path / "cache"))
    result = run(pair, *cache, "--json", str(tmp_path / "rows.json"), "--limit", "bag of words@mine, alone=1")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {(row["method"], row["protocol"]): row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert {row["images"] for row in rows.values()} == {7}
    assert rows["bag of words", "as it is"]["recall@1"] == 1 and rows["bag of words", "alone"]["seeds"] == 3
    assert {protocol for _, protocol in rows} == {"as it is", "alone", "whole"}
    limits = ("thumbnail@mine=1.1", "thumbnail@somewhere=0", "thumbnail")
    failed = run(pair, *cache, *(part for limit in limits for part in ("--limit", limit)))
    assert failed.returncode == 1 and all(f"{limit}: " in failed.stdout for limit in limits)
