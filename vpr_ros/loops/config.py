"""Configuration of the loop closer."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_ros.base.config import option
from vpr_ros.matching.local_features import FEATURE_COUNT


@dataclass(frozen=True)
class LoopCloserConfig:
    """How a map grows and when a loop is believed to be closed."""

    keyframe_distance: float = option(2.0, "a keyframe after this way", "m", low=0.1, high=100.0)
    keyframe_angle: float = option(20.0, "or after this turn", "deg", low=1.0, high=180.0)
    keyframe_time: float = option(0.0, "or after this time, 0: never by time alone", "s", low=0.0, high=3600.0)
    own_past: bool = option(True, "close loops on this session's own past")
    recent_distance: float = option(50.0, "own keyframes nearer than this along the way are no loop", "m", low=0.0)
    recent_time: float = option(20.0, "nor are those younger than this", "s", low=0.0)
    drift: float = option(0.03, "most odometry may be off, as a share of the way since the keyframe", low=0.0, high=1.0)
    index: str = option("Flat", "FAISS index factory that needs no training: Flat is exact, SQfp16 half as large")
    candidates: int = option(3, "places looked at more closely for each keyframe", low=1, high=50)
    similarity: float = option(0.0, "least cosine of a candidate", low=-1.0, high=1.0)
    features: str = option("xfeat", "local features: xfeat, sift, orb, or the path of an .onnx file (XFeat)")
    feature_count: int = option(FEATURE_COUNT, "local features kept of each keyframe", low=50, high=5000)
    inliers: int = option(12, "least local features that agree", low=6, high=1000)
    agreement: int = option(3, "keyframes that have to agree on a closure", low=1, high=10)
    unverified: bool = option(False, "publish candidates without geometry too, as such")
