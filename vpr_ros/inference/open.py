"""Opening models on a backend: ONNX Runtime, TensorRT, or one that another package registers (torch, by vpr_lab).

A backend is ``(path, threads) -> Describer``, such as a class. Register it as an entry point of group
``vpr.backends``; its name is then a value of ``--backend`` and of the node's parameter ``backend``.
"""

from __future__ import annotations

import logging
from pathlib import Path

from vpr_ros.base.errors import MissingDependencyError, ModelError, nearest_name
from vpr_ros.base.registry import guarding, load, names
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.guard import GuardedDescriber
from vpr_ros.inference.models import DEFAULT_MODEL, MODEL_SUFFIXES, find_model

GROUP = "vpr.backends"
OWN = {"tensorrt": "vpr_ros.inference.tensorrt:TensorRTDescriber", "onnx": "vpr_ros.inference.onnx:OnnxDescriber"}

logger = logging.getLogger(__name__)


def backend_names() -> tuple[str, ...]:
    """What ``backend`` may be: "auto", this package's backends, and the registered ones."""
    return ("auto", *names(GROUP, OWN))


def open_describer(path_or_name: str | Path = DEFAULT_MODEL, backend: str = "auto", threads: int = 0) -> Describer:
    """A model, ready to run.

    backend: one of ``backend_names()``. "auto" takes TensorRT if it works, else ONNX Runtime; torch for a checkpoint
    (.pt) and TensorRT for an engine file. The describer's ``backend`` and the log say which one runs, and why TensorRT
    does not.
    threads: CPU threads, 0 for all cores.
    Raises ModelError, MissingDependencyError.
    """
    if backend not in (known := backend_names()):
        raise ModelError(f"unknown backend '{backend}'; {nearest_name(backend, known)}")
    path = find_model(str(path_or_name))
    if path.suffix == ".engine" and backend in ("onnx", "torch"):
        raise ModelError(f"{path} is a TensorRT engine: give the {backend} backend the model it was built from")
    describer = _open(path, backend, threads)
    logger.info("%s runs on %s", path.name, describer.backend)
    return describer


def _open(path: Path, backend: str, threads: int) -> Describer:
    if backend != "auto":
        return _with(backend, path, threads)
    if path.suffix not in MODEL_SUFFIXES:
        raise ModelError(f"no backend is known for {path.name}: give the backend that runs {path.suffix} files")
    if path.suffix == ".pt":
        return _with("torch", path, threads)
    try:
        return _with("tensorrt", path, threads)
    except (MissingDependencyError, ModelError) as error:
        if path.suffix == ".engine":
            raise
        logger.info("not on TensorRT: %s", error)
    return _with("onnx", path, threads)


def _with(backend: str, path: Path, threads: int) -> Describer:
    opened = load(GROUP, backend, OWN, "backend")
    if backend in OWN:
        own: Describer = opened(path, threads)
        return own
    with guarding("backend", backend):
        return GuardedDescriber(opened(path, threads), "backend", backend)
