"""DeMixVPR with a vocabulary of the map: what it computes, that it learns, and that its graph takes any vocabulary."""

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
from vpr_lab.network.demixvpr_map import MapDeMixVPR  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.datasets import Shard  # noqa: E402
from vpr_lab.training.head import Features, fit_head  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.base.errors import ModelError  # noqa: E402
from vpr_ros.inference import tensorrt  # noqa: E402
from vpr_ros.inference.onnx import OnnxDescriber  # noqa: E402
from vpr_ros.inference.quantise import write_int8  # noqa: E402
from vpr_ros.inference.vocabulary import Vocabulary, learn  # noqa: E402

SIDE, WORDS, HALF = 64, 4, 32
SHAPES = {"Shape", "Size", "NonZero", "Range", "ConstantOfShape", "Expand", "Tile", "If", "Loop", "Scan", "Gather"}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Blocks of colour, as a camera's image has smooth parts."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (24, SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def checkpoint(pictures: np.ndarray) -> Checkpoint:
    """A small one, started from images."""
    torch.manual_seed(0)
    config = NetworkConfig(
        kind="demixvpr_map",
        backbone="efficientnet_lite0",
        height=SIDE,
        width=SIDE,
        vlad_clusters=WORDS,
        out_channels=HALF,
        out_rows=1,
    )
    recipe = Recipe(
        network=config, loss="multi_similarity", miner="none", epochs=2, batches_per_epoch=3, places_per_batch=4,
        images_per_place=2, worlds_per_batch=1, lr=1e-2,
    )  # fmt: skip
    network = recipe.build()
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.from_numpy(pictures))
    network.initialise(torch.from_numpy(pictures), torch.full((len(pictures), SIDE // 4, SIDE // 4), 10.0))
    return Checkpoint(recipe, network.eval(), 0, [], {})


@pytest.fixture(scope="module")
def exported(
    checkpoint: Checkpoint, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Parity]:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    return path, export(checkpoint, path, images=pictures[:4])


def test_the_raw_vectors_are_what_they_are_said_to_be(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    """An independent pass in NumPy: averages over regions, and soft sums of residuals to the words."""
    network = checkpoint.network
    assert isinstance(network, MapDeMixVPR)
    with torch.no_grad():
        features, log_depth = network.observe(torch.from_numpy(pictures[:2]))
        found = network.raw(network.words, features, log_depth).numpy()
        tokens = network.tokens(features, log_depth).numpy()
    words = network.words.numpy()
    for row, local in enumerate(tokens):
        assert np.allclose(np.linalg.norm(local, axis=1), 1, atol=1e-5)
        distance = np.square(local[:, None] - words).sum(2)
        weights = np.exp(-20 * distance)
        weights /= weights.sum(1, keepdims=True)
        sums = np.einsum("lk,lkc->kc", weights, local[:, None] - words)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        assert np.allclose(found[row, 1], sums.ravel() / np.linalg.norm(sums), atol=1e-4)
    assert np.allclose(np.linalg.norm(found, axis=2), 1, atol=1e-5)
    assert network.regions.shape == (WORDS, (SIDE // 16) ** 2)


def test_depth_counts(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    """The descriptor is of image and depth: another depth map of the same image is another descriptor."""
    network = checkpoint.network
    with torch.no_grad():
        features, log_depth = network.observe(torch.from_numpy(pictures[:1]))
        one, two = (network.describe(features, depth) for depth in (log_depth, log_depth.flip(3)))
    assert 0.2 < float((one * two).sum()) < 0.999


def test_training_changes_only_what_adds(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    """The encoder and the decoder stay; the head starts from nothing, learns, and its words follow its features."""
    count = len(pictures)
    position = np.zeros((count // 2, 3))
    position[:, 0] = np.arange(count // 2) * 30.0
    empty = np.zeros((count // 2, SIDE // 4, SIDE // 4), np.float16)
    shards = [
        Shard("w", name, pictures[rows], empty, position, np.zeros(count // 2))
        for name, rows in (("a", slice(None, count // 2)), ("b", slice(count // 2, None)))
    ]
    with torch.no_grad():
        place, log_depth = checkpoint.network.observe(torch.from_numpy(pictures))
    features = Features(shards, place.half(), log_depth.half(), log_depth.half(), np.array([0, count // 2]))
    network, scores = fit_head(checkpoint.recipe, checkpoint.network, features, None)
    assert len(scores) == 2 and all(np.isfinite(score["loss"]) for score in scores)
    old, new = checkpoint.network.state_dict(), network.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert {"mix_change.weight", "word_change.weight", "words"} <= changed
    assert not any(name.startswith(("backbone.", "depth_decoder.")) for name in changed)


def test_the_graph_takes_any_vocabulary(
    checkpoint: Checkpoint, exported: tuple[Path, Parity], pictures: np.ndarray, tmp_path: Path
) -> None:
    """As torch has it, without shapes at run time, in INT8 too; TensorRT keeps what learning alone needs out."""
    path, parity = exported
    assert parity.cosine_min > 0.9999
    graph = onnx.load(str(path)).graph
    assert not SHAPES & set(Counter(node.op_type for node in graph.node))
    describer, network = OnnxDescriber(path, 1), checkpoint.network
    learnt = learn(describer, list(pictures))
    assert learnt.fingerprint != describer.manifest.vocabulary
    given = [torch.from_numpy(array) for array in learnt.inputs.values()]
    with torch.no_grad():
        expected = network.exported(torch.from_numpy(pictures[:3]), *given)[0].numpy()  # type: ignore[operator]
    assert np.allclose(describer.describe(pictures[:3]).descriptors, expected, atol=1e-4)
    similarities = describer.describe(pictures).descriptors @ describer.describe(pictures).descriptors.T
    describer.vocabulary = describer.own_vocabulary
    own = describer.describe(pictures).descriptors @ describer.describe(pictures).descriptors.T
    np.fill_diagonal(similarities, 0)
    np.fill_diagonal(own, 0)
    assert np.abs(similarities).mean() < np.abs(own).mean()  # images of the map are told apart better
    with pytest.raises(ModelError, match="words has shape"):
        describer.vocabulary = Vocabulary(learnt.words[:2], learnt.mean, learnt.projection)
    write_int8(path, tmp_path / "small_int8.onnx", pictures)
    small = OnnxDescriber(tmp_path / "small_int8.onnx", 1)
    small.vocabulary, describer.vocabulary = learnt, learnt
    agreement = np.sum(small.describe(pictures).descriptors * describer.describe(pictures).descriptors, axis=1)
    assert agreement.mean() > 0.9


def test_tensorrt_builds_it(exported: tuple[Path, Parity]) -> None:
    """With several inputs, and without the outputs that learning alone needs."""
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    assert len(tensorrt.build_engine(trt, exported[0])) > 100_000
