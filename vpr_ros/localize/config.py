"""Configuration of the localiser, one class per stage that an image passes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vpr_ros.base.config import option


@dataclass(frozen=True)
class SearchConfig:
    """Search: descriptor -> the most similar places."""

    matches: int = option(50, "number of places fetched from the index for each image", low=1, high=10000)
    index: str = option(
        "auto", "FAISS index factory string, such as Flat, which is exact, SQ8 or HNSW32; auto: by the map's size"
    )
    device: str = option(
        "auto", "where the index is searched; auto: on a GPU if FAISS knows one", choices=("auto", "cpu", "gpu")
    )
    mean_centring: bool = option(
        True, "mean-centring of descriptors over the session (light, season); without the filter, over the map"
    )
    describer: str = option(
        "", "describer of queries, NAME KEY=VALUE ..., such as multiscale from vpr_lab; empty: the model alone"
    )


@dataclass(frozen=True)
class FilterConfig:
    """Bayes filter over time."""

    enabled: bool = option(True, "evidence accumulated over time; false: each image is localised alone")
    speed: float = option(
        0.0, "speed without odometry; 0: estimated from the change of the view", "m/s", low=0.0, high=100.0
    )
    odometry_noise: float = option(
        0.1, "standard deviation of odometry, as a fraction of distance travelled", low=0.0, high=1.0
    )
    off_map_entry: float = option(
        0.0, "probability of leaving the map, per metre travelled; 0: 0.02 per place passed", "1/m", low=0.0, high=0.5
    )
    off_map_exit: float = option(
        0.0, "probability of returning to the map, per metre; 0: 0.01 per place passed", "1/m", low=0.0, high=0.5
    )


@dataclass(frozen=True)
class HypothesesConfig:
    """Hypotheses: belief over places -> poses."""

    count: int = option(5, "number of poses published for each image, best first", low=1, high=100)
    radius: float = option(
        0.0,
        "places closer than this form one hypothesis; 0: 5 times the distance of the places there, at most 25",
        "m",
        low=0.0,
        high=500.0,
    )


@dataclass(frozen=True)
class RerankConfig:
    """Re-ranking of the retrieved places."""

    methods: tuple[str, ...] = option(
        (), "re-rankers, applied in this order, each NAME KEY=VALUE ..., such as local_features; empty: none"
    )
    candidates: int = option(20, "number of places that a re-ranker compares with each image", low=2, high=1000)


@dataclass(frozen=True)
class MetricConfig:
    """Metric pose of the best hypothesis."""

    enabled: bool = option(
        False,
        "measurement of the best pose from local features; needs a map that has them and the camera's calibration",
    )


@dataclass(frozen=True)
class LocalizerConfig:
    """Configuration of the localiser."""

    search: SearchConfig = field(default_factory=SearchConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    rerank: RerankConfig = field(default_factory=RerankConfig)
    hypotheses: HypothesesConfig = field(default_factory=HypothesesConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)

    RENAMED: ClassVar[dict[str, str]] = {
        "filter": "filter.enabled",
        "hypotheses": "hypotheses.count",
        "matches": "search.matches",
        "index": "search.index",
        "session_mean": "search.mean_centring",
        "cluster_radius": "hypotheses.radius",
        "speed": "filter.speed",
        "odometry_noise": "filter.odometry_noise",
        "off_map_entry": "filter.off_map_entry",
        "off_map_exit": "filter.off_map_exit",
        "scales": "search.describer: multiscale scales=[...]",
        "scale_pool": "search.describer: multiscale pool=...",
        "second_map": "rerank.methods: [ensemble map=FILE]",
        "second_model": "rerank.methods: [ensemble map=FILE model=NAME]",
        "ensemble": "rerank.methods: [ensemble map=FILE merge=nif]",
        "geowarp": "rerank.methods: [geowarp model=FILE]",
        "local_features": "rerank.methods: [local_features]",
        "rerank_candidates": "rerank.candidates",
    }
