"""The kinds of a model by the arithmetic they are written in, and how their files are named."""

from __future__ import annotations

from pathlib import Path

VARIANTS = ("fp16", "int8")  # beside the model itself, which is fp32


def variant_path(model: Path, precision: str, folder: Path | None = None) -> Path:
    """``NAME_fp16.onnx`` or ``NAME_int8.onnx``, in the model's own folder by default."""
    return (folder or model.parent) / f"{model.stem}_{precision}.onnx"


def precision_of(model: Path) -> str:
    """fp16 or int8 where the file is named so, as ``variant_path`` does; else fp32."""
    ending = model.stem.rpartition("_")[2]
    return ending if ending in VARIANTS else "fp32"
