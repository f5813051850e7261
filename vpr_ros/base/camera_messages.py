"""sensor_msgs/CameraInfo to intrinsics, for bags and the node.

Needs no ROS: any object with the message's fields works, of ROS 2 (k, d, p) or ROS 1 (K, D, P).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError

_FISHEYE = ("equidistant", "fisheye")  # REP-104's name and OpenCV's
# Valid numbers of coefficients, in OpenCV's order: four leave out k3, more than eight add thin prism and tilt.
_MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), **dict.fromkeys(_FISHEYE, (4,))}


def intrinsics_of(message: Any, rectified: bool) -> Intrinsics:
    """The intrinsics in a CameraInfo of rclpy, rospy or rosbags, for the pixels of the images as they are sent.

    rectified: whether the images are rectified; then P is used instead of K and D.
    The region of interest is in pixels of the whole sensor and is binned after cropping (REP-104). If all coefficients
    are zero there is no distortion, except for a fisheye. Raises ConfigError for a camera without calibration or size,
    or with an unknown distortion model.
    """
    name = "p" if rectified else "k"
    numbers = _numbers(message, name)
    if not numbers[:6].any():
        raise ConfigError(f"the camera is not calibrated ({name.upper()} is all zeros): calibrate it")
    K = numbers.reshape(3, -1)[:, :3].copy()
    distortion = () if rectified else _distortion(message)
    region = message.roi
    width, height = int(message.width), int(message.height)
    if region.width and region.height:  # zeros mean the whole image
        width, height = int(region.width), int(region.height)
        K[:2, 2] -= region.x_offset, region.y_offset
    if min(width, height) <= 0:
        raise ConfigError("the camera calibration has no image size: fix the driver's camera_info")
    columns, rows = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    sent = width // columns, height // rows
    fisheye = bool(distortion) and message.distortion_model in _FISHEYE
    return Intrinsics(sent[0] * columns, sent[1] * rows, K, distortion, fisheye).resized(*sent)


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's name says that its images are rectified: image_rect, image_rect_color, image_color_rect, ..."""
    words = image_topic.removesuffix("/compressed").rpartition("/")[2].split("_")
    return "rect" in words or "rectified" in words


def _distortion(message: Any) -> tuple[float, ...]:
    """Coefficients in OpenCV's order. Old drivers leave the model empty, which means plumb bob."""
    model, coefficients = message.distortion_model, tuple(map(float, _numbers(message, "d")))
    if model not in _FISHEYE and not any(coefficients):
        return ()
    known = _MODELS.get(model or "plumb_bob")
    if known is None:
        raise ConfigError(
            f"unknown distortion model '{model}': the driver must send one of {', '.join(_MODELS)}; or use rectified"
            " images"
        )
    if len(coefficients) not in known:
        name = model or "no distortion model (which means plumb_bob)"
        counts = " or ".join(map(str, known))
        raise ConfigError(
            f"{name} needs {counts} distortion coefficients, not {len(coefficients)}: fix the driver's camera_info"
        )
    return coefficients


def _numbers(message: Any, name: str) -> np.ndarray:
    """(N,) float64 of a field; ROS 1 names it in upper case."""
    field = getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())
    return np.asarray(field, dtype=float).ravel()
