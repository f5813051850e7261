"""Synthetic answers on a straight street, small enough to be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import ImageError
from vpr_ros.base.geometry import R_BODY_OPTICAL, matrix_from_rpy, transform
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import DriveFrame, Hypothesis
from vpr_ros.evaluation.record import Answer, Run, Tolerance
from vpr_ros.inference.describer import Description, Manifest
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import add_drive
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import MapModel, PlaceMap

SIDE = 8


class PixelDescriber:
    """The image itself, centred and of unit length, as its descriptor."""

    manifest = Manifest("pixels", "none", 3 * SIDE * SIDE, False, Preprocessing(SIDE, SIDE))
    backend = "numpy"
    batch_sizes = (8,)

    def describe(self, images: np.ndarray) -> Description:
        flat = images.reshape(len(images), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return Description((flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32), None)


class Street:
    """Frames every 5 m, each a picture of its own; ``broken`` ones cannot be read."""

    name, world = "street", "local"

    def __init__(self, count: int, broken: tuple[int, ...] = ()) -> None:
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[DriveFrame]:
        for i in range(self.count):
            yield DriveFrame(i * 10**9, partial(self.read, i), transform(R_BODY_OPTICAL, np.array([5.0 * i, 0, 0])))

    def read(self, i: int) -> np.ndarray:
        if i in self.broken:
            raise ImageError(f"image {i} of the street is truncated")
        return np.random.default_rng(i).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)


def make_pose(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A camera that looks along yaw from (x, y)."""
    return transform(matrix_from_rpy(0, 0, yaw) @ R_BODY_OPTICAL, np.array([x, y, 0.0]))


def make_hypothesis(x: float, probability: float, variance: float = 1.0, yaw: float = 0.0) -> Hypothesis:
    return Hypothesis(make_pose(x, yaw=yaw), variance * np.eye(6), probability, (1,))


def make_answer(
    index: int,
    true_x: float | None,
    places: Sequence[float] = (),
    hypotheses: Sequence[Hypothesis] = (),
    off_map: float = 0.0,
    **more: object,
) -> Answer:
    """Frame ``index``, truly at true_x, whose places lie at these x, similarity 0.9, 0.8, ..."""
    return Answer(
        stamp_ns=1_700_000_000_123_456_789 + index * 10**9,
        frame_index=index,
        T_map_camera_true=None if true_x is None else make_pose(true_x),
        place_ids=np.arange(1, len(places) + 1),
        similarities=0.9 - 0.1 * np.arange(len(places)),
        T_map_places=np.array([make_pose(x) for x in places]).reshape(-1, 4, 4),
        hypotheses=tuple(hypotheses),
        off_map_probability=off_map,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def pose() -> Callable[..., np.ndarray]:
    return make_pose


@pytest.fixture
def hypothesis() -> Callable[..., Hypothesis]:
    return make_hypothesis


@pytest.fixture
def answer() -> Callable[..., Answer]:
    return make_answer


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Answers -> a run on a map with places at x = 0, 10, ..., 100."""

    def make(answers: Sequence[Answer], tolerance: Tolerance | None = None, condition: str = "sun") -> Run:
        places = np.array([make_pose(x) for x in range(0, 101, 10)])
        return Run(f"street {condition}", condition, tuple(answers), places, tolerance or Tolerance())

    return make


@pytest.fixture
def street(make_run: Callable[..., Run]) -> Run:
    """Six frames: right, right in the second place, wrong, off the map and called so, off and not called so, dropped.

    On the map 3 frames, off it 2. Single frame: recall@1 = 1/3, recall@5 = 2/3. Filtered: recall@1 = 2/3.
    """
    return make_run(
        [
            make_answer(
                0,
                50,
                [52, 90],
                [make_hypothesis(52, 0.9)],
                0.05,
                latency_ms=10.0,
                timings_ms={"network": 8.0, "search": 1.0},
            ),
            make_answer(1, 50, [90, 60], [make_hypothesis(56, 0.6), make_hypothesis(90, 0.3)], 0.1, latency_ms=20.0),
            make_answer(2, 50, [90, 100], [make_hypothesis(90, 0.7)], 0.1, latency_ms=30.0),
            make_answer(3, 200, [90], [make_hypothesis(90, 0.1)], 0.8),
            make_answer(4, 200, [90], [make_hypothesis(90, 0.6)], 0.2),
            make_answer(5, 60, answered=False, problem="dropped"),
        ]
    )


@pytest.fixture
def localizer(tmp_path: Path) -> Iterator[Localizer]:
    """On a stored map of the street's first 30 frames."""
    describer = PixelDescriber()
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
    with PlaceMap.create(tmp_path / "street.vprmap", model, Street.world, np.zeros(3), Calibration()) as place_map:
        add_drive(place_map, Street(30), describer, every_m=0)
        yield Localizer(place_map.places, describer, place_map=place_map)


@pytest.fixture
def drive() -> type[Street]:
    return Street
