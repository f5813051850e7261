"""Image in, descriptor and depth out: what every backend offers, and how one is chosen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vpr_ros.base.errors import ModelError, brief
from vpr_ros.base.image import Preprocessing


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
