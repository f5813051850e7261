"""Local-feature extractors, by name."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.models import find_model
from vpr_ros.matching.local_features import ClassicalExtractor, Extractor
from vpr_ros.matching.xfeat import XFeatExtractor


def open_extractor(name: str, count: int, threads: int = 1, side: int = 0) -> Extractor:
    """An extractor by name: "xfeat", "sift", "orb", or an .onnx file's path.

    count: features kept of each image. threads: of the CPU, for a network; side: pixels that it sees, see
    XFeatExtractor. Raises ConfigError for another name, ModelError for a file that is no network of the kind.
    """
    if name in ("sift", "orb"):
        return ClassicalExtractor(name, count)
    if name == "xfeat" or name.endswith(".onnx"):
        path = Path(name) if name.endswith(".onnx") else find_model("local_features/xfeat")
        return XFeatExtractor(path, count, threads, side)
    raise ConfigError(f"unknown local features '{name}': choose xfeat, sift, orb or the path of an .onnx file of XFeat")
