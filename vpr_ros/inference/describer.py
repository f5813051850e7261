"""Image in, descriptor and depth out: what every backend offers, and how one is chosen."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vpr_ros.errors import MissingDependencyError, ModelError, brief
from vpr_ros.files import shipped_folders
from vpr_ros.image import Preprocessing

BACKENDS = ("auto", "tensorrt", "onnx", "torch")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What lies beside a model's ONNX file as ``<name>.json``.

    fingerprint: SHA-256 of the ONNX file, hex. dimension: of the descriptor. depth: whether the second output is
    depth in metres. calibration: default constants for probabilities (see retrieval). training, scores: how it was made
    and what it reaches, for people.
    """

    name: str
    fingerprint: str
    dimension: int
    depth: bool
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    calibration: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    @classmethod
    def load(cls, onnx_path: Path) -> Manifest:
        """Read the manifest beside a model and check that it is that model's.

        Raises ModelError where the model or its manifest is missing, cannot be read, or where the two do not
        belong together.
        """
        path = onnx_path.with_suffix(".json")
        for needed in (onnx_path, path):
            if not needed.is_file():
                raise ModelError(
                    f"no model file {needed}: a model is an .onnx file with its manifest (.json) beside it"
                )
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            data["preprocessing"] = Preprocessing.from_dict(data["preprocessing"])
            manifest = cls(**data)
            if not (isinstance(manifest.dimension, int) and manifest.dimension > 0 and isinstance(manifest.name, str)):
                raise ValueError(f"a descriptor of {manifest.dimension} numbers")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"the manifest {path} cannot be read ({brief(error)}): export the model again") from error
        if fingerprint_file(onnx_path) != manifest.fingerprint:
            raise ModelError(f"{onnx_path} is not the file its manifest {path.name} describes: export the model again")
        return manifest

    def save(self, onnx_path: Path) -> None:
        """Write the manifest beside the model."""
        onnx_path.with_suffix(".json").write_text(json.dumps(asdict(self), indent=2) + "\n")


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Description:
    """descriptors: (B, D) float32, unit length. depth: (B, h, w) float32 metres, or None for a model without."""

    descriptors: np.ndarray
    depth: np.ndarray | None


def check_description(description: Description, manifest: Manifest, count: int) -> None:
    """Raises ModelError where a network did not give what its manifest promises for so many images."""
    found, depth = description.descriptors, description.depth
    if found.shape != (count, manifest.dimension) or not np.isfinite(found).all():
        raise ModelError(
            f"the model {manifest.name} gives descriptors of shape {found.shape}, or not finite ones, where "
            f"{(count, manifest.dimension)} was promised: export it again"
        )
    if depth is not None and (depth.ndim != 3 or len(depth) != count or depth.size == 0):
        raise ModelError(f"the model {manifest.name} gives depth of shape {depth.shape}, not of {count} images")


class Describer(Protocol):
    """A network ready to run. Not thread-safe: one caller at a time."""

    manifest: Manifest
    backend: str  # what runs it, for people: "onnx (CPU)", "tensorrt fp16", ...
    batch_sizes: tuple[int, ...]  # images at once that may give the most images a second, the likeliest first

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 as ``image.preprocess`` makes it -> Description."""
        ...


CPU_BATCHES: tuple[int, ...] = (4, 8, 1)
GPU_BATCHES: tuple[int, ...] = (32,)

DEFAULT_MODEL = "demixvpr_mobilenet"


def find_model(name: str) -> Path:
    """The ONNX file (or checkpoint, or engine) of a model given by path or by the name of one that ships.

    Looks in the working folder, the repository's models/, and where pip and colcon install them. Raises ModelError
    naming the models there are.
    """
    given = Path(name).expanduser()
    if given.suffix in (".onnx", ".pt", ".engine"):
        if given.is_file():
            return given
        raise ModelError(f"no model file {given}")
    folders = _model_folders()
    for folder in folders:
        if (folder / f"{name}.onnx").is_file():
            return folder / f"{name}.onnx"
    known = sorted({path.stem for folder in folders[1:] for path in folder.glob("*.onnx")})
    raise ModelError(
        f"no model called '{name}': give the path of an .onnx file or one of {', '.join(known) or 'none shipped'}"
    )


def _model_folders() -> list[Path]:
    return [Path(), *shipped_folders("models")]


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
        from vpr_ros.inference.torch import TorchDescriber

        return TorchDescriber(path, threads)
    if backend in ("auto", "tensorrt"):
        from vpr_ros.inference.tensorrt import TensorRTDescriber

        try:
            return TensorRTDescriber(path)
        except (MissingDependencyError, ModelError) as error:
            if backend == "tensorrt" or path.suffix == ".engine":
                raise
            logger.info("not on TensorRT: %s", error)
    from vpr_ros.inference.onnx import OnnxDescriber

    return OnnxDescriber(path, threads)
