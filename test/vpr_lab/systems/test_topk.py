"""Top-K pictures: the frames' colours are the verdict, so they must be where the places are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from vpr_lab.systems.topk import choose_rows, draw_topk
from vpr_lab.training.datasets import Shard
from vpr_ros.evaluation import style


def shard(name: str, offset_m: float, count: int = 20, size: tuple[int, int] = (48, 64)) -> Shard:
    """A drive with a frame every 20 m, each flat grey, so that no image has a frame's colour."""
    images = np.broadcast_to(np.uint8(128), (count, *size, 3))
    position = np.stack([20.0 * np.arange(count) + offset_m, np.zeros(count), np.zeros(count)], axis=1)
    return Shard("town", name, images, np.zeros((count, 12, 16)), position, np.zeros(count))


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def columns_with(picture: np.ndarray, colour: str, columns: int = 6) -> set[int]:
    """Which of a picture's columns show frames of a colour: most of the pixels a column has where there are any."""
    found = np.abs(picture.astype(int) - rgb(colour)).max(axis=2) <= 2
    counts = [share.sum() for share in np.array_split(found, columns, axis=1)]
    return {number for number, count in enumerate(counts) if count > max(300, 0.6 * max(counts))}


def read(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return cv2.imread(str(path))[:, :, ::-1]


def test_right_places_are_green_and_wrong_ones_red(tmp_path: Path) -> None:
    """Second and fourth of five places are right: green there, red elsewhere, and no frame round the query."""
    query, reference = shard("night", 3.0), shard("overcast", 0.0)
    rows = np.arange(20)
    far, near = (rows + 10) % 20, rows
    order = np.stack([far, near, far, near, far, near, near], axis=1)
    picture = read(draw_topk(query, reference, order, tmp_path / "deep" / "topk.png", rows=3))
    assert columns_with(picture, style.RIGHT) == {2, 4} and columns_with(picture, style.WRONG) == {1, 3, 5}


def test_the_tolerance_is_a_strict_bound(tmp_path: Path) -> None:
    """A place exactly 25 m away counts as wrong everywhere else, so it must be red here."""
    query, reference = shard("night", 25.0, count=3), shard("overcast", 0.0, count=4)
    order = np.array([[0, 1], [1, 2], [2, 3]])  # 25 m, then 5 m
    picture = read(draw_topk(query, reference, order, tmp_path / "topk.png", rows=2))
    assert columns_with(picture, style.WRONG, 3) == {1} and columns_with(picture, style.RIGHT, 3) == {2}
    picture = read(draw_topk(query, reference, order, tmp_path / "wide.png", tolerance_m=26.0, rows=2))
    assert columns_with(picture, style.RIGHT, 3) == {1, 2}


def test_rows_are_a_mix_of_hits_misses_and_any() -> None:
    """Only hits would flatter, only misses would scare; a query without any right place says nothing of a ranking."""
    right = np.arange(60) < 50
    on_map = np.arange(60) < 55
    chosen = choose_rows(right, on_map, 6, np.random.default_rng(0))
    assert len(set(chosen)) == 6 and chosen == sorted(chosen) and max(chosen) < 55
    assert sum(right[chosen]) >= 2 and sum(~right[chosen]) >= 2
    assert chosen == choose_rows(right, on_map, 6, np.random.default_rng(0))
    others = [choose_rows(right, on_map, 6, np.random.default_rng(seed)) for seed in range(1, 4)]
    assert any(chosen != other for other in others)
    nowhere = np.zeros(60, bool)
    assert len(choose_rows(right, nowhere, 6, np.random.default_rng(0))) == 6, "off the map: better than no picture"
    assert len(choose_rows(right[:4], on_map[:4], 6, np.random.default_rng(0))) == 4
