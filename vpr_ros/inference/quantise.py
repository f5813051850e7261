"""Smaller variants of an exported model: float16 for a GPU, static INT8 for a CPU. Each has a manifest of its own.

Needs onnx and ONNX Runtime, but not torch.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, MissingDependencyError, ModelError
from vpr_ros.base.files import written_whole
from vpr_ros.base.image import Preprocessing, preprocess
from vpr_ros.drives.drive import Drive
from vpr_ros.inference.describer import Manifest, fingerprint_file
from vpr_ros.inference.onnx import OnnxDescriber
from vpr_ros.inference.onnx_folding import drop_empty_inputs
from vpr_ros.inference.vocabulary import vocabulary_path

CALIBRATION_IMAGES = 128
# Sums of squares and distances in metres exceed float16's range or its three digits.
FLOAT_OPERATIONS = ("ReduceL2", "Exp")
# Operations that pass on a convolution's output; INT8 too, to avoid conversions in between.
CARRIERS = ("Clip", "Relu", "Pad", "Resize", "Concat", "MaxPool")
# Products of a matrix: Gemm is torch's linear layer on one vector an image, as behind a pooling.
PRODUCTS = ("MatMul", "Gemm")
# The first layers have few channels of very different ranges (depthwise ones most) and little work. As many of them
# stay float as are needed for the descriptors to agree.
LEAST_COSINE = 0.99
MOST_FLOAT_CONVOLUTIONS = 6
TRIAL_IMAGES = 32


def write_float16(model: Path, output: Path) -> Manifest:
    """Write a model with float16 weights and arithmetic. Input bytes and float32 outputs stay. Returns its manifest.

    For GPUs and CPUs that compute in float16. ONNX Runtime's x86 kernels do not: there only the file gets smaller.
    Raises ModelError, MissingDependencyError.
    """
    manifest = _float32_manifest(model)
    onnx = _import_onnx()
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports every constant below float16's smallest
        half = convert_float_to_float16(
            onnx.load(str(_simplified(model, Path(folder)))),
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT_OPERATIONS],
        )
    graph = ONNXModel(half)
    graph.topological_sort()
    return _save(graph.model, output, model, manifest, {"precision": "fp16", "float": list(FLOAT_OPERATIONS)})


def write_int8(
    model: Path, output: Path, images: np.ndarray, on_progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """Write a model with INT8 convolutions and matrix products (static, QDQ, per channel); the rest stays float32.

    images: (B, height, width, 3) uint8 to calibrate on, preprocessed. Activations are unsigned and weights signed, as
    VNNI and AMX need. Returns the manifest. Raises ModelError, MissingDependencyError.
    """
    manifest = _float32_manifest(model)
    if not len(images):
        raise ModelError("INT8 needs images to calibrate on: give a drive")
    onnx = _import_onnx()
    reference = OnnxDescriber(model)
    trial = images[:: -(-len(images) // TRIAL_IMAGES)]
    expected = reference.describe(trial).descriptors
    given = reference.vocabulary.inputs if manifest.vocabulary else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simplified = _simplified(model, folder)
        candidate = folder / "candidate.onnx"
        agreement: list[float] = []
        for kept in range(MOST_FLOAT_CONVOLUTIONS + 1):
            _quantise(simplified, candidate, trial, kept, given)
            _save(onnx.load(str(candidate)), candidate, model, manifest, {})
            agreement.append(float((OnnxDescriber(candidate).describe(trial).descriptors * expected).sum(1).mean()))
            if on_progress:
                on_progress(kept + 1, MOST_FLOAT_CONVOLUTIONS + 2)
            if agreement[-1] >= LEAST_COSINE:
                break
        kept = int(np.argmax(agreement))
        _quantise(simplified, candidate, images, kept, given)
        if on_progress:
            on_progress(MOST_FLOAT_CONVOLUTIONS + 2, MOST_FLOAT_CONVOLUTIONS + 2)
        made = {"precision": "int8", "float_convolutions": kept, "calibration_images": len(images)}
        return _save(onnx.load(str(candidate)), output, model, manifest, made)


def calibration_images(
    drives: list[Drive], preprocessing: Preprocessing, count: int = CALIBRATION_IMAGES
) -> np.ndarray:
    """(B, height, width, 3) uint8: about ``count`` images, spread evenly over the drives, but unreadable ones.

    Raises DriveError if none is left.
    """
    share = max(1, count // max(1, len(drives)))
    chosen = []
    for drive in drives:
        for frame in itertools.islice(drive, 0, None, max(1, len(drive) // share)):
            with suppress(ImageError, DriveError):  # counted where the drives are compared
                chosen.append(preprocess(frame.read(), preprocessing))
    if not chosen:
        raise DriveError("the drives have no images to calibrate on")
    return np.stack(chosen)


def _import_onnx() -> ModuleType:
    try:
        import onnx
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "fp16 and int8 variants need onnx and ONNX Runtime: pip install onnx onnxruntime"
        ) from error
    return onnx


def _float32_manifest(model: Path) -> Manifest:
    manifest = Manifest.load(model)
    made = manifest.training.get("variant")
    if made:
        raise ModelError(f"{model.name} is already {made.get('precision')}: give the float32 model it was made from")
    return manifest


def _simplified(model: Path, folder: Path) -> Path:
    """The model with constants folded and shapes inferred, as both converters need it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx = _import_onnx()
    given, path = folder / "given.onnx", folder / "simplified.onnx"
    graph = onnx.load(str(model))
    drop_empty_inputs(graph.graph)
    onnx.save(graph, str(given))
    quant_pre_process(str(given), str(path), skip_symbolic_shape=True)
    return path


def _quantise(simplified: Path, output: Path, images: np.ndarray, kept: int, given: dict[str, np.ndarray]) -> None:
    """Write the QDQ model with the first ``kept`` convolutions in float. MinMax: percentiles were not better.

    given: the graph's inputs beside the image.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """One image at a time: MinMax keeps only two values of each tensor."""

        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image[None], **given}

    onnx = _import_onnx()
    quantize_static(
        str(simplified),
        str(output),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", *PRODUCTS, *CARRIERS],
        nodes_to_quantize=_quantisable(onnx.load(str(simplified)).graph, kept),
    )


def _quantisable(graph: Any, kept: int) -> list[str]:
    """Names of the convolutions after the first ``kept``, of carriers of their outputs, and of products with weights.

    A Clip or Concat elsewhere is part of a norm or joins float features, and must stay float. So do products of two
    activations: attention's are a tenth of a transformer's work, and 8 bits cost them most.
    """
    names: list[str] = []
    weights = {tensor.name for tensor in graph.initializer}
    carried: set[str] = set()
    convolutions = 0
    for node in graph.node:
        convolutions += node.op_type == "Conv"
        own = node.op_type == "Conv" and convolutions > kept
        if own or (node.op_type in CARRIERS and node.input[0] in carried):
            carried.update(node.output)
        elif node.op_type not in PRODUCTS or not weights & set(node.input):
            continue
        names.append(node.name)
    return names


def _save(graph: Any, output: Path, model: Path, manifest: Manifest, made: dict[str, Any]) -> Manifest:
    """Write model and manifest."""
    onnx = _import_onnx()
    original = onnx.load(str(model), load_external_data=False)
    del graph.metadata_props[:]
    graph.metadata_props.extend(original.metadata_props)
    onnx.checker.check_model(graph)
    with written_whole(output) as part:
        onnx.save(graph, str(part))
    if manifest.vocabulary and vocabulary_path(output) != vocabulary_path(model):
        shutil.copyfile(vocabulary_path(model), vocabulary_path(output))
    training = {**manifest.training, "variant": {**made, "of": manifest.name, "of_fingerprint": manifest.fingerprint}}
    own = replace(
        manifest, name=output.stem, fingerprint=fingerprint_file(output), file="", training=training, scores={}
    )
    own.save(output)
    return own
