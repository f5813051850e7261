"""Precisions of models, and the names of their files."""

from __future__ import annotations

from pathlib import Path

VARIANTS = ("fp16", "int8")  # the model itself is fp32


def variant_path(model: Path, precision: str, folder: Path | None = None) -> Path:
    """``NAME_fp16.onnx`` or ``NAME_int8.onnx``, in the model's own folder by default."""
    return (folder or model.parent) / f"{model.stem}_{precision}.onnx"


def precision_of(model: Path) -> str:
    """The precision in the name of a file, see ``variant_path``: fp16, int8 or else fp32."""
    ending = model.stem.rpartition("_")[2]
    return ending if ending in VARIANTS else "fp32"
