"""Opening models: by path or name, with the backend asked for, and one sentence for each mistake."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import MissingDependencyError, ModelError
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.describer import Manifest
from vpr_ros.inference.models import DEFAULT_MODEL, find_model
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.tensorrt import import_tensorrt

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = REPOSITORY / "models" / f"{DEFAULT_MODEL}.onnx"
needs_shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped model is not in models/")


@needs_shipped
def test_shipped_model_runs_without_torch() -> None:
    """What a robot does with the shipped model: found by name, describing an image, never loading torch."""
    import subprocess
    import sys

    code = (
        "import sys, numpy as np; from vpr_ros.inference.open import open_describer;"
        f"d = open_describer('{DEFAULT_MODEL}', 'onnx', 1); m = d.manifest; p = m.preprocessing;"
        "o = d.describe(np.zeros((2, p.height, p.width, 3), np.uint8));"
        "assert o.descriptors.shape == (2, m.dimension) and o.descriptors.dtype == np.float32;"
        "assert np.allclose(np.linalg.norm(o.descriptors, axis=1), 1, atol=1e-4);"
        "assert o.depth.min() > 0 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@needs_shipped
def test_shipped_manifest_tells_origin_and_scores() -> None:
    """Nobody should have to guess what a shipped model was trained on, from which weights, and how good it is."""
    manifest = Manifest.load(SHIPPED)
    assert manifest.depth and manifest.licence and manifest.scores
    assert {"recipe", "data", "starting_weights", "minutes", "parity"} <= manifest.training.keys()
    assert SHIPPED.stat().st_size < 30e6


@needs_shipped
def test_auto_takes_what_works_and_says_so() -> None:
    """On a machine without TensorRT "auto" must fall back silently; asked for by name it must say what to install."""
    assert open_describer(SHIPPED, threads=1).backend.startswith(("onnx", "tensorrt"))
    try:
        import_tensorrt()
    except MissingDependencyError:
        with pytest.raises(MissingDependencyError, match="pip install"):
            open_describer(SHIPPED, "tensorrt")


def test_installed_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After colcon build the model lies in the package's share folder, which only AMENT_PREFIX_PATH tells."""
    folder = tmp_path / "share" / "vpr_ros" / "models"
    folder.mkdir(parents=True)
    (folder / "mine.onnx").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_model("mine") == folder / "mine.onnx"


@pytest.mark.parametrize(
    ("name", "backend", "words"),
    [
        ("nowhere", "auto", "no model called"),
        ("nowhere.onnx", "auto", "no model file"),
        ("x", "openvino", "unknown backend"),
    ],
)
def test_mistakes_get_one_sentence(name: str, backend: str, words: str) -> None:
    """A wrong name is the commonest mistake there is."""
    with pytest.raises(ModelError, match=words):
        open_describer(name, backend)


def test_corrupt_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """A half-copied model, or one beside another's manifest, must not run."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="manifest"):
        open_describer(path, "onnx")
    Manifest("m", "0" * 64, 8, True).save(path)
    with pytest.raises(ModelError, match="export the model again"):
        open_describer(path, "onnx")
    from vpr_ros.inference.describer import fingerprint_file

    of_file = fingerprint_file(path)
    written_again = Manifest("m", "0" * 64, 8, True, file=of_file)  # of a network that maps name by 0...0
    for manifest in (Manifest("m", of_file, 8, True), written_again):
        manifest.save(path)
        with pytest.raises(ModelError, match="cannot load"):
            open_describer(path, "onnx")
    Manifest("m", of_file, 8, True, file="1" * 64).save(path)
    with pytest.raises(ModelError, match="is not the file its manifest"):
        open_describer(path, "onnx")


@needs_shipped
def test_metres_are_of_the_lens_in_the_squeezed_image() -> None:
    """A wide image is squeezed along one axis: both focal lengths count, not the horizontal one alone."""
    manifest = Manifest("toy", "f", 8, True, Preprocessing(100, 100), focal_px=50.0)
    wide = Intrinsics.pinhole(400, 100, 100.0)  # 25 and 100 pixels in the network's input
    assert manifest.metres(np.ones((2, 2)), wide) == pytest.approx(np.ones((2, 2)))
    assert manifest.metres(np.ones((2, 2)), Intrinsics.pinhole(100, 100, 100.0)) == pytest.approx(np.full((2, 2), 2.0))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("model", [SHIPPED, "demixvpr_lite0"])
def test_same_image_same_descriptor_in_any_batch(model: str, threads: int) -> None:
    """Maps are built in batches, the robot describes one image at a time: both must give the same numbers.

    A batch of three goes image by image through one or two threads, and as a whole through four.
    """
    describer = open_describer(model, "onnx", threads)
    size = describer.manifest.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (3, size.height, size.width, 3), np.uint8)
    together = describer.describe(images)
    alone = [describer.describe(images[i : i + 1]) for i in range(3)]
    assert np.allclose(together.descriptors, np.concatenate([one.descriptors for one in alone]), atol=1e-4)
    assert np.allclose(together.depth, np.concatenate([one.depth for one in alone]), rtol=1e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_that_cannot_be_run_is_one_sentence(threads: int) -> None:
    """The error of one image's thread must reach who asked."""
    with pytest.raises(ModelError, match="cannot be run"):
        open_describer(SHIPPED, "onnx", threads).describe(np.zeros((4, 8, 8, 3), np.uint8))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_describes_batches_too(threads: int) -> None:
    """It has none of the threads of its parent, and waited for them."""
    describer = open_describer(SHIPPED, "onnx", threads)
    size = describer.manifest.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (4, size.height, size.width, 3), np.uint8)
    expected = describer.describe(images).descriptors
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if np.allclose(describer.describe(images).descriptors, expected, atol=1e-4) else 1)
    assert os.waitpid(child, 0)[1] == 0
