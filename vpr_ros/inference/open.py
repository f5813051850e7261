"""Choosing a backend: TensorRT, ONNX Runtime, or one that another package registers (torch, by vpr_lab)."""

from __future__ import annotations

import logging
from pathlib import Path

from vpr_ros.base.errors import MissingDependencyError, ModelError
from vpr_ros.base.registry import load
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL, find_model
from vpr_ros.inference.onnx import OnnxDescriber
from vpr_ros.inference.tensorrt import TensorRTDescriber

BACKENDS = ("auto", "tensorrt", "onnx", "torch")

logger = logging.getLogger(__name__)


def open_describer(path_or_name: str | Path = DEFAULT_MODEL, backend: str = "auto", threads: int = 0) -> Describer:
    """A model, ready to run.

    backend: one of BACKENDS; "auto" takes TensorRT where it works, else ONNX Runtime, torch for a checkpoint (.pt) and
    TensorRT for an engine file; the describer's ``backend`` and the log say which, and why not a better one.
    threads: of the CPU, 0 for all. Raises ModelError, MissingDependencyError.
    """
    if backend not in BACKENDS:
        raise ModelError(f"unknown backend '{backend}': choose one of {', '.join(BACKENDS)}")
    path = find_model(str(path_or_name))
    if path.suffix == ".engine" and backend in ("onnx", "torch"):
        raise ModelError(f"{path} is an engine for TensorRT: give the {backend} backend the model it was made from")
    describer = _open(path, backend, threads)
    logger.info("%s runs on %s", path.name, describer.backend)
    return describer


def _open(path: Path, backend: str, threads: int) -> Describer:
    if backend == "torch" or (backend == "auto" and path.suffix == ".pt"):
        describer: Describer = load("vpr.backends", "torch", {}, "backend")(path, threads)
        return describer
    if backend in ("auto", "tensorrt"):
        try:
            return TensorRTDescriber(path)
        except (MissingDependencyError, ModelError) as error:
            if backend == "tensorrt" or path.suffix == ".engine":
                raise
            logger.info("not on TensorRT: %s", error)
    return OnnxDescriber(path, threads)
