"""Local-feature extractors, by name."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.base.errors import ConfigError
from vpr_ros.inference.models import find_model
from vpr_ros.matching.local_features import ClassicalExtractor, Extractor
from vpr_ros.matching.xfeat import XFeatExtractor


def open_extractor(name: str, count: int, threads: int = 1, side: int = 0) -> Extractor:
    """An extractor by name: "xfeat", "sift", "orb", or the path of an .onnx file of XFeat.

    count: features kept of each image. threads: CPU threads of a network; 0: all cores. side: pixels of the network's
    input, see ``XFeatExtractor``. Raises ConfigError for another name, ModelError if the file is not XFeat.
    """
    if name in ("sift", "orb"):
        return ClassicalExtractor(name, count)
    if name == "xfeat" or name.endswith(".onnx"):
        path = Path(name) if name.endswith(".onnx") else find_model("local_features/xfeat")
        return XFeatExtractor(path, count, threads, side)
    raise ConfigError(f"unknown local features '{name}': choose xfeat, sift, orb or the path of an .onnx file of XFeat")
