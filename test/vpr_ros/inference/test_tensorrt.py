"""TensorRT without a GPU: engines are chosen, checked and built for real."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vpr_ros.base.errors import MissingDependencyError, ModelError
from vpr_ros.inference import tensorrt
from vpr_ros.inference.describer import Manifest, fingerprint_file
from vpr_ros.inference.engine_file import Fingerprint, load_engine, save_engine
from vpr_ros.inference.engine_runner import Cuda, EngineRunner
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer

SHIPPED = Path(__file__).resolve().parents[3] / "models" / f"{DEFAULT_MODEL}.onnx"

needs_shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped model is not in models/")


def gpu_works() -> bool:
    try:
        return bool(Cuda().gpu())
    except MissingDependencyError:
        return False


def write_model(path: Path, content: bytes = b"model", **fields: Any) -> Path:
    """A file that passes for a model as long as nobody runs it."""
    path.write_bytes(content)
    Manifest(path.stem, fingerprint_file(path), 8, True, **fields).save(path)
    return path


# The cache


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("onnx", "b" * 64, "ONNX file is aaa"),
        ("tensorrt", "tensorrt 10.8.0", "TensorRT is tensorrt 10.3.0, not tensorrt 10.8.0"),
        ("gpu", "H200, compute capability 9.0", "GPU is Orin"),
        ("precision", "fp32", "precision is fp16, not fp32"),
    ],
)
def test_engine_of_another_kind_is_refused_or_rebuilt(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fingerprint: Fingerprint,
    name: str,
    value: str,
    words: str,
) -> None:
    """An engine of another model, TensorRT, GPU or precision must never run: TensorRT itself only checks some."""
    wanted = replace(fingerprint, **{name: value})
    save_engine(tmp_path / "m.engine", fingerprint, b"plan")
    assert tensorrt.given_engine(tmp_path / "m.engine", fingerprint) == b"plan"
    with pytest.raises(ModelError, match=words):
        tensorrt.given_engine(tmp_path / "m.engine", wanted)

    monkeypatch.setattr(tensorrt, "build_engine", lambda trt, path: b"built")
    module = SimpleNamespace(__name__="tensorrt")
    shutil.copy(tmp_path / "m.engine", tmp_path / "m-tensorrt.engine")
    with caplog.at_level(logging.INFO):
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", fingerprint, tmp_path) == b"plan" and not caplog.text
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", wanted, tmp_path) == b"built"
        assert words in caplog.text
    assert load_engine(tmp_path / "m-tensorrt.engine") == (wanted, b"built")


def test_broken_cache_is_rebuilt_and_read_only_one_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fingerprint: Fingerprint
) -> None:
    """A robot must start with a full or read-only disk and with a cache file cut short by a power failure."""
    monkeypatch.setattr(tensorrt, "build_engine", lambda trt, path: b"built")
    module = SimpleNamespace(__name__="tensorrt")
    (tmp_path / "m-tensorrt.engine").write_bytes(b"vpr_ros eng")
    assert tensorrt.cached_engine(module, tmp_path / "m.onnx", fingerprint, tmp_path) == b"built"
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", fingerprint, tmp_path / "file" / "in") == b"built"
    assert "cannot be saved" in caplog.text


# The choice


def test_half_precision_comes_only_from_a_variant_of_this_very_model(tmp_path: Path) -> None:
    """A variant left over from an older training would give descriptors the map does not know."""
    model = write_model(tmp_path / "m.onnx")
    manifest = Manifest.load(model)
    with pytest.raises(ModelError, match=r"no m_fp16\.onnx made from m\.onnx"):
        tensorrt.choose_variant(model, manifest, "fp16")
    half = write_model(tmp_path / "m_fp16.onnx", b"half", training={"made_from": "0" * 64})
    assert tensorrt.choose_variant(model, manifest, "auto") == model
    write_model(half, b"half", training={"made_from": manifest.fingerprint})
    assert tensorrt.choose_variant(model, manifest, "auto") == half
    assert tensorrt.choose_variant(model, manifest, "fp16") == half
    assert tensorrt.choose_variant(model, manifest, "fp32") == model
    assert tensorrt.choose_variant(half, Manifest.load(half), "auto") == half
    for path, precision, words in ((half, "fp32", "is fp16, not fp32"), (model, "fp8", "unknown precision")):
        with pytest.raises(ModelError, match=words):
            tensorrt.choose_variant(path, manifest, precision)


def test_missing_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each missing part has its own remedy, and a TensorRT too old for typed networks counts as none."""
    old = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0))
    monkeypatch.setattr(tensorrt.importlib, "import_module", lambda name: old)
    with pytest.raises(MissingDependencyError, match=r"vpr_ros\[gpu\]"):
        tensorrt.import_tensorrt()


@needs_shipped
@pytest.mark.skipif(gpu_works(), reason="there is a GPU")
def test_auto_says_why_not_tensorrt(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Without a GPU, or without TensorRT, "auto" goes on with ONNX Runtime, and the log names both."""
    with caplog.at_level(logging.INFO, "vpr_ros"):
        assert open_describer(SHIPPED, threads=1).backend.startswith("onnx")
    assert "not on TensorRT: the tensorrt backend needs" in caplog.text and "runs on onnx" in caplog.text
    with pytest.raises(MissingDependencyError, match="the tensorrt backend needs"):
        open_describer(SHIPPED, "tensorrt")
    engine = tmp_path / "m.engine"
    engine.touch()
    with pytest.raises(MissingDependencyError):  # never silently another model
        open_describer(engine)
    with pytest.raises(ModelError, match="is a TensorRT engine"):
        open_describer(engine, "onnx")


# The build


@needs_shipped
def test_shipped_model_builds_without_a_gpu(tmp_path: Path, rtx: Any) -> None:
    """What `vpr export --tensorrt` does on a machine without a card: the shipped graph must suit TensorRT entirely."""
    path = tmp_path / "m.engine"
    made_for = tensorrt.fingerprint(rtx, SHIPPED, "")
    save_engine(path, made_for, tensorrt.build_engine(rtx, SHIPPED))
    assert made_for.onnx == json.loads(SHIPPED.with_suffix(".json").read_text())["fingerprint"]
    assert made_for.gpu == tensorrt.RTX_GPUS and made_for.precision == "fp32" and rtx.__version__ in made_for.tensorrt
    plan = tensorrt.given_engine(path, tensorrt.fingerprint(rtx, SHIPPED, "RTX 4090, compute capability 8.9"))
    assert len(plan) > SHIPPED.stat().st_size  # the weights are inside
    if not gpu_works():
        with pytest.raises(ModelError, match="cannot load the engine"):
            EngineRunner(rtx, None, plan)
        model = shutil.copy(SHIPPED, tmp_path / "copy.onnx")
        assert tensorrt.export_engine(Path(model)) == tmp_path / "copy.engine"
        assert load_engine(tmp_path / "copy.engine")[0] == made_for


def test_half_precision_builds_and_mixed_types_are_refused(tmp_path: Path, rtx: Any) -> None:
    """Strongly typed networks take fp16 files as they are; a conversion that forgot a cast gets one sentence."""
    onnx = pytest.importorskip("onnx")
    types, helper = onnx.TensorProto, onnx.helper

    def write(cast: int) -> Path:
        mean = helper.make_tensor("mean", types.FLOAT16, (), [127.5])
        nodes = [
            helper.make_node("Cast", ["image"], ["typed"], to=cast),
            helper.make_node("Sub", ["typed", "mean"], ["centred"]),
            helper.make_node("Cast", ["centred"], ["descriptor"], to=types.FLOAT),
        ]
        image = helper.make_tensor_value_info("image", types.UINT8, ["batch", 8, 8, 3])
        descriptor = helper.make_tensor_value_info("descriptor", types.FLOAT, ["batch", 8, 8, 3])
        graph = helper.make_graph(nodes, "m", [image], [descriptor], [mean])
        path = tmp_path / "m_fp16.onnx"
        path.write_bytes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
        )
        return path

    assert tensorrt.build_engine(rtx, write(types.FLOAT16))
    with pytest.raises(ModelError, match=r"cannot read m_fp16\.onnx"):
        tensorrt.build_engine(rtx, write(types.FLOAT))
