"""Payloads of image messages to RGB: every encoding cameras send, in one place for bags, image files and the node.

Knows nothing of ROS: ``decode_message`` takes anything with the fields of sensor_msgs/Image or CompressedImage.
Encodings are named as in ROS's ``sensor_msgs/image_encodings.hpp``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vpr_ros.errors import ImageError

# Bytes a pixel and the step to RGB. ROS names a mosaic by its first two pixels of rows one and two; OpenCV's short
# names (BayerBG, ...) start at the second row and column, its four-letter names (BayerRGGB) agree with ROS.
_EIGHT_BIT: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
}
_SIXTEEN_BIT = {"mono16": "mono8", **{f"bayer_{p}16": f"bayer_{p}8" for p in ("rggb", "bggr", "gbrg", "grbg")}}
ENCODINGS = tuple(sorted([*_EIGHT_BIT, *_SIXTEEN_BIT]))

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# OpenCV 4.10 learnt to decode straight to RGB.
_IMREAD_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


def decode_message(message: Any) -> np.ndarray:
    """A sensor_msgs Image or CompressedImage of rclpy, rospy or rosbags -> (H, W, 3) uint8 RGB.

    May share the message's memory and be read-only. Raises ImageError.
    """
    if hasattr(message, "encoding"):
        return decode_image(
            message.encoding, message.height, message.width, message.step, message.data, message.is_bigendian
        )
    return decode_compressed(message.data)


def decode_image(
    encoding: str, height: int, width: int, step: int, data: Any, is_bigendian: bool | int = False
) -> np.ndarray:
    """The payload of a sensor_msgs/Image -> (H, W, 3) uint8 RGB.

    encoding: one of ENCODINGS. step: bytes a row, padding included. data: any buffer of bytes. rgb8 comes back as a
    view of data. 16-bit images are stretched so that their 0.5th to 99.5th percentile fill 0..255, because cameras
    put 10, 12 or 14 bits there without saying so. Raises ImageError for an empty image, an unknown encoding or sizes
    that do not agree.
    """
    if height <= 0 or width <= 0:
        raise ImageError(f"the image is empty ({width} x {height} pixels)")
    name = _SIXTEEN_BIT.get(encoding, encoding)
    if name not in _EIGHT_BIT:
        raise ImageError(
            f"the image encoding {encoding!r} is not known; have the camera send one of {', '.join(ENCODINGS)}"
        )
    channels, code = _EIGHT_BIT[name]
    row_bytes = width * channels * (2 if encoding in _SIXTEEN_BIT else 1)
    flat = _as_bytes(data)
    if step < row_bytes or flat.size != step * height:
        raise ImageError(
            f"the image's sizes do not agree: {width} x {height} {encoding}, rows of {step} bytes, in all {flat.size}"
        )
    rows = flat.reshape(height, step)[:, :row_bytes]
    if encoding in _SIXTEEN_BIT:
        rows = _stretch(np.ascontiguousarray(rows).view(">u2" if is_bigendian else "<u2"))
    pixels = rows if channels == 1 else rows.reshape(height, width, channels)
    if code is None:
        return pixels
    try:
        if channels == 2 and width % 2:  # OpenCV 4 would read past the row
            raise cv2.error("4:2:2 needs an even width")
        return cv2.cvtColor(pixels, code)
    except cv2.error as error:
        raise ImageError(f"a {width} x {height} image cannot be {encoding}") from error


def decode_compressed(data: Any) -> np.ndarray:
    """The payload of a sensor_msgs/CompressedImage or an image file (JPEG, PNG, ...) -> (H, W, 3) uint8 RGB.

    Raises ImageError where it is empty, truncated or no image. OpenCV fills the missing part of a truncated JPEG with
    grey and says nothing, so the end marker is looked for.
    """
    flat = _as_bytes(data)
    if flat.size == 0:
        raise ImageError("the compressed image is empty")
    _check_complete(flat)
    try:
        if _IMREAD_RGB is not None:
            image = cv2.imdecode(flat, _IMREAD_RGB)
        else:
            image = cv2.imdecode(flat, cv2.IMREAD_COLOR)
            image = image if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    except cv2.error as error:
        raise ImageError(f"the compressed image ({flat.size} bytes) cannot be decoded") from error
    if image is None:
        raise ImageError(f"the compressed image ({flat.size} bytes) is damaged or neither JPEG nor PNG")
    return image


def demosaic(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W) uint8 mosaic -> (H, W, 3) uint8 RGB. pattern: rggb, bggr, gbrg or grbg, the corner's rows."""
    return cv2.cvtColor(mosaic, _EIGHT_BIT[f"bayer_{pattern}8"][1] or 0)


def annotate(read: Callable[[], np.ndarray], where: str) -> np.ndarray:
    """What read gives; its ImageError is raised again with the file or topic it happened in."""
    try:
        return read()
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error


def _as_bytes(data: Any) -> np.ndarray:
    """Any buffer (bytes, array.array, ndarray) -> (N,) uint8 that shares its memory."""
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        if isinstance(data, (bytes, bytearray)) or getattr(data, "size", 1) == 0:
            return np.zeros(0, np.uint8)
        raise ImageError(f"the image's data is a {type(data).__name__}, not bytes") from error


def _check_complete(flat: np.ndarray) -> None:
    """Raise ImageError for a JPEG or PNG without its end. Cameras pad; thumbnails have ends of their own."""
    head = flat[:8].tobytes()
    if head.startswith(_JPEG_START):
        if flat[-2:].tobytes() == _JPEG_END:
            return
        data = flat.tobytes()
        if data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN):
            return
        raise ImageError(f"the JPEG is truncated: {flat.size} bytes without an end marker")
    if head == _PNG_START and flat[-64:].tobytes().rfind(_PNG_END) < 0:
        raise ImageError(f"the PNG is truncated: {flat.size} bytes without an end chunk")


def _stretch(image: np.ndarray) -> np.ndarray:
    """(H, W) uint16 -> uint8, contrast stretched between percentiles taken on a grid of at most about 240 rows."""
    grid = max(1, image.shape[0] // 240)
    low, high = np.percentile(image[::grid, ::grid], [0.5, 99.5])
    if high <= low:
        return (image >> 8).astype(np.uint8)
    return np.clip((image.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
