"""The shipped kind of network on the backbones for it: it trains, and its ONNX suits a GPU, a CUDA graph and INT8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.export.checkpoint import Parity, export  # noqa: E402
from vpr_lab.network.config import NetworkConfig  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.objective import Objective  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.inference import tensorrt  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402
from vpr_ros.inference.quantise import write_int8  # noqa: E402

SIDE = 112  # a multiple of 16 and of 14
# Operations that compute a shape, or whose output's shape does; runtimes keep the first on the CPU.
SHAPES = {"Shape", "Size", "NonZero", "Range", "ConstantOfShape", "Expand", "Tile", "If", "Loop", "Scan", "Gather"}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Blocks of colour, as a camera's image has smooth parts."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (8, SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module", params=["efficientnet_lite0", "dinov2_vits14", "dinov2_lite0"])
def checkpoint(request: pytest.FixtureRequest, pictures: np.ndarray) -> Checkpoint:
    """A network whose batch norm has seen images and whose head started from them."""
    torch.manual_seed(0)
    depth = "" if request.param.startswith("efficientnet") else "convolutions"  # "": the same backbone again
    config = NetworkConfig(
        backbone=request.param, depth_backbone=depth, height=SIDE, width=SIDE, depth_side=56, rgb_channels=64
    )
    recipe = Recipe(network=config)
    network, batch = recipe.build(), torch.from_numpy(pictures)
    with torch.no_grad():
        for _ in range(30):
            network.train()(batch)
    network.initialise(batch, torch.full((len(batch), SIDE // 4, SIDE // 4), 10.0))
    return Checkpoint(recipe, network.eval(), 0, [], {})


@pytest.fixture(scope="module")
def exported(
    checkpoint: Checkpoint, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Parity]:
    path = tmp_path_factory.mktemp("model") / f"{checkpoint.recipe.network.backbone}.onnx"
    return path, export(checkpoint, path, images=pictures)


def test_a_step_of_training_reaches_every_part(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    """`backbone: NAME` in a recipe is all it takes: losses are finite and every trained tensor gets a gradient."""
    network = checkpoint.recipe.build().train()
    batch = {
        "images": torch.from_numpy(pictures),
        "depth": torch.rand(8, SIDE // 4, SIDE // 4) * 50 + 1,
        "labels": torch.arange(8) // 2,
        "drives": torch.arange(8) % 2,
    }
    terms = Objective(checkpoint.recipe, network)(network, batch)
    assert {"place", "depth"} <= set(terms) and all(torch.isfinite(term) for term in terms.values())
    terms["total"].backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    torch.optim.Adam(network.parameters(), 1e-4).step()


def test_the_graph_computes_no_shapes(exported: tuple[Path, Parity]) -> None:
    """One node on the CPU and no CUDA graph can be recorded; constants are folded, the position embedding's too."""
    model = onnx.load(str(exported[0]))
    operations = Counter(node.op_type for node in model.graph.node)
    assert not SHAPES & set(operations), operations
    constants = {tensor.name for tensor in model.graph.initializer}
    assert not any(set(node.input) <= {"", *constants} for node in model.graph.node)
    for node in model.graph.node:
        if node.op_type in ("Reshape", "Resize", "Slice", "Pad", "Split", "Unsqueeze", "Squeeze"):
            assert set(node.input[1:]) <= {"", *constants}, node


def test_onnx_is_torch_at_any_batch(exported: tuple[Path, Parity], pictures: np.ndarray) -> None:
    """What is measured in training is what the robot sees, and one image alone is as one of many."""
    path, parity = exported
    assert parity.cosine_min > 0.99999 and parity.depth_error_max_m < 0.01
    describer = open_describer(path, "onnx", threads=1)
    many = describer.describe(pictures[:3]).descriptors
    for image, descriptor in zip(pictures, many, strict=False):
        assert describer.describe(image[None]).descriptors[0] @ descriptor > 0.99999


@pytest.mark.slow
def test_int8_stays_close(exported: tuple[Path, Parity], pictures: np.ndarray, tmp_path: Path) -> None:
    """A CPU runs the INT8 variant: a transformer's products too, not convolutions alone."""
    path, small = exported[0], tmp_path / "int8.onnx"
    write_int8(path, small, pictures)
    expected, found = (open_describer(file, "onnx", threads=1).describe(pictures).descriptors for file in (path, small))
    assert (expected * found).sum(1).mean() > 0.9
    assert small.stat().st_size < 0.45 * path.stat().st_size
    graph = onnx.load(str(small)).graph
    weights = {tensor.name for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    for node in graph.node:  # 8 bits cost attention's own products most and gain least there
        sources = [made[name] for name in node.input if name in made]
        if node.op_type == "MatMul" and sources[0].op_type == "DequantizeLinear":
            assert any(source.input[0] in weights for source in sources), node


def test_tensorrt_builds_it(exported: tuple[Path, Parity]) -> None:
    """All of the graph must suit TensorRT; its build for RTX cards needs no card."""
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx (pip install tensorrt-rtx-cu13)")
    plan = tensorrt.build_engine(tensorrt.import_tensorrt(("tensorrt_rtx",)), exported[0])
    assert len(plan) > 0.9 * exported[0].stat().st_size  # the weights are inside
