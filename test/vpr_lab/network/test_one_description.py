"""Networks have one description since version 0.1.0: what was trained before must open, and give what it gave."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.network.build import NETWORKS  # noqa: E402
from vpr_lab.network.config import KINDS, NetworkConfig  # noqa: E402
from vpr_lab.network.heads import HeadConfig  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.recipe import Recipe, translate_recipe  # noqa: E402
from vpr_ros.base.config import from_dict, to_dict  # noqa: E402
from vpr_ros.base.errors import ConfigError  # noqa: E402

# Computed by the two earlier builders (seed 7): the recipe as they wrote it, names and shapes of all tensors, sums of
# their absolute values, and what the network makes of a random image.
BEFORE: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("networks_before.json").read_text())


@pytest.mark.parametrize("name", BEFORE)
def test_networks_are_what_the_two_builders_made(name: str) -> None:
    """One seed and recipe must give the same tensors by the same names, and the same descriptor and depth."""
    before = BEFORE[name]
    torch.manual_seed(7)
    network = from_dict(Recipe, translate_recipe(before["old_recipe"])).build()
    state = network.state_dict()
    shapes = json.dumps({name: list(value.shape) for name, value in state.items()})
    assert len(state) == before["tensors"]
    assert hashlib.sha256(shapes.encode()).hexdigest()[:16] == before["names"]
    sums = [float(value.double().abs().sum()) for value in state.values()]
    assert sum(sums) == pytest.approx(before["init"][0], rel=1e-5)
    assert sums[-6:] == pytest.approx(before["init"][1], rel=1e-4, abs=1e-5)

    config, random = network.config, np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (2, config.height, config.width, 3), np.uint8))
    depth_m = random.uniform(1, 80, (2, config.height // 4, config.width // 4)).astype(np.float32)
    with torch.no_grad():
        output = network.eval().analyse(images, torch.from_numpy(depth_m))
    assert output.descriptors[1, :8].tolist() == pytest.approx(before["descriptor"], abs=1e-4)
    assert (output.log_depth is None) == (before["depth"] is None)
    if output.log_depth is not None:
        assert float(output.log_depth.mean()) == pytest.approx(before["depth"], abs=1e-5)


@pytest.mark.parametrize("name", BEFORE)
def test_checkpoints_of_the_earlier_recipes_open(name: str, tmp_path: Path) -> None:
    """Weeks of training are in such files: recipe and weights must come back, and be saved in today's words."""
    old = BEFORE[name]["old_recipe"]
    network = from_dict(Recipe, translate_recipe(old)).build()
    content = {"recipe": {**to_dict(Recipe()), **old}, "network": network.state_dict(), "epoch": 2, "scores": []}
    del content["recipe"]["initialise_head"]
    torch.save({**content, "state": {}}, tmp_path / "old.pt")

    loaded = Checkpoint.load(tmp_path / "old.pt")
    assert loaded.recipe.initialise_head == (old["system"] is not None)  # pca was for DeMixVPR alone
    for key, value in network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[key]), key
    loaded.save(tmp_path / "new.pt")
    assert Checkpoint.load(tmp_path / "new.pt").recipe == loaded.recipe


def test_mistakes_in_a_description_are_named() -> None:
    """A field that has no effect, or an earlier name, must not pass in silence."""
    assert set(NETWORKS) == set(KINDS)
    with pytest.raises(ConfigError, match="vlad_clusters has no effect on a network of kind 'single'"):
        NetworkConfig("single", vlad_clusters=3)
    with pytest.raises(ConfigError, match="head has no effect on a network of kind 'demixvpr'"):
        replace(NetworkConfig(), head=HeadConfig("mac"))
    with pytest.raises(ConfigError, match="'system' is called 'network' now"):
        from_dict(Recipe, {"system": {"kind": "single"}})
    with pytest.raises(ConfigError, match="'pca' is called 'initialise_head' now"):
        from_dict(Recipe, {"pca": False})
