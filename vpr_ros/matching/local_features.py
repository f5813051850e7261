"""Local features of an image: rays, hallucinated depths and descriptors."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import MapError
from vpr_ros.matching.constants import FEATURES

FEATURE_COUNT = 800  # features kept of each image of a map
_HEADER = struct.Struct("<8sII3sf")  # kind, count, descriptor dimension, dtype, pixel
_NUMBERS = ("|u1", "|i1", "<f2", "<f4")


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """N features of one image. They do not depend on its camera, so they match those of any other camera.

    kind: name of the extractor; only equal kinds can be matched. rays: (N, 2) float32, x / z and y / z in the optical
    frame, without distortion. depths: (N,) float32 metres along the optical axis, as hallucinated; 0 if unknown.
    descriptors: (N, D) uint8 (SIFT's histograms, ORB's bits), int8 or float. pixel: size of a pixel in units of rays,
    the inverse of the focal length. depth_sigmas: (N,) standard deviations of log depths that were measured, infinite
    for hallucinated ones; None if all are hallucinated. They are not stored in a map.
    """

    kind: str
    rays: np.ndarray
    depths: np.ndarray
    descriptors: np.ndarray
    pixel: float
    depth_sigmas: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rays)

    @property
    def sigmas(self) -> np.ndarray:
        """``depth_sigmas``, infinite for all if none was measured."""
        return np.full(len(self), np.inf) if self.depth_sigmas is None else self.depth_sigmas

    def to_bytes(self) -> bytes:
        """The features as stored in a map; depths become float16."""
        numbers = self.descriptors.dtype.str.encode()
        header = _HEADER.pack(self.kind.encode()[:8], *self.descriptors.shape, numbers, self.pixel)
        arrays = self.rays.astype("<f4"), self.depths.astype("<f2"), self.descriptors
        return header + b"".join(array.tobytes() for array in arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> LocalFeatures:
        """Read the output of ``to_bytes``. Raises MapError for other data."""
        try:
            kind, count, length, numbers, pixel = _HEADER.unpack_from(data)
            if numbers.decode() not in _NUMBERS:
                raise ValueError(f"unknown dtype {numbers!r}")
            rays, at = _array(data, _HEADER.size, np.dtype("<f4"), (count, 2))
            depths, at = _array(data, at, np.dtype("<f2"), (count,))
            descriptors, at = _array(data, at, np.dtype(numbers.decode()), (count, length))
            if at != len(data) or not np.isfinite(rays).all():
                raise ValueError("its size is wrong, or a ray is not finite")
        except (struct.error, ValueError, TypeError) as error:
            raise MapError(f"the local features of a place cannot be read ({error})") from error
        name = kind.rstrip(b"\0").decode(errors="replace")
        return cls(name, rays, depths.astype(np.float32), descriptors, float(pixel))


def _array(data: bytes, at: int, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """The array that begins at a byte, and the byte after its end."""
    count = math.prod(shape)  # np.prod would overflow
    return np.frombuffer(data, dtype, count, at).reshape(shape), at + count * dtype.itemsize


class Extractor(Protocol):
    """Detects and describes local features."""

    kind: str

    def extract(self, image_rgb: np.ndarray, depth: np.ndarray | None, intrinsics: Intrinsics) -> LocalFeatures:
        """Features of an image.

        image_rgb: (H, W, 3) uint8. depth: (h, w) float32 metres over the whole image, 0 if unknown; or None.
        """
        ...


class ClassicalExtractor:
    """SIFT (Lowe 2004) or ORB (Rublee 2011) from OpenCV, after local contrast equalisation for night images."""

    def __init__(self, kind: str, count: int) -> None:
        """kind: "sift" or "orb". count: features kept of each image, the strongest."""
        self.kind = kind
        make: dict[str, Callable[[], cv2.Feature2D]] = {
            "sift": lambda: cv2.SIFT.create(
                nfeatures=count, contrastThreshold=FEATURES.sift_contrast, sigma=FEATURES.sift_sigma
            ),
            "orb": lambda: cv2.ORB.create(nfeatures=count, fastThreshold=FEATURES.orb_threshold),
        }
        self._detector = make[kind]()
        self._contrast = cv2.createCLAHE(clipLimit=FEATURES.contrast_limit, tileGridSize=FEATURES.contrast_tiles)

    def extract(self, image_rgb: np.ndarray, depth: np.ndarray | None, intrinsics: Intrinsics) -> LocalFeatures:
        """See Extractor."""
        grey = self._contrast.apply(cv2.cvtColor(shrunk(image_rgb), cv2.COLOR_RGB2GRAY))
        keypoints, descriptors = self._detector.detectAndCompute(grey, None)
        pixels = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64).reshape(-1, 2)
        if descriptors is None:
            descriptors = np.zeros((0, self._detector.descriptorSize()), np.uint8)
        return features_at(self.kind, pixels, descriptors.astype(np.uint8), grey.shape, depth, intrinsics)


def shrunk(image_rgb: np.ndarray) -> np.ndarray:
    """The image reduced by a whole factor, to at most ``FEATURES.longest_px`` wide."""
    factor = -(-image_rgb.shape[1] // FEATURES.longest_px)
    if factor == 1:
        return image_rgb
    size = image_rgb.shape[1] // factor, image_rgb.shape[0] // factor
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)


def features_at(
    kind: str,
    pixels: np.ndarray,
    descriptors: np.ndarray,
    shape: tuple[int, ...],
    depth: np.ndarray | None,
    intrinsics: Intrinsics,
) -> LocalFeatures:
    """Features at pixels (N, 2) of an image of this shape (height, width), with the depth (h, w) at these pixels."""
    height, width = shape[:2]
    camera = intrinsics.resized(width, height)
    depths = np.zeros(len(pixels), np.float32)
    if depth is not None and len(pixels):
        scale = depth.shape[1] / width, depth.shape[0] / height
        at = ((pixels + 0.5) * scale).astype(int)
        depths = depth[at[:, 1].clip(0, depth.shape[0] - 1), at[:, 0].clip(0, depth.shape[1] - 1)]
    pixel = 2 / float(camera.K[0, 0] + camera.K[1, 1])
    rays = camera.rays(pixels).astype(np.float32)
    seen = np.isfinite(rays).all(axis=1)
    return LocalFeatures(kind, rays[seen], depths[seen].astype(np.float32), descriptors[seen], pixel)
