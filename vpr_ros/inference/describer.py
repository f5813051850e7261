"""The interface of a backend, image in, descriptor and depth out; and a model's manifest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ImageError, ModelError, brief
from vpr_ros.base.image import Preprocessing

LARGEST_DIMENSION = 1 << 16  # of a descriptor


@dataclass(frozen=True)
class Manifest:
    """The description of a model, in ``<name>.json`` next to its ONNX file."""

    name: str
    fingerprint: str
    """SHA-256 of the ONNX file as it was first exported, hex: maps name the network by it."""
    dimension: int
    """Of the descriptor."""
    depth: bool
    """Whether the second output is depth in metres."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    calibration: dict[str, Any] = field(default_factory=dict)
    """Default constants for probabilities, see ``maps.calibration``."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the model was made, to read."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Its results, to read."""
    licence: str = ""
    """Of the weights."""
    source: str = ""
    """Where an imported model is from."""
    vocabulary: str = ""
    """Fingerprint of ``<name>_vocabulary.npz`` beside it, for a model whose maps have a vocabulary of their own."""
    focal_px: float = 0.0
    """Focal length of the camera for which depth is in metres, pixels of the network's input; 0: any.

    Of images that are squeezed to it, the geometric mean of both focal lengths."""
    file: str = ""
    """SHA-256 of the ONNX file, hex, if it was written again with equal outputs; empty: it is the fingerprint."""

    @property
    def missing(self) -> str:
        """What does not work with this model, one sentence; empty if everything does."""
        if self.depth:
            return ""
        return (
            f"{self.name} estimates no depth: none is published, and poses and loop closures are measured only where "
            "neighbouring places show the same points"
        )

    def metres(self, depth: np.ndarray, intrinsics: Intrinsics | None) -> np.ndarray:
        """Depth (h, w) as the network gives it -> metres for this camera; as it is for an unknown one.

        What is twice as large in the image is half as far away, or seen through a lens of twice the focal length.
        """
        if intrinsics is None or not self.focal_px:
            return depth
        wanted = intrinsics.resized(self.preprocessing.width, self.preprocessing.height)
        focal_px = math.sqrt(float(wanted.K[0, 0] * wanted.K[1, 1]))
        return np.asarray(depth * np.float32(focal_px / self.focal_px))

    @classmethod
    def load(cls, onnx_path: Path) -> Manifest:
        """Read a model's manifest and check that it describes this model.

        Raises ModelError if the model or the manifest is missing or cannot be read, or if the fingerprint differs.
        """
        path = onnx_path.with_suffix(".json")
        for needed in (onnx_path, path):
            if not needed.is_file():
                raise ModelError(
                    f"no model file {needed}: a model is an .onnx file and its manifest (.json) in one folder"
                )
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            data["preprocessing"] = Preprocessing.from_dict(data["preprocessing"])
            manifest = cls(**data)
            if not (isinstance(manifest.dimension, int) and manifest.dimension > 0 and isinstance(manifest.name, str)):
                raise ValueError(f"dimension is {manifest.dimension}, name is {manifest.name!r}")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"the manifest {path} cannot be read ({brief(error)}): export the model again") from error
        if fingerprint_file(onnx_path) != (manifest.file or manifest.fingerprint):
            raise ModelError(f"{onnx_path} is not the file its manifest {path.name} describes: export the model again")
        return manifest

    def save(self, onnx_path: Path) -> None:
        """Write the manifest next to the model."""
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
    """A network's output for a batch."""

    descriptors: np.ndarray
    """(B, D) float32, unit length."""
    depth: np.ndarray | None
    """(B, h, w) float32 metres, see ``Manifest.metres``; None for a model without depth."""


_NO_UNIT = 0.02  # by which a descriptor's length may be off: float16 has three digits


def check_description(description: Description, manifest: Manifest, count: int) -> None:
    """Raises ModelError if a network's output for count images is not as its manifest says.

    ImageError if the numbers of an image are not finite, as those of a plain one may be.
    """
    if not isinstance(description, Description):
        what = type(description).__name__
        raise ModelError(f"what runs the model {manifest.name} gives {what}, expected a Description")
    found, depth = description.descriptors, description.depth
    for array in (found, depth):
        if array is not None and not (isinstance(array, np.ndarray) and array.dtype.kind == "f"):
            what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ModelError(f"what runs the model {manifest.name} gives {what}, expected an array of floats")
    if found.shape != (count, manifest.dimension):
        raise ModelError(
            f"the model {manifest.name} gives descriptors of shape {found.shape}, expected "
            f"{(count, manifest.dimension)}: export it again"
        )
    if bad := count - int(np.isfinite(found).all(axis=1).sum()):
        raise ImageError(f"the model {manifest.name} makes no descriptor of {bad} of {count} image(s): not a number")
    lengths = np.linalg.norm(found.astype(np.float32), axis=1)
    if count and (off := np.abs(lengths - 1)).max() > _NO_UNIT:
        raise ModelError(
            f"the model {manifest.name} gives descriptors of length {lengths[off.argmax()]:.3g}, expected 1: "
            "normalise them"
        )
    if depth is not None and (depth.ndim != 3 or len(depth) != count or depth.size == 0):
        raise ModelError(
            f"the model {manifest.name} gives depth of shape {depth.shape} for {count} images: export it again"
        )


class Describer(Protocol):
    """A network ready to run. Not thread-safe: one caller at a time."""

    manifest: Manifest
    backend: str
    """What runs it, to read: "onnx (CPU)", "tensorrt fp16", ..."""
    batch_sizes: tuple[int, ...]
    """Candidates for the fastest batch size, likeliest first."""

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 preprocessed images -> Description.

        Raises ModelError; ImageError if there is an image of which it makes no descriptor.
        """
        ...


CPU_BATCHES: tuple[int, ...] = (4, 8, 1)
GPU_BATCHES: tuple[int, ...] = (32,)
