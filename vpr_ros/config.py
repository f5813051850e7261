"""Configurations: frozen dataclasses whose fields carry description, unit and range; YAML in and out.

One declaration serves the YAML file, the command line, the node's parameters and the README's tables. An unknown key
is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vpr_ros.errors import ConfigError

C = TypeVar("C")


def option(
    default: Any,
    description: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] = (),
) -> Any:
    """A dataclass field that knows what it is for.

    low and high are inclusive; choices, where given, are all there are.
    """
    metadata = {"description": description, "unit": unit, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


def unknown_key(key: str, known: Sequence[str], where: str) -> ConfigError:
    """The error for a key nobody knows, with the nearest known one."""
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
    return ConfigError(f"{where}: unknown parameter '{key}'; {hint}")


def from_dict(cls: type[C], data: dict[str, Any], where: str = "configuration") -> C:
    """Build a configuration from plain data, nested ones included.

    Raises ConfigError for an unknown key, a wrong type or a value outside its range, naming where it came from.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected names with values, got {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key not in fields:
            raise unknown_key(key, list(fields), where)
        values[key] = checked(hints[key], fields[key], value, f"{where}: {key}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def checked(hint: Any, field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """A plain value as the field's type. Raises ConfigError, naming where, if it is of another or out of range."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    value = _typed(hint, value, where)
    choices, low, high = (field.metadata.get(name) for name in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ConfigError(f"{where} is {value!r}; choose one of {', '.join(map(str, choices))}")
    # "not (low <= value)" rather than "value < low": NaN fails it.
    if (low is not None and not low <= value) or (high is not None and not value <= high):
        unit = f" {field.metadata['unit']}" if field.metadata.get("unit") else ""
        raise ConfigError(f"{where} is {value}{unit}; it must lie in {low} .. {high}")
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A YAML value as the hinted type: bool, int, float, str, tuple, dict, or a union with None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) != len(value):
            raise ConfigError(f"{where} is {value!r}; expected {len(inner)} numbers")
        return tuple(_typed(kind, item, where) for kind, item in zip(inner, value, strict=True))
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; it must be a finite number")
        return float(value)
    elif hint is Any or (isinstance(value, origin or hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{where} is {value!r}; expected {getattr(hint, '__name__', hint)}")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data, ready for YAML: tuples become lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(config))


def load_yaml(cls: type[C], path: Path, overrides: dict[str, Any] | None = None) -> C:
    """Defaults, beaten by the file, beaten by the overrides (the command line's flags).

    Raises ConfigError where the file is missing, is not YAML, or does not fit.
    """
    return from_dict(cls, {**read_yaml(path), **(overrides or {})}, str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Names with values, as a file has them. Raises ConfigError where it is missing or holds something else."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected names with values, got {data!r}")
    return data


def save_yaml(config: Any, path: Path) -> None:
    """Write the resolved configuration, saved beside every result."""
    import yaml

    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))


@dataclass(frozen=True)
class LocalizerConfig:
    """How an image becomes an answer."""

    matches: int = option(50, "places fetched from the index for each image", low=1, high=10000)
    index: str = option("Flat", "FAISS index factory string: Flat is exact, SQ8 and HNSW32 suit large maps")
    hypotheses: int = option(5, "poses published for each image, best first", low=1, high=100)
    cluster_radius: float = option(25.0, "places closer than this are one hypothesis", "m", low=1.0, high=500.0)
    filter: bool = option(True, "accumulate evidence over time; false answers from each image alone")
    session_mean: bool = option(True, "take the session's mean, its light, from descriptors; without filter the map's")
    speed: float = option(5.0, "typical speed, believed where there is no odometry", "m/s", low=0.1, high=100.0)
    odometry_noise: float = option(0.1, "standard deviation of odometry as a share of the distance", low=0.0, high=1.0)
    off_map_entry: float = option(0.002, "probability of leaving the map per metre driven", "1/m", low=0.0, high=0.5)
    off_map_exit: float = option(0.01, "probability of coming back per metre driven", "1/m", low=0.0, high=0.5)
    scales: tuple[float, ...] = option(
        (), "sizes at which a query is described, a network pass each, such as [0.59, 1.0, 1.7]; empty: as it is"
    )
    scale_pool: str = option("avg", "how the descriptors of scales become one", choices=("avg", "sum", "max", "min"))
    second_map: str = option("", "another model's map of the same drives, whose answers are merged in; empty: none")
    second_model: str = option("", "its network, by name or path; empty: the one second_map was made with")
    ensemble: str = option(
        "nif", "how two maps' answers are merged: nif by distance, sif what both found first", choices=("nif", "sif")
    )
    geowarp: str = option("", "GeoWarp that ranks the first places again, a file of vpr lab export; empty: none")
    local_features: str = option(
        "", "local features of thumbnails that rank the first places again: xfeat, or an .onnx file of it; empty: none"
    )
    rerank_candidates: int = option(
        20, "places that GeoWarp or local features look at for each image", low=2, high=1000
    )


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
    feature_count: int = option(800, "local features kept of each keyframe", low=50, high=5000)
    inliers: int = option(12, "least local features that agree", low=6, high=1000)
    agreement: int = option(3, "keyframes that have to agree on a closure", low=1, high=10)
    unverified: bool = option(False, "publish candidates without geometry too, as such")
