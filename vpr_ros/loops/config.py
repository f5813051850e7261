"""Configuration of the loop closer."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_ros.base.config import option
from vpr_ros.matching.local_features import FEATURE_COUNT


@dataclass(frozen=True)
class LoopCloserConfig:
    """How a map grows and when a loop closure is accepted."""

    keyframe_distance: float = option(2.0, "minimum distance between keyframes", "m", low=0.1, high=100.0)
    keyframe_angle: float = option(20.0, "minimum rotation between keyframes", "deg", low=1.0, high=180.0)
    keyframe_time: float = option(
        0.0, "maximum time between keyframes; 0: no keyframe because of time alone", "s", low=0.0, high=3600.0
    )
    own_past: bool = option(True, "loop closures on the session's own past")
    recent_distance: float = option(
        50.0, "minimum distance driven between the two keyframes of a loop in the own past", "m", low=0.0
    )
    recent_time: float = option(20.0, "minimum time between the two keyframes of a loop in the own past", "s", low=0.0)
    drift: float = option(0.03, "maximum odometry drift, as a fraction of distance travelled", low=0.0, high=1.0)
    index: str = option("Flat", "FAISS index factory string without training: Flat is exact, SQfp16 half as large")
    candidates: int = option(3, "number of places verified for each keyframe", low=1, high=50)
    similarity: float = option(0.0, "minimum cosine similarity of a candidate", low=-1.0, high=1.0)
    features: str = option("xfeat", "local features: xfeat, sift, orb, or the path of an .onnx file of XFeat")
    feature_count: int = option(FEATURE_COUNT, "number of local features kept of each keyframe", low=50, high=5000)
    inliers: int = option(12, "minimum number of local features that agree on a pose", low=6, high=1000)
    agreement: int = option(3, "number of keyframes that must agree on a closure", low=1, high=10)
    unverified: bool = option(False, "candidates without a measured pose are published too, marked as unverified")
