"""A torch module as ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


def trace(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], batched: list[str], path: Path) -> None:
    """Write a module as ONNX, traced with inputs by name. batched: inputs and outputs whose first dimension is free."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor, which needs one more package
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in batched},
            opset_version=OPSET,
            dynamo=False,
        )
