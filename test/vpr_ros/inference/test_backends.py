"""Backends of other packages: registered by entry points, chosen by name like this package's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from packages import install

from vpr_ros.base.errors import ConfigError, MissingDependencyError, ModelError
from vpr_ros.inference.open import backend_names, open_describer

SOURCE = """
import numpy as np
from vpr_ros.inference.describer import Description, Manifest

class ChipDescriber:
    batch_sizes = (1,)

    def __init__(self, path, threads=0):
        self.manifest = Manifest(path.stem, "f" * 64, 8, False)
        self.backend = f"chip ({threads} threads)"

    def describe(self, images):
        mean = images.reshape(len(images), -1)[:, :8].astype(np.float32) + 1
        return Description(mean / np.linalg.norm(mean, axis=1, keepdims=True), None)
"""


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file of a backend that an installed package registers."""
    entries = {"chip": "chip_backend:ChipDescriber", "lost": "no_such_module:Describer", "bad": "chip_backend:Missing"}
    install(tmp_path / "chip_pkg", monkeypatch, "vpr.backends", entries, chip_backend=SOURCE)
    (tmp_path / "net.chip").write_bytes(b"weights")
    yield tmp_path / "net.chip"
    sys.modules.pop("chip_backend", None)


def test_a_registered_backend_is_chosen_by_name(chip: Path) -> None:
    """Its model files may have a suffix of their own."""
    assert {"auto", "onnx", "tensorrt", "chip"} <= set(backend_names())
    describer = open_describer(chip, "chip", threads=2)
    assert describer.backend == "chip (2 threads)"
    assert describer.describe(np.zeros((2, 4, 4, 3), np.uint8)).descriptors.shape == (2, 8)


def test_mistakes_name_the_nearest_backend_and_the_fault(chip: Path) -> None:
    """Other backends work on although one that is registered cannot be loaded."""
    with pytest.raises(ModelError, match="unknown backend 'chpi'; did you mean 'chip'"):
        open_describer(chip, "chpi")
    with pytest.raises(ModelError, match=r"no backend is known for net\.chip: give the backend"):
        open_describer(chip)
    with pytest.raises(MissingDependencyError, match="backend 'lost' cannot be imported: No module named"):
        open_describer(chip, "lost")
    with pytest.raises(ConfigError, match=r"backend 'bad' cannot be loaded: .*Missing"):
        open_describer(chip, "bad")


def test_a_map_is_built_with_a_registered_backend(
    chip: Path, tmp_path: Path, vpr: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """--backend takes its name; the map says which model made it."""
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "walk").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "walk" / f"{i}.png"), np.full((48, 64, 3), 40 * i, np.uint8))
    command = f"map build {tmp_path / 'walk'} --numbered -o {tmp_path / 'm.vprmap'} --model {chip} --backend chip"
    assert vpr(*command.split(), "--every", 1, "--views", 1) == 0
    assert "3 places of 1 drive(s)" in capsys.readouterr().out


def test_the_node_takes_a_registered_backend(chip: Path) -> None:
    """backend:=NAME is checked against the names that are installed when the node starts."""
    code = (
        "from vpr_ros.base.config import from_dict; from vpr_ros.ros.params import NodeParams;"
        "print(from_dict(NodeParams, {'map': 'm.vprmap', 'backend': 'chip'}).backend)"
    )
    paths = os.pathsep.join([str(chip.parent / "chip_pkg"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "chip"
