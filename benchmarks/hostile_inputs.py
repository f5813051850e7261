"""Small valid inputs that the hostile benchmarks damage: a model of 100 kB, drives of a few images, and their maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import DriveFrame
from vpr_ros.inference.describer import Manifest, fingerprint_file

SIDE, DIMENSION = 16, 32
WIDTH, HEIGHT = 96, 72


@dataclass(frozen=True, eq=False)
class Street:
    """A straight drive past noise, one metre and one second per image, with true poses and odometry. look: seed."""

    name: str = "street"
    world: str = "local"
    count: int = 12
    first: int = 0
    look: int = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[DriveFrame]:
        camera = Intrinsics.pinhole(WIDTH, HEIGHT, 80.0)
        for i in range(self.first, self.first + self.count):
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([float(i), 0.0, 1.5]))
            read = partial(picture, i + self.look)
            yield DriveFrame(1_000_000_000 * (i + 1), read, T, T, None, lambda read=read: read, camera)


def picture(number: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8, different for each number."""
    tiles = np.random.default_rng(number).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(tiles, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def small_model(folder: Path) -> Path:
    """A network that projects the image's pixels, with a depth of 4 x 4. Writes its ONNX file and manifest."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    size = SIDE * SIDE * 3
    weights = {
        "W": rng.normal(0, size**-0.5, (size, DIMENSION)).astype(np.float32),
        "V": np.abs(rng.normal(0, size**-0.5, (size, 16))).astype(np.float32),
        "half": np.array(127.5, np.float32),
        "one": np.array(1.0, np.float32),
        "flat": np.array([-1, size], np.int64),
        "square": np.array([-1, 4, 4], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "half"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "W"], ["seen"]),
        helper.make_node("LpNormalization", ["seen"], ["descriptor"], axis=1, p=2),
        helper.make_node("MatMul", ["row", "V"], ["far"]),
        helper.make_node("Abs", ["far"], ["further"]),
        helper.make_node("Add", ["further", "one"], ["metres"]),
        helper.make_node("Reshape", ["metres", "square"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["B", DIMENSION]),
            helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["B", 4, 4]),
        ],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    path = folder / "small.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    Manifest(path.stem, fingerprint_file(path), DIMENSION, True, Preprocessing(SIDE, SIDE)).save(path)
    assert onnx is not None
    return path
