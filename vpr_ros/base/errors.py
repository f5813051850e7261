"""The errors a user can cause. Each message is one sentence that says what to do; the command line prints only it."""

import difflib
import errno
import os
import traceback
from collections.abc import Sequence


class VprError(Exception):
    """Base of all errors of this package."""


def nearest_name(name: str, known: Sequence[str]) -> str:
    """The hint for an unknown name: the nearest known one, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"


def brief(error: object, most: int = 200) -> str:
    """A library's message, to quote in an error: one printable line of at most ``most`` characters."""
    words = " ".join(str(error).split())
    line = "".join(character if character.isprintable() else "?" for character in words)
    return (line if len(line) <= most else f"{line[:most]}...") or type(error).__name__


def explained(error: Exception) -> str:
    """One sentence for an error of this package or of the operating system; the traceback of any other one."""
    if isinstance(error, VprError):
        return str(error)
    if not isinstance(error, OSError):
        return "".join(traceback.format_exception(error))
    full = " while writing: make room, or give another folder" if error.errno == errno.ENOSPC else ""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}{full}"


def check_path(path: object, what: str) -> None:
    """Raises ConfigError if a path is neither text nor a Path. what: the thing that it leads to, for the error."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(f"{what} is opened by its path, not by {path!r}: give a str or a Path")


class ConfigError(VprError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class DriveError(VprError):
    """A drive lacks a file, a column or a topic, or one of them cannot be read."""


class FrameError(VprError, ValueError):
    """A frame has a stamp, a pose or a prior of another type, or a pose that is no rigid transform."""


class ImageError(VprError):
    """An image is empty, truncated or in an unknown encoding."""


class MapError(VprError):
    """A map is missing, corrupt, of another format or of another model."""


class ModelError(VprError):
    """A model or its manifest is missing, corrupt or does not fit its use."""


class MissingDependencyError(VprError):
    """An optional package (of an extra, or of ROS) is needed and not installed."""


_ROS = ("rclpy", "diagnostic_msgs", "geometry_msgs", "nav_msgs", "sensor_msgs", "std_msgs", "tf2_msgs")
# How to install optional packages. Imported packages that are not here are always installed.
REMEDIES = {
    **dict.fromkeys(("torch", "pytorch_metric_learning", "scipy"), "pip install 'vpr_ros[train]'"),
    "onnx": "pip install 'vpr_ros[onnx]'",
    "plotly": "pip install plotly",
    "moderngl": "pip install 'vpr_ros[sim]'",
    "trimesh": "pip install 'vpr_ros[mesh]'",
    "cuda": "pip install 'vpr_ros[gpu]'",
    **dict.fromkeys(("gtsam", "evo"), "pip install 'vpr_ros[slam]'"),
    **dict.fromkeys(("ray", "lancedb", "pyarrow"), "pip install 'vpr_ros[fleet]'"),
    **dict.fromkeys(_ROS, "source a ROS 2 installation, or pip install 'vpr_ros[ros]'"),
    "vpr_msgs": "build it with colcon, or run tools/build_messages.py (pip install 'vpr_ros[ros,ros-build]')",
}


def missing_dependency(error: ImportError) -> MissingDependencyError | None:
    """The error for a failed import; None if the missing package is not an optional one."""
    package = (error.name or "").partition(".")[0]
    if package not in REMEDIES:
        return None
    return MissingDependencyError(f"this needs {package}, which is not installed here ({error}): {REMEDIES[package]}")
