"""Networks of any origin become models: what they say stays the same, and each mistake is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from vpr_ros.base.errors import ModelError  # noqa: E402
from vpr_ros.inference.describer import Manifest  # noqa: E402
from vpr_ros.inference.importing import Imported, Wanted, import_model, open_onnx  # noqa: E402
from vpr_ros.inference.onnx_graph import write_folded  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402

SIDE, GRID = 32, 4
DIMENSION = 3 * GRID * GRID
Shape = list[Any]


def network(
    path: Path,
    shape: Shape,
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    outputs: tuple[str, ...] = ("vectors",),
    external: bool = False,
    target: tuple[int, ...] | None = (-1, DIMENSION),
) -> Path:
    """Colours on a grid: images of this shape -> vectors (B, D), and what else a network may give.

    target: of the Reshape to (B, D); None computes it from shapes, as torch's exports for any batch do.
    """
    nodes = [helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT)]
    if shape[1] != 3 and shape[3] == 3:
        nodes.append(helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]))
    cell = {"kernel_shape": [SIDE // GRID] * 2, "strides": [SIDE // GRID] * 2}
    nodes.append(helper.make_node("AveragePool", [nodes[-1].output[0]], ["cells"], **cell))
    weights = [numpy_helper.from_array(np.random.default_rng(0).normal(0, 1, (1, 3, GRID, GRID)).astype("f4"), "w")]
    nodes.append(helper.make_node("Add", ["cells", "w"], ["moved"]))
    if target is None:
        weights += [
            numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("0", [0]), ("1", [1]), ("-1", [-1]))
        ]
        nodes.append(helper.make_node("Shape", ["moved"], ["shape"]))
        nodes.append(helper.make_node("Slice", ["shape", "0", "1"], ["batch"]))
        nodes.append(helper.make_node("Concat", ["batch", "-1"], ["target"], axis=0))
    else:
        weights.append(numpy_helper.from_array(np.array(target, np.int64), "target"))
    nodes.append(helper.make_node("Reshape", ["moved", "target"], ["vectors"]))
    nodes.append(helper.make_node("ReduceMax", ["float"], ["depth"], axes=[3 if shape[3] == 3 else 1], keepdims=0))
    nodes.append(helper.make_node("Identity", ["moved"], ["map"]))
    nodes.append(helper.make_node("Mul", ["vectors", "nothing"], ["zero"]))
    nodes.append(helper.make_node("Cast", ["vectors"], ["whole"], to=TensorProto.INT64))
    weights.append(numpy_helper.from_array(np.zeros((), "f4"), "nothing"))
    kinds = {"whole": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path), save_as_external_data=external, location="weights.bin", size_threshold=100)
    return path


def bring(path: Path, folder: Path, **wanted: Any) -> Imported:
    return import_model(lambda _: open_onnx(path), folder, licence="MIT", wanted=Wanted(**wanted))


def colours(images: np.ndarray, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """(B, H, W, 3) uint8 -> what the network above says of it, computed without ONNX."""
    cells = images.reshape(-1, GRID, SIDE // GRID, GRID, SIDE // GRID, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    moved = (cells - mean) / std + np.random.default_rng(0).normal(0, 1, (1, 3, GRID, GRID)).astype("f4")
    flat = moved.reshape(len(images), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are written; no other model lies there."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("shape", "dtype", "target", "more", "kind"),
    [
        (["B", 3, SIDE, SIDE], TensorProto.FLOAT, (-1, DIMENSION), {}, "nchw_float"),
        (["B", 3, "H", "W"], TensorProto.FLOAT, None, {"size": (SIDE, SIDE)}, "nchw_float"),
        ([1, 3, SIDE, SIDE], TensorProto.FLOAT, (1, DIMENSION), {}, "nchw_float"),
        (["B", SIDE, SIDE, 3], TensorProto.FLOAT, (-1, DIMENSION), {}, "nhwc_float"),
        (["B", 3, SIDE, SIDE], TensorProto.UINT8, (-1, DIMENSION), {}, "nchw_uint8"),
        (["B", "H", "W", 3], TensorProto.UINT8, None, {"size": (SIDE, SIDE), "input": "nhwc_uint8"}, "nhwc_uint8"),
    ],
)
def test_every_kind_of_input_becomes_bytes(
    folder: Path, tmp_path: Path, shape: Shape, dtype: int, target: Any, more: Any, kind: str
) -> None:
    """The robot gives bytes, in any batch; what comes out is what plain arithmetic says, and no shape is computed."""
    if kind.endswith("float"):
        more = {**more, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    made = bring(network(tmp_path / "net.onnx", shape, dtype, target=target), folder, **more)
    manifest = Manifest.load(folder / "net.onnx")
    assert manifest == made.manifest and manifest.training["imported"]["input"] == kind
    assert (manifest.dimension, manifest.depth, manifest.licence, manifest.source) == (
        DIMENSION,
        False,
        "MIT",
        "net.onnx",
    )
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    expected = colours(images, *((127.5, 63.75) if kind.endswith("float") else ()))
    describer = open_describer(made.path, "onnx", 1)
    np.testing.assert_allclose(describer.describe(images).descriptors, expected, atol=1e-5)
    np.testing.assert_allclose(describer.describe(images[:1]).descriptors, expected[:1], atol=1e-5)
    operations = {node.op_type for node in onnx.load(str(made.path)).graph.node}
    assert not operations & {"Shape", "Expand", "ConstantOfShape"}


def test_old_opsets_and_weights_in_other_files(folder: Path, tmp_path: Path) -> None:
    """Files of years ago are brought to today's operations; a model is one file, whatever it was before."""
    path = network(tmp_path / "old.onnx", ["B", 3, SIDE, SIDE], opset=13, external=True)
    assert (tmp_path / "weights.bin").is_file()
    made = bring(path, folder)
    assert onnx.load(str(made.path), load_external_data=False).opset_import[0].version >= 17
    assert sorted(file.name for file in folder.iterdir()) == ["old.json", "old.onnx"]
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"keeps its weights in another file|cannot be read"):
        bring(path, folder / "again")


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_and_idle_dimensions(folder: Path, tmp_path: Path, dtype: int) -> None:
    """Outputs of float16 or float64, and (B, 1, D), were refused, and an ONNX file cannot be told to cast them."""
    path = network(tmp_path / "net.onnx", FIXED, target=(-1, 1, DIMENSION), outputs=("other", "metres"))
    model = onnx.load(str(path))
    for found, given in (("vectors", "other"), ("depth", "metres")):
        model.graph.node.append(helper.make_node("Cast", [found], [given], to=dtype))
    for output in model.graph.output:
        output.type.tensor_type.elem_type = dtype
    onnx.save(model, str(path))
    made = bring(path, folder, descriptor="other", depth="metres", mean=(0, 0, 0), std=(1, 1, 1))
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    found = open_describer(made.path, "onnx", 1).describe(images)
    np.testing.assert_allclose(found.descriptors, colours(images, std=255), atol=1e-3)
    assert found.depth is not None and (found.descriptors.dtype, found.depth.dtype) == (np.float32, np.float32)


def test_a_batch_of_one_from_torch_of_today_is_freed(folder: Path, tmp_path: Path) -> None:
    """torch.onnx.export sets allowzero on every Reshape since torch 2.9: CosPlace and MixVPR were refused."""
    path = network(tmp_path / "net.onnx", [1, 3, SIDE, SIDE], target=(1, DIMENSION))
    model = onnx.load(str(path))
    (reshape,) = (node for node in model.graph.node if node.op_type == "Reshape")
    reshape.attribute.append(helper.make_attribute("allowzero", 1))
    onnx.save(model, str(path))
    made = bring(path, folder, mean=(0, 0, 0), std=(1, 1, 1))
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    found = open_describer(made.path, "onnx", 1).describe(images).descriptors
    np.testing.assert_allclose(found, colours(images, std=255), atol=1e-5)


def test_images_of_a_batch_that_change_each_other(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Batch normalisation in training mode was taken for a fixed batch, and to export it again changed nothing."""
    path = network(tmp_path / "net.onnx", FIXED)
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("ReduceMax", ["vectors"], ["most"], axes=[0], keepdims=1))
    model.graph.node.append(helper.make_node("Add", ["vectors", "most"], ["mixed"]))
    model.graph.output[0].name = "mixed"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"images of one batch change each other's descriptors: export .* evaluation"):
        bring(path, folder)
    assert not list(folder.iterdir()) and capfd.readouterr().err == ""


def test_depth_is_an_output_by_name(folder: Path, tmp_path: Path) -> None:
    """A network with depth keeps it; one without says what it lacks."""
    path = network(tmp_path / "deep.onnx", ["B", 3, SIDE, SIDE], outputs=("vectors", "depth"))
    white = bring(path, folder, depth="depth", mean=(0, 0, 0), std=(1, 1, 1))
    assert white.manifest.depth and not white.manifest.missing and white.parity.depth_error_max_m is not None
    images = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    depth = open_describer(white.path, "onnx", 1).describe(images).depth
    np.testing.assert_allclose(depth, images.max(axis=3) / 255, atol=1e-5)
    plain = import_model(lambda _: open_onnx(path), folder, "plain", "MIT", wanted=Wanted(descriptor="vectors"))
    assert "estimates no depth" in plain.manifest.missing


ANY: Shape = ["B", 3, "H", "W"]
FIXED: Shape = ["B", 3, SIDE, SIDE]
MISTAKES: dict[str, tuple[Shape, dict[str, Any], dict[str, Any], str]] = {
    "size not fixed": (ANY, {}, {}, "takes images of any size: fix one with --size"),
    "another size": (FIXED, {}, {"size": (64, 48)}, r"takes images of 32 x 32 pixels, not 64 x 48: leave --size out"),
    "a size it cannot take": (ANY, {}, {"size": (48, 48)}, "cannot be run on an image of 48 x 48 pixels"),
    "no image": (["B", 3, SIDE, SIDE, 1], {}, {}, r"takes \(\?, 3, 32, 32, 1\), not a batch of RGB images"),
    "grey": (["B", 1, SIDE, SIDE], {}, {}, "not a batch of RGB images"),
    "half precision": (FIXED, {"dtype": TensorProto.FLOAT16}, {}, "takes FLOAT16, not float32 or uint8"),
    "bytes asked of floats": (
        FIXED,
        {},
        {"input": "nhwc_uint8"},
        "takes nchw_float, not nhwc_uint8",
    ),
    "other layout": (FIXED, {}, {"input": "nhwc_float"}, "takes nchw_float, not nhwc_float"),
    "unknown input": (FIXED, {}, {"input": "nchw_flot"}, "did you mean 'nchw_float'"),
    "mean in bytes": (
        FIXED,
        {},
        {"mean": (123.0, 116.0, 103.0)},
        "--mean is 123, 116, 103: give it for",
    ),
    "mean not a number": (FIXED, {}, {"mean": (np.nan, 0.5, 0.5)}, "--mean is nan"),
    "no deviation": (FIXED, {}, {"std": (0.0, 0.0, 0.0)}, "--std must be above 0"),
    "mean of bytes": (
        ["B", SIDE, SIDE, 3],
        {"dtype": TensorProto.UINT8},
        {"mean": (0.5, 0.5, 0.5)},
        "takes bytes, so it subtracts its own mean",
    ),
    "two outputs": (
        FIXED,
        {"outputs": ("vectors", "map")},
        {},
        r"outputs vectors \(1, 48\), map .*--descriptor NAME",
    ),
    "no such output": (FIXED, {}, {"descriptor": "vector"}, "has no output 'vector'; did you mean 'vectors'"),
    "a feature map": (FIXED, {"outputs": ("map",)}, {}, r"the shape \(1, 3, 4, 4\), and not \(1, D\)"),
    "integers": (FIXED, {"outputs": ("whole",)}, {}, "is int64: cast it to float32"),
    "nothing": (FIXED, {"outputs": ("zero",)}, {}, "is not finite, or all zero"),
    "a depth that is no image": (FIXED, {"outputs": ("vectors", "map")}, {"depth": "map"}, "not metres of shape"),
    "two rows": ([1, 3, SIDE, SIDE], {"target": (1, DIMENSION // 2, 2)}, {}, "has the shape .*or pool the features"),
    "no batch": ([1, 3, SIDE, SIDE], {"target": (DIMENSION,)}, {}, r"shape \(48,\).*or keep the batch dimension"),
    "eight images": ([8, 3, SIDE, SIDE], {}, {}, "takes 8 images at a time: export it again with a free batch size"),
    "an old operation": (FIXED, {"opset": 1}, {}, "opset 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence_and_leave_nothing(folder: Path, tmp_path: Path, mistake: str) -> None:
    """Who imports a network for the first time makes most of these; half a model would be found by its name later."""
    shape, made, wanted, words = MISTAKES[mistake]
    path = network(tmp_path / "net.onnx", shape, **made)
    with pytest.raises(ModelError, match=words):
        bring(path, folder, **wanted)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "licence", "words"),
    [
        ("", "", "no licence given: say with --licence"),
        ("a/b", "MIT", "cannot be a model's name"),
        ("small_fp16", "MIT", "ends like a variant's name"),
        ("taken", "MIT", r"the name 'taken' is taken by .*taken\.json"),
        ("demixvpr_mobilenet", "MIT", r"the name 'demixvpr_mobilenet' is taken by"),
    ],
)
def test_names_and_licences(folder: Path, tmp_path: Path, name: str, licence: str, words: str) -> None:
    """Another model is never overwritten or hidden, and every model says under which licence it is."""
    (folder / "taken.json").write_text("{}")
    path = network(tmp_path / "net.onnx", FIXED)
    with pytest.raises(ModelError, match=words):
        import_model(lambda _: open_onnx(path), folder, name, licence)
    assert [file.name for file in folder.iterdir()] == ["taken.json"]


def test_the_file_that_is_imported_takes_no_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of net.onnx, a model called net was refused: the name was taken, by the very file."""
    path = network(tmp_path / "net.onnx", FIXED)
    monkeypatch.chdir(tmp_path)
    assert import_model(lambda _: open_onnx(path), folder, "net", "MIT").path == folder / "net.onnx"


@pytest.mark.parametrize("content", [b"", b"not a network", b"<html>404</html>"])
def test_files_that_are_no_networks(folder: Path, tmp_path: Path, content: bytes) -> None:
    """A page that says 404 is what a download often leaves."""
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be read as ONNX|is not an ONNX file"):
        bring(path, folder)
    path.rename(tmp_path / "net.pth")
    with pytest.raises(ModelError, match="give TorchScript with --torch, and weights alone with --weights"):
        bring(tmp_path / "net.pth", folder)
    with pytest.raises(ModelError, match=r"no file .*give an \.onnx file"):
        bring(tmp_path / "none.onnx", folder)


def test_a_graph_for_one_image_says_how_to_export_it(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A batch that is baked in where it cannot be freed: maps are built in batches, so it must not pass."""
    token = numpy_helper.from_array(np.ones((1, 1, SIDE, SIDE), "f4"), "token")
    model = onnx.load(str(network(tmp_path / "net.onnx", [1, 3, SIDE, SIDE])))
    model.graph.initializer.append(token)
    model.graph.node.insert(1, helper.make_node("Concat", ["float", "token"], ["four"], axis=1))
    model.graph.node.insert(2, helper.make_node("Slice", ["four", "from", "to", "at"], ["three"]))
    for name, value in (("from", 0), ("to", 3), ("at", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    model.graph.node[3].input[0] = "three"
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match="is made for one image at a time: export it again with a free batch size"):
        bring(tmp_path / "net.onnx", folder)
    assert not list(folder.iterdir())
    assert capfd.readouterr().err == "", "ONNX Runtime printed its own account, in colours"


def test_a_wrong_wrapping_is_refused(folder: Path, tmp_path: Path) -> None:
    """The comparison is with what the network itself says: if that differs, nothing is written."""
    original = open_onnx(network(tmp_path / "net.onnx", FIXED))

    def differently(image: np.ndarray) -> dict[str, np.ndarray]:
        return original.run(image[..., ::-1])

    def opened(_: Path) -> Any:
        return type(original)(original.onnx, differently, original.origin, original.name)

    with pytest.raises(ModelError, match="disagrees with its original: smallest cosine"):
        import_model(opened, folder, licence="MIT")
    assert not list(folder.iterdir())


def test_without_onnx_the_remedy_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx is no part of a robot's installation."""
    import sys

    from vpr_ros.base.errors import MissingDependencyError

    path = network(tmp_path / "net.onnx", FIXED)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"this needs onnx.*pip install"):
        bring(path, folder)


def test_only_weights_that_float16_holds_are_stored_in_half(tmp_path: Path) -> None:
    """A file half as large must give the same to the bit; a weight that float16 would round stays as it is."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    random = np.random.default_rng(0)
    exact, rounded = random.normal(size=(2, 64, 64)).astype(np.float32)
    exact = exact.astype(np.float16).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "exact"], ["h"]), helper.make_node("MatMul", ["h", "rounded"], ["y"])],
        "two products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(rounded, "rounded")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write_folded(model, tmp_path / "m.onnx", {})
    types = sorted(tensor.data_type for tensor in onnx.load(str(tmp_path / "m.onnx")).graph.initializer)
    assert types == sorted((TensorProto.FLOAT16, TensorProto.FLOAT))
    assert computes_the_same(ort, model, tmp_path / "m.onnx", random.normal(size=(1, 64)).astype(np.float32))


def test_a_pad_joins_its_convolution(tmp_path: Path) -> None:
    """torch names a left out input of Pad, so ONNX Runtime kept it apart: EfficientNet-Lite0 took an eighth longer."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "pads", ""], ["wide"], mode="constant"),
            helper.make_node("Conv", ["wide", "weight"], ["y"], strides=[2, 2], kernel_shape=[3, 3]),
        ],
        "a convolution of TensorFlow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "pads"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write_folded(model, tmp_path / "m.onnx", {})
    assert [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node] == ["Conv"]
    x = random.normal(size=(1, 3, 8, 8)).astype(np.float32)
    assert computes_the_same(ort, before, tmp_path / "m.onnx", x)


def computes_the_same(ort: Any, model: Any, path: Path, x: np.ndarray) -> bool:
    """Whether a file's network gives what a model does, bit by bit."""
    sources = model.SerializeToString(), str(path)
    sessions = [ort.InferenceSession(source, providers=["CPUExecutionProvider"]) for source in sources]
    before, after = (session.run(None, {"x": x})[0] for session in sessions)
    return np.array_equal(before, after)


def test_a_network_that_changes_its_mind_is_named(tmp_path: Path) -> None:
    """Dropout that is on: it was told that the import disagrees with the original, which disagrees with itself."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("RandomNormalLike", ["mean"], ["random"]),
        helper.make_node("Add", ["mean", "random"], ["descriptor"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])
    descriptor = helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "random", [image], [descriptor])
    path = tmp_path / "random.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    with pytest.raises(ModelError, match="other numbers for the same image each time: export it in evaluation mode"):
        bring(path, tmp_path / "out")
