"""Smaller kinds of a model: they run like the model, stay close to it, and are never mistaken for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.export.checkpoint import export  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.base.errors import DriveError, MapError, ModelError  # noqa: E402
from vpr_ros.base.image import Preprocessing  # noqa: E402
from vpr_ros.inference.describer import Manifest  # noqa: E402
from vpr_ros.inference.importing import import_model, open_onnx  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402
from vpr_ros.inference.precision import variant_path  # noqa: E402
from vpr_ros.inference.quantise import calibration_images, write_float16, write_int8  # noqa: E402
from vpr_ros.maps.builder import build_map  # noqa: E402
from vpr_ros.maps.place_map import PlaceMap  # noqa: E402

SIZE = Preprocessing(height=32, width=48)


@pytest.fixture(scope="module")
def checkpoint(small_recipe: Recipe) -> Checkpoint:
    torch.manual_seed(0)
    network = small_recipe.build()
    noise = np.random.default_rng(0).integers(0, 256, (16, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    with torch.no_grad():
        for _ in range(100):  # batch norm learns the scale of its features, without which they fade below float16
            network.train()(torch.from_numpy(noise))
    return Checkpoint(small_recipe, network.eval(), 3, [], {})


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network as ONNX, with constants for probabilities in its manifest."""
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    export(checkpoint, path, {"licence": "Apache-2.0", "calibration": {"temperature": 0.5}})
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Blocks of colour, as a camera's image has smooth parts."""
    return np.random.default_rng(1).integers(0, 256, (16, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def int8(model: Path, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's INT8 variant, in a folder of its own."""
    path = variant_path(model, "int8", tmp_path_factory.mktemp("variants"))
    write_int8(model, path, images)
    return path


def test_variants_run_like_the_model_and_stay_close_to_it(
    model: Path, int8: Path, images: np.ndarray, tmp_path: Path
) -> None:
    """A robot opens a variant as it opens any model, at any batch; descriptor and depth mean the same.

    Random weights suffer more from 8 bits than trained ones: here the cosine is bounded, on the shipped model the
    benchmark measures recall.
    """
    half = variant_path(model, "fp16", tmp_path)
    write_float16(model, half)
    expected = open_describer(model, "onnx", threads=1).describe(images)
    assert expected.depth is not None
    for path, cosine, depth in ((half, 0.999, 0.02), (int8, 0.93, 0.1)):
        for batch in (images[:1], images):
            found = open_describer(path, "onnx", threads=1).describe(batch)
            assert found.descriptors.dtype == np.float32 and found.depth is not None
            assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=2e-3)
            assert ((found.descriptors * expected.descriptors[: len(batch)]).sum(1) > cosine).all()
            true = expected.depth[: len(batch)]
            assert (np.abs(found.depth - true) / true).mean() < depth
        assert path.stat().st_size < 0.7 * model.stat().st_size


def test_a_linear_layer_on_one_vector_is_quantised(tmp_path: Path, images: np.ndarray) -> None:
    """torch writes it as Gemm, the projection of CosPlace and EigenPlaces: the INT8 file was as large as float32's."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(512, 24)).astype("f4")
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[16, 12], strides=[16, 12]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["descriptor"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "projection",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 48])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["batch", 512])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path, small = tmp_path / "net.onnx", tmp_path / "small_int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    model = import_model(lambda _: open_onnx(path), tmp_path, "projection", "MIT").path
    write_int8(model, small, images)
    kept = [tensor for tensor in onnx.load(str(small)).graph.initializer if np.prod(tensor.dims) == weights.size]
    assert [tensor.data_type for tensor in kept] == [TensorProto.INT8]
    expected, found = (open_describer(file, "onnx", threads=1).describe(images).descriptors for file in (model, small))
    assert (expected * found).sum(1).min() > 0.99


def test_a_variant_is_a_model_of_its_own(
    model: Path, int8: Path, images: np.ndarray, tmp_path: Path, painted_drive
) -> None:
    """Its manifest keeps the constants and names its origin; a manifest or a map of the other model is refused."""
    own, original = Manifest.load(int8), Manifest.load(model)
    assert own.name == "small_int8" and own.fingerprint != original.fingerprint
    assert own.calibration == original.calibration and own.preprocessing == original.preprocessing
    assert own.training["variant"]["of_fingerprint"] == original.fingerprint
    assert own.training["variant"]["calibration_images"] == len(images)
    build_map(tmp_path / "byte.vprmap", [painted_drive()], open_describer(int8, "onnx")).close()
    with PlaceMap.open(tmp_path / "byte.vprmap") as place_map, pytest.raises(MapError, match="small_int8"):
        place_map.check_model(original.name, original.fingerprint)
    copy = tmp_path / int8.name
    copy.write_bytes(int8.read_bytes())
    original.save(copy)
    with pytest.raises(ModelError, match="is not the file its manifest"):
        open_describer(copy, "onnx")


def test_int8_keeps_convolutions_whole_and_norms_float(int8: Path) -> None:
    """A norm in 8 bits would no longer make unit length; a convolution in float would gain nothing."""
    kept = Manifest.load(int8).training["variant"]["float_convolutions"]
    nodes = onnx.load(str(int8)).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert sum(made_by[node.input[0]] != "DequantizeLinear" for node in convolutions) == kept
    (last,) = (node for node in nodes if "descriptor" in node.output)
    assert last.op_type == "Div" and "DequantizeLinear" not in {made_by[name] for name in last.input}


def test_calibration_images_are_spread_over_the_drives(painted_drive) -> None:
    """A drive that is long must not crowd out the others."""
    drives = [painted_drive(length=500.0), painted_drive(length=100.0)]
    assert calibration_images(drives, SIZE, 20).shape == (20, 32, 48, 3)
    assert len(calibration_images([painted_drive(length=15.0)], SIZE)) == 3
    with pytest.raises(DriveError, match="no images"):
        calibration_images([painted_drive(length=0.0)], SIZE)


def test_a_variant_of_a_variant_is_refused(model: Path, images: np.ndarray, tmp_path: Path) -> None:
    """float16 of INT8 is neither; the message says which file to give."""
    half = variant_path(model, "fp16", tmp_path)
    write_float16(model, half)
    with pytest.raises(ModelError, match="is already fp16"):
        write_int8(half, tmp_path / "x.onnx", images)
    with pytest.raises(ModelError, match="give a drive"):
        write_int8(model, tmp_path / "x.onnx", images[:0])


def test_command_writes_variants_with_reports(
    checkpoint: Checkpoint, tmp_path: Path, vpr: Callable[..., int], painted_drive, capsys
) -> None:
    """`vpr export` from a checkpoint and from ONNX: the folder holds model, variants, manifests and reports."""
    import cv2

    checkpoint.save(tmp_path / "small.pt")
    (tmp_path / "images").mkdir()
    for number, frame in enumerate(painted_drive(length=20.0)):
        cv2.imwrite(str(tmp_path / "images" / f"{number:04}.png"), frame.read()[..., ::-1])
    drive = ("--drive", tmp_path / "images")
    assert vpr("export", tmp_path / "small.pt", "-o", tmp_path / "a", "--fp16") == 0
    assert vpr("export", tmp_path / "a/small.onnx", "-o", tmp_path / "b", "--int8", *drive) == 0
    assert "int8" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("small.onnx", "small.json", "small_fp16.onnx", "small_fp16.json", "small_fp16_report.json")
    }
    manifest = Manifest.load(tmp_path / "b" / "small_int8.onnx")
    assert manifest.scores["images"] == 4 and manifest.scores["cosine_mean"] > 0.93
    assert Manifest.load(tmp_path / "b" / "small.onnx") == Manifest.load(tmp_path / "a" / "small.onnx")


def test_a_models_vocabulary_goes_with_it(tmp_path: Path, vpr: Callable[..., int], capsys) -> None:
    """Into another folder the model was copied without it, and neither the copy nor a variant could be opened."""
    assert vpr("export", "demixvpr_lite0", "-o", tmp_path, "--fp16") == 0
    for name in ("demixvpr_lite0", "demixvpr_lite0_fp16"):
        images = np.random.default_rng(0).integers(0, 255, (1, 224, 224, 3), np.uint8)
        assert open_describer(tmp_path / f"{name}.onnx", "onnx", 1).describe(images).descriptors.shape == (1, 1024)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["demixvpr_mobilenet", "--int8"], "name at least one drive"),
        (["demixvpr_mobilenet"], "exported already"),
        (["no_such_model", "--fp16"], "no model called 'no_such_model'"),
        (["demixvpr_mobilenet", "-o", "x.onnx", "--fp16"], "give a folder"),
        (["demixvpr_mobilenet", "--int8", "--drive", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    vpr: Callable[..., int],
    capsys,
    tmp_path: Path,
) -> None:
    """Nothing is written before the arguments make sense."""
    monkeypatch.chdir(tmp_path)
    assert vpr("export", *arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error.replace("\n", " ") and "Traceback" not in error
    assert not list(tmp_path.iterdir())
