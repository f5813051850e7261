"""Exported models: the ONNX file says what torch says, and its manifest belongs to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.export.checkpoint import export  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.base.errors import ModelError  # noqa: E402
from vpr_ros.inference.describer import Manifest  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402
from vpr_ros.inference.parity import Parity  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(small_recipe: Recipe) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(small_recipe, small_recipe.build(), 3, [], {})


def test_export_agrees_with_torch_at_any_batch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A map built with ONNX Runtime must mean what training measured: same descriptors, same metres, any batch."""
    path = tmp_path / "small.onnx"
    parity = export(checkpoint, path, {"licence": "Apache-2.0", "scores": {"town": 1.0}})
    assert parity.cosine_min > 0.9999 and parity.depth_error_max_m < 0.01
    checkpoint.save(tmp_path / "small.pt")
    runs = [open_describer(path, "onnx", threads=1), open_describer(tmp_path / "small.pt", threads=1)]
    assert runs[0].backend.startswith("onnx") and runs[1].backend.startswith("torch")
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 32, 48, 3), np.uint8)
        one, two = (run.describe(images) for run in runs)
        assert one.descriptors.shape == (batch, 32) and one.depth is not None and one.depth.shape == (batch, 8, 12)
        assert np.allclose(one.descriptors, two.descriptors, atol=1e-4) and np.allclose(one.depth, two.depth, rtol=1e-3)


def test_manifest_and_metadata_carry_the_preprocessing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The robot preprocesses from these; the recipe and scores must survive for people."""
    path = tmp_path / "small.onnx"
    export(checkpoint, path, {"licence": "Apache-2.0", "training": {"minutes": 5}})
    manifest = Manifest.load(path)
    assert (manifest.dimension, manifest.depth, manifest.licence) == (32, True, "Apache-2.0")
    assert (manifest.preprocessing.height, manifest.preprocessing.width) == (32, 48)
    assert manifest.training["minutes"] == 5 and manifest.training["recipe"]["network"]["out_rows"] == 2
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert json.loads(metadata["preprocessing"])["width"] == 48


def test_disagreement_is_an_error() -> None:
    """A broken export must not be shipped."""
    with pytest.raises(ModelError, match="disagrees"):
        Parity(1, 0.99, 0.99, 0.0, 0.0).check()
