"""What changes to an ONNX graph are made of. Needs onnx."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from vpr_ros.base.errors import ModelError, brief, missing_dependency

OPSET = 17  # at least: INT8 and TensorRT want newer operations than many files have


def import_onnx() -> ModuleType:
    """The module onnx with what is used here. Raises MissingDependencyError."""
    try:
        import onnx
        import onnx.compose
        import onnx.inliner
        import onnx.version_converter
    except ImportError as error:
        raise missing_dependency(error) or error from error
    return onnx


def make_node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """An operation with one output."""
    return import_onnx().helper.make_node(kind, inputs, [output], name=f"vpr/{output}", **attributes)


def add_constant(model: Any, name: str, value: np.ndarray) -> str:
    """Add a constant to a graph and return its name."""
    model.graph.initializer.append(import_onnx().numpy_helper.from_array(np.asarray(value), name))
    return name


def opset_of(model: Any) -> int:
    """The version of a model's operations."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSET)


def read_inside(node: Any) -> Iterator[str]:
    """Tensors that the branches and bodies of a node read."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                yield from inner.input
                yield from read_inside(inner)
            yield from (entry.name for entry in body.output)


def open_model(model: Any, options: Any) -> Any:
    """An onnxruntime.InferenceSession on the CPU. Raises ModelError if it cannot run the model."""
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's and protobuf's exceptions have no common base class
        raise ModelError(f"ONNX Runtime cannot run the network: {brief(error)}") from error
