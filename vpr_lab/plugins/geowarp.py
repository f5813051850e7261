"""An exported GeoWarp: two ONNX files, one that makes features of images and one that scores two images' features."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import ModelError
from vpr_ros.base.files import write_json
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.describer import fingerprint_file
from vpr_ros.inference.onnx import open_session


@dataclass(frozen=True)
class GeoWarpManifest:
    """The manifest ``<name>.json`` of ``<name>_encoder.onnx`` and ``<name>_score.onnx``.

    encoder, score: SHA-256 of the two, hex. preprocessing: of the encoder's images. training, scores: for people.
    """

    name: str
    encoder: str
    score: str
    preprocessing: Preprocessing
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> GeoWarpManifest:
        """Read a manifest and check that the two files beside it are the ones it describes. Raises ModelError."""
        path = path.with_suffix(".json")
        files = encoder_path(path), score_path(path)
        for needed in (path, *files):
            if not needed.is_file():
                raise ModelError(f"no file {needed}: a GeoWarp is NAME.json, NAME_encoder.onnx and NAME_score.onnx")
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            manifest = cls(**{**data, "preprocessing": Preprocessing.from_dict(data["preprocessing"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{path} is not a GeoWarp manifest ({error}): make one with vpr lab export") from error
        for file, fingerprint in zip(files, (manifest.encoder, manifest.score), strict=True):
            if fingerprint_file(file) != fingerprint:
                raise ModelError(f"{file} is not the file {path.name} describes: export the GeoWarp again")
        return manifest

    def save(self, path: Path) -> None:
        """Write it."""
        write_json(path.with_suffix(".json"), asdict(self))


def encoder_path(path: Path) -> Path:
    """The file that makes features, of the GeoWarp at ``path`` with whatever suffix."""
    return path.with_name(path.stem + "_encoder.onnx")


def score_path(path: Path) -> Path:
    """The file that scores them."""
    return path.with_name(path.stem + "_score.onnx")


class OnnxGeoWarp:
    """Runs it on ONNX Runtime. Not thread-safe: one caller at a time."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """path: of the manifest. Raises ModelError or MissingDependencyError, one sentence."""
        self.manifest = GeoWarpManifest.load(path)
        self._encoder = open_session(encoder_path(path), threads)
        self._score = open_session(score_path(path), threads)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """(B, height, width, 3) uint8, as ``manifest.preprocessing`` says -> features (B, C, h, w) float32."""
        return np.asarray(self._encoder.run(["features"], {"image": images})[0])

    def score(self, query: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Features (C, h, w) and (B, C, h, w) float32 -> (B,): how well each agrees with the query, -1..1."""
        return np.asarray(self._score.run(["score"], {"query": query[None], "reference": references})[0])
