"""Preprocessing, the same for training, map and robot: RGB of any size -> RGB of the network's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base.errors import ImageError

_LARGEST_SIDE = 8192  # of a network's input, pixels

_COARSE_PX = 16  # of the image whose contrast is measured
_LEAST_CONTRAST = 2.0  # grey levels, standard deviation
NOTHING = "the image shows nothing (black, white or covered)"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input. Part of a model's fingerprint and of a map's meta table.

    height, width: pixels; the whole image is resized to them, without keeping its aspect ratio.
    mean, std: for each RGB channel, on the 0..255 scale. The network applies them, so that images are copied as bytes.
    """

    height: int = 224
    width: int = 224
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preprocessing:
        """From ``dataclasses.asdict``, after JSON. Raises ValueError or TypeError for other data."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        found = cls(**values)
        if not all(isinstance(side, int) and 0 < side <= _LARGEST_SIDE for side in (found.height, found.width)):
            raise ValueError(f"invalid size of the network's input: {found.width} x {found.height} pixels")
        if not all(len(numbers) == 3 and np.isfinite(numbers).all() for numbers in (found.mean, found.std)):
            raise ValueError("mean and std need three finite numbers each")
        return found


# What most networks from torch want: torchvision's mean and standard deviation, times 255.
IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

VIEWS = (1, 3)  # how many views of an image a map can hold
_TALLEST = 8  # height of a thumbnail, widths
_SIDE = 0.75  # fraction of the width in a left or right view


def views(image_rgb: np.ndarray, count: int) -> list[np.ndarray]:
    """(H, W, 3) -> the image (count 1), and its left and right three quarters (count 3).

    A camera that passes further to one side sees about the same as one of these views. A place described by all three
    is recognised from the other side of the road, at no cost to the query.
    """
    part = max(1, round(_SIDE * image_rgb.shape[1]))
    return [image_rgb, image_rgb[:, :part], image_rgb[:, -part:]][:count]


def preprocess(image_rgb: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any size -> (height, width, 3) uint8, the network's input, by area averaging.

    Raises ImageError if the array is not an (H, W, 3) uint8 RGB image.
    """
    if not isinstance(image_rgb, np.ndarray):
        raise ImageError(f"expected a (H, W, 3) uint8 RGB array, got a {type(image_rgb).__name__}")
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or image_rgb.size == 0:
        raise ImageError(f"expected a (H, W, 3) uint8 RGB image, got shape {image_rgb.shape} of {image_rgb.dtype}")
    import cv2

    return cv2.resize(image_rgb, (preprocessing.width, preprocessing.height), interpolation=cv2.INTER_AREA)


def thumbnail(image_rgb: np.ndarray, width: int = 160) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG of this width, with the same aspect ratio, for reports and re-ranking.

    One that would be higher than eight times its width is squeezed to that: a strip of pixels has no end in JPEG.
    """
    import cv2

    height = min(max(1, round(image_rgb.shape[0] * width / image_rgb.shape[1])), _TALLEST * width)
    # By a whole factor first, without the last pixels at the edge: OpenCV does that faster.
    factor = max(1, min(image_rgb.shape[1] // width, image_rgb.shape[0] // height))
    rows, columns = (size // factor for size in image_rgb.shape[:2])
    small = cv2.resize(image_rgb[: rows * factor, : columns * factor], (columns, rows), interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        raise ImageError("an image cannot be written as JPEG")
    return jpeg.tobytes()


def has_content(image_rgb: np.ndarray) -> bool:
    """Whether an image (H, W, 3) shows anything: black, white and covered ones have next to no contrast.

    That of the network's input will do, which is much faster than a large image.
    """
    import cv2

    coarse = cv2.resize(image_rgb, (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA)
    return float(coarse.mean(axis=2).std()) >= _LEAST_CONTRAST
