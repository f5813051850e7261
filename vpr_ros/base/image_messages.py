"""Image messages to RGB, for bags, image files and the node.

Needs no ROS: ``decode_message`` takes any object with the fields of sensor_msgs/Image or CompressedImage. Encodings
have the names in ROS's ``sensor_msgs/image_encodings.hpp``. cv_bridge decodes other encodings if it is installed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np

from vpr_ros.base.errors import ImageError, brief
from vpr_ros.base.image_files import read_pixels

# Channels and the step to RGB. ROS names a mosaic by its first two pixels of rows one and two; OpenCV's short
# names (BayerBG, ...) start at the second row and column, its four-letter names (BayerRGGB) agree with ROS.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB,
}
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
    **{name: (1, code) for name, code in _BAYER.items()},
}
# Channels, and the encoding of the first three when reduced to eight bits.
_SIXTEEN_BIT: dict[str, tuple[int, str]] = {
    "mono16": (1, "mono8"),
    "16UC1": (1, "mono8"),
    "rgb16": (3, "rgb8"),
    "bgr16": (3, "bgr8"),
    "16UC3": (3, "bgr8"),
    "rgba16": (4, "rgb8"),
    "bgra16": (4, "bgr8"),
    "16UC4": (4, "bgr8"),
    **{f"{name[:-1]}16": (1, name) for name in _BAYER},
}
# A plane of brightness and below it one of half its height with both colours.
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
ENCODINGS = tuple(sorted([*_EIGHT_BIT, *_SIXTEEN_BIT, *_PLANAR]))


def decode_message(message: Any) -> np.ndarray:
    """A sensor_msgs Image or CompressedImage of rclpy, rospy or rosbags -> (H, W, 3) uint8 RGB.

    The result may share the message's memory and be read-only. Raises ImageError.
    """
    try:
        if hasattr(message, "encoding"):
            return decode_image(
                message.encoding,
                height=message.height,
                width=message.width,
                step=message.step,
                data=message.data,
                is_bigendian=message.is_bigendian,
            )
        return decode_compressed(message.data, message.format)
    except (AttributeError, TypeError) as error:  # a bag may define other fields
        raise ImageError(f"the message is not a sensor_msgs Image or CompressedImage: {brief(error)}") from error


def decode_image(
    encoding: str, height: int, width: int, step: int, data: Any, is_bigendian: bool | int = False
) -> np.ndarray:
    """The payload of a sensor_msgs/Image -> (H, W, 3) uint8 RGB.

    encoding: one of ENCODINGS, or another that an installed cv_bridge converts to rgb8.
    step: bytes of a row, with padding.
    data: any buffer of bytes. For rgb8 the result is a view of it.
    Images of 16 bits are stretched so that their 0.5th to 99.5th percentiles fill 0..255, because cameras send 10, 12
    or 14 bits in them without saying so. Raises ImageError for an empty image, an unknown encoding or sizes that do not
    agree.
    """
    if height <= 0 or width <= 0:
        raise ImageError(f"the image is empty ({width} x {height} pixels)")
    flat = _as_bytes(data)
    if encoding in _SIXTEEN_BIT:
        channels, name = _SIXTEEN_BIT[encoding]
        pixels = _rows(encoding, height, width, step, flat, 2 * channels)
        pixels = np.ascontiguousarray(pixels).view(">u2" if is_bigendian else "<u2")
        pixels = _stretch(pixels if channels == 1 else pixels.reshape(height, width, channels)[..., :3])
        code = _EIGHT_BIT[name][1]
    elif encoding in _EIGHT_BIT:
        channels, code = _EIGHT_BIT[encoding]
        pixels = _rows(encoding, height, width, step, flat, channels)
        pixels = pixels if channels == 1 else pixels.reshape(height, width, channels)
    elif encoding in _PLANAR:
        channels, code = 2, _PLANAR[encoding]
        pixels = np.ascontiguousarray(_rows(encoding, height + height // 2, width, step, flat, 1))
    else:
        return _through_cv_bridge(encoding, height, width, step, flat, is_bigendian)
    if code is None:
        return pixels
    try:
        if channels == 2 and width % 2:  # OpenCV 4 would read past the row
            raise cv2.error("pairs of pixels share their colour")
        return cv2.cvtColor(pixels, code)
    except cv2.error as error:
        raise ImageError(f"a {width} x {height} image cannot be {encoding}") from error


def decode_compressed(data: Any, format: str = "") -> np.ndarray:
    """The payload of a sensor_msgs/CompressedImage or an image file (JPEG, PNG, ...) -> (H, W, 3) uint8 RGB.

    format: of the message, as image_transport writes it. "bayer_rggb8; png compressed" is demosaiced.
    Images are rotated by EXIF; 16 bits are stretched as in ``decode_image``. Raises ImageError if the data is empty,
    truncated, too large, a depth image or not an image.
    """
    if "compressedDepth" in format:
        raise ImageError(f"a depth image ({format!r}) cannot be used: choose the topic of a camera's images")
    try:
        pixels = read_pixels(_as_bytes(data).tobytes())
    except ImageError as error:
        raise ImageError(f"{error}; its format is {format!r}" if format else str(error)) from error
    if pixels.dtype == np.uint16:
        pixels = _stretch(pixels)
    if pixels.ndim == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    encoding = format.split(";")[0].strip()
    encoding = _SIXTEEN_BIT.get(encoding, (1, encoding))[1]
    try:
        return cv2.cvtColor(pixels, _BAYER.get(encoding, cv2.COLOR_GRAY2RGB))
    except cv2.error as error:
        raise ImageError(f"a {pixels.shape[1]} x {pixels.shape[0]} image cannot be {encoding}") from error


def demosaic(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W) uint8 mosaic -> (H, W, 3) uint8 RGB. pattern: rggb, bggr, gbrg or grbg, the corner by rows."""
    return cv2.cvtColor(mosaic, _BAYER[f"bayer_{pattern}8"])


def annotate(read: Callable[[], np.ndarray], where: str) -> np.ndarray:
    """Call ``read``; its ImageError is raised again with where, the file or topic, in front."""
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


def _rows(encoding: str, height: int, width: int, step: int, flat: np.ndarray, pixel_bytes: int) -> np.ndarray:
    """(N,) uint8 -> (height, width * pixel_bytes), without the padding."""
    row_bytes = width * pixel_bytes
    if step < row_bytes or flat.size != step * height:
        raise ImageError(
            f"the image's sizes do not agree: {width} x {height} {encoding}, rows of {step} bytes, in all {flat.size}"
        )
    return flat.reshape(height, step)[:, :row_bytes]


def _stretch(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) uint16 -> uint8, contrast stretched between percentiles on a grid of about 240 rows."""
    grid = max(1, image.shape[0] // 240)
    low, high = np.percentile(image[::grid, ::grid], [0.5, 99.5])
    levels = np.arange(1 << 16, dtype=np.float32)
    table = np.clip((levels - low) * (255 / (high - low)), 0, 255) if high > low else levels / 256
    return table.astype(np.uint8)[image]


def _through_cv_bridge(
    encoding: str, height: int, width: int, step: int, flat: np.ndarray, is_bigendian: bool | int
) -> np.ndarray:
    """Convert with cv_bridge. Raises ImageError if it is not installed or cannot read the encoding either."""
    known = f"unknown image encoding {encoding!r}: set the camera driver to one of {', '.join(ENCODINGS)}"
    tools = _cv_bridge()
    if tools is None:
        raise ImageError(f"{known}; or install ROS's cv_bridge, which reads more")
    bridge, make = tools
    try:
        message = make(height=height, width=width, encoding=encoding, is_bigendian=int(is_bigendian), step=step)
        message.data = array("B", flat.tobytes())  # rclpy takes this type without checking each byte
        image_rgb = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # cv_bridge raises its own errors, NumPy's, OpenCV's and those of the message's checks
        raise ImageError(f"{known}; cv_bridge cannot read it: {' '.join(str(error).split())}") from error
    if image_rgb.shape != (height, width, 3) or image_rgb.dtype != np.uint8:
        raise ImageError(f"{known}; cv_bridge converts it to {image_rgb.shape} {image_rgb.dtype}")
    return image_rgb


@cache
def _cv_bridge() -> tuple[Any, Any] | None:
    """cv_bridge and the class of its message, or None if they do not work here."""
    try:
        from cv_bridge import CvBridge
        from sensor_msgs.msg import Image

        return CvBridge(), Image
    except Exception:  # built for another Python or NumPy, it raises many errors
        return None
