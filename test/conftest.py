"""Worlds every test can afford: a loop of places with made-up descriptors, and a street of painted walls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import DriveFrame
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places

sys.path.insert(0, str(Path(__file__).with_name("helpers")))  # what the tests share; tests are no package

DIMENSION = 64


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """No test at all is a mistake: colcon test takes pytest's own status for that, 5, for success."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


@dataclass(frozen=True, eq=False)
class ToyWorld:
    """A circular street, 400 m round, seen by a camera that looks along it.

    A descriptor is a random smooth function of position (random Fourier features, correlation about 8 m).
    """

    length: float = 400.0
    seed: int = 0

    def pose(self, along: float) -> np.ndarray:
        """(4, 4) camera pose after that many metres of the circle."""
        radius, angle = self.length / (2 * np.pi), 2 * np.pi * along / self.length
        R = geometry.matrix_from_rpy(0, 0, angle + np.pi / 2) @ geometry.R_BODY_OPTICAL
        return geometry.transform(R, [radius * np.cos(angle), radius * np.sin(angle), 1.6])

    def descriptor(self, along: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        """(D,) float32 unit descriptor of what is seen there; noise is its share of the signal's length."""
        rng = np.random.default_rng(self.seed)
        x = self.pose(along)[:2, 3]
        signal = np.cos(rng.normal(0, 1 / 8, (DIMENSION, 2)) @ x + rng.uniform(0, 2 * np.pi, DIMENSION))
        signal /= np.linalg.norm(signal)
        signal = signal + noise * np.random.default_rng(seed).normal(0, DIMENSION**-0.5, DIMENSION)
        return (signal / np.linalg.norm(signal)).astype(np.float32)

    def noise_image(self, seed: int) -> np.ndarray:
        """(D,) descriptor of a place this world does not have."""
        vector = np.random.default_rng(10_000 + seed).normal(0, 1, DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def places(self, every: float = 5.0) -> Places:
        """A map of one round."""
        along = np.arange(0, self.length, every)
        return Places(
            ids=np.arange(1, len(along) + 1),
            drives=np.array(["reference"] * len(along)),
            stamps_ns=(along * 1e8).astype(np.int64),
            T_map_camera=np.stack([self.pose(a) for a in along]),
            descriptors=np.stack([self.descriptor(a) for a in along])[:, None],
        )


@pytest.fixture(scope="session")
def toy_world() -> ToyWorld:
    return ToyWorld()


@dataclass(frozen=True, eq=False)
class PaintedDrive:
    """A straight drive past painted walls: every 5 m another random pattern, sliding by in between.

    Enough for a real network to tell places apart without rendering a town. noise: pixels' standard deviation.
    """

    name: str = "painted"
    world: str = "painted street"
    length: float = 120.0
    every: float = 5.0
    start: float = 0.0
    noise: float = 0.0

    def __len__(self) -> int:
        return len(np.arange(0, self.length, self.every))

    def pose(self, along: float) -> np.ndarray:
        """(4, 4) camera pose: eastwards."""
        return geometry.transform(geometry.R_BODY_OPTICAL, np.array([along, 0.0, 1.5]))

    def image(self, along: float) -> np.ndarray:
        """(120, 160, 3) uint8."""
        import cv2

        tiles = [
            np.random.default_rng(1000 + int(along // 20) + k).integers(0, 255, (6, 8, 3), dtype=np.uint8)
            for k in (0, 1)
        ]
        wall = np.concatenate([cv2.resize(t, (160, 120), interpolation=cv2.INTER_NEAREST) for t in tiles], axis=1)
        shift = int((along % 20) / 20 * 160)
        seen = wall[:, shift : shift + 160].astype(float)
        seen += np.random.default_rng(int(along * 100)).normal(0, 1, seen.shape) * self.noise
        return np.clip(seen, 0, 255).astype(np.uint8)

    def __iter__(self) -> Iterator[DriveFrame]:
        for along in np.arange(0, self.length, self.every) + self.start:
            T = self.pose(float(along))
            stamp_ns = 1_000_000_000 + int(along / 5 * 1e9)
            yield DriveFrame(stamp_ns, partial(self.image, float(along)), T, T)


@pytest.fixture(scope="session")
def painted_drive() -> type[PaintedDrive]:
    return PaintedDrive


@pytest.fixture(scope="session")
def describer() -> Describer:
    """A shipped model on ONNX Runtime, one without a vocabulary: maps of toy drives can be merged and compared."""
    return open_describer("demixvpr_mobilenet", backend="onnx")


TINY_PX = 32


@pytest.fixture(scope="session")
def tiny_shards() -> list[Any]:
    """Cached drives of town_1 and town_2, overcast first: ten places 30 m apart, 32 px, all depth 10 m."""
    pytest.importorskip("torch", reason="torch is not installed")
    from vpr_lab.training.datasets import Shard

    shards = []
    for world in ("town_1", "town_2"):
        blocks = np.random.default_rng(sum(map(ord, world))).integers(0, 255, (10, 4, 4, 3))
        for condition, gain in (("overcast", 1.0), ("night", 0.4), ("sun", 0.9)):
            images = (blocks * gain).astype(np.uint8).repeat(TINY_PX // 4, 1).repeat(TINY_PX // 4, 2)
            depth = np.full((10, TINY_PX // 4, TINY_PX // 4), 10.0, np.float16)
            position = np.array([[30.0 * i, 0.5 * gain, 1.5] for i in range(10)])
            shards.append(Shard(world, condition, images, depth, position, np.zeros(10)))
    return shards


@pytest.fixture(scope="session")
def tiny_recipe() -> Any:
    """A recipe that trains a small network on 32 px images, one batch an epoch."""
    pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")
    from vpr_lab.training.recipe import Recipe
    from vpr_ros.base.config import from_dict

    network = {"height": TINY_PX, "width": TINY_PX, "depth_channels": 8, "mixers": 1, "out_channels": 8, "out_rows": 2}
    return from_dict(
        Recipe,
        {
            "network": {**network, "vlad_clusters": 2, "vlad_channels": 8},
            "epochs": 4, "batches_per_epoch": 1, "places_per_batch": 6, "images_per_place": 3,
            "workers": 0, "trainable_blocks": 2, "lr": 1e-3, "patience": 4,
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_recipe() -> Any:
    """A recipe of a small network on images of 48 x 32 px, with depth and without a vocabulary."""
    pytest.importorskip("torch", reason="torch is not installed")
    from vpr_lab.training.recipe import Recipe
    from vpr_ros.base.config import from_dict

    network = {"height": 32, "width": 48, "depth_channels": 8, "out_channels": 16, "out_rows": 2, "vlad_clusters": 0}
    return from_dict(Recipe, {"network": {**network, "depth_backbone": "convolutions"}})


@pytest.fixture
def vpr(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """vpr(argument, ...) -> the exit status of the command, run in this process."""
    from vpr_ros.cli.main import main

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["vpr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def make_map(tmp_path: Path) -> Callable[..., PlaceMap]:
    """make_map(name, [(drive, stamp, x, heading), ...]) -> an open map of those places, described as nothing."""

    def make(name: str, places: list[tuple[str, int, float, float]], world: str = "street", **more: Any) -> PlaceMap:
        model = MapModel("by hand", "f" * 64, 4, Preprocessing(8, 8))
        made = PlaceMap.create(tmp_path / name, model, world, more.get("origin"))
        for drive, stamp, x, heading in places:
            R = geometry.matrix_from_rpy(0, 0, heading) @ geometry.R_BODY_OPTICAL
            T = made.map_pose(geometry.transform(R, np.array([x, 0.0, 1.5])))
            made.add(drive, stamp, T, np.eye(4, dtype=np.float32)[0], more.get("thumbnail"))
        return made

    return make
