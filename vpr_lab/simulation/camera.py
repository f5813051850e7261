"""The pinhole camera on the car, and its sensor model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vpr_lab.simulation.conditions import Condition
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.geometry import R_BODY_OPTICAL, matrix_from_rpy, transform


@dataclass(frozen=True)
class Camera:
    """A camera without distortion, level with the car.

    width, height: pixels. fov_deg: horizontal field of view. height_m: over the ground. pitch_deg: of the mount,
    positive looks down. yaw_deg: of the mount, counter-clockwise from the car's heading.
    """

    width: int = 320
    height: int = 240
    fov_deg: float = 66.0
    height_m: float = 1.6
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, both axes."""
        return self.width / 2 / float(np.tan(np.radians(self.fov_deg) / 2))

    @property
    def intrinsics(self) -> Intrinsics:
        """As the robot's calibration would tell them."""
        return Intrinsics.pinhole(self.width, self.height, self.focal_px)

    @property
    def K(self) -> np.ndarray:
        """(3, 3) intrinsics; pixel centres lie at integers."""
        return self.intrinsics.K

    @property
    def T_body_camera(self) -> np.ndarray:
        """(4, 4): from the optical frame to the car's (x forward, y left, z up, on the ground)."""
        R = matrix_from_rpy(0.0, np.radians(self.pitch_deg), np.radians(self.yaw_deg)) @ R_BODY_OPTICAL
        return transform(R, np.array([0.0, 0.0, self.height_m]))


def expose(image_rgb: np.ndarray, condition: Condition, seed: int) -> np.ndarray:
    """What the sensor makes of a clean (H, W, 3) uint8 picture: glare, droplets, blur, vignetting, noise, JPEG."""
    rng = np.random.default_rng([condition.seed, seed])
    height, width = image_rgb.shape[:2]
    scale = width / 320.0
    image: np.ndarray = image_rgb.astype(np.float32)
    if condition.night > 0:
        image = _glare(image, condition.night, scale)
    if condition.droplets:
        image = _droplets(image, condition)
    if condition.motion_px * scale > 0.8:
        length = max(2, round(condition.motion_px * scale + 1))
        image = cv2.blur(image, (length, 1))
    if condition.defocus_px * scale > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), condition.defocus_px * scale)
    if condition.vignetting:
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        image *= (1 - condition.vignetting * 0.5 * (x[None] ** 2 + y[:, None] ** 2))[..., None]
    image += condition.noise * _grain(rng, image.shape)
    out = np.clip(image, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, condition.jpeg]
    return np.ascontiguousarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, 3) float32 noise, part of it alike in all channels: cut out of a stored row, quicker than drawing."""
    size = int(np.prod(shape))
    row = _grain_row(1 << max(20, (2 * size).bit_length()))
    start = 3 * int(rng.integers((len(row) - size) // 3))
    return row[start : start + size].reshape(shape)


@lru_cache(maxsize=2)
def _grain_row(size: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((size // 3, 3), np.float32)
    return (0.6 * noise + 0.7 * rng.standard_normal((size // 3, 1), np.float32)).reshape(-1)


def _glare(image: np.ndarray, night: float, scale: float) -> np.ndarray:
    """Light of bright spots spread over their surroundings, in linear light."""
    bright = np.clip(image - 190, 0, None) / 65
    small = cv2.resize(bright, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    halo = cv2.GaussianBlur(small, (0, 0), 1.5 * scale) * 120 + cv2.GaussianBlur(small, (0, 0), 6 * scale) * 160
    return image + night * cv2.resize(halo, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)


def _droplets(image: np.ndarray, condition: Condition) -> np.ndarray:
    """Drops on the lens: each shows the scene upside down, blurred. They stay where they are during a drive."""
    rng = np.random.default_rng([condition.seed, 77])
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    map_x, map_y, weight = x.copy(), y.copy(), np.zeros((height, width), np.float32)
    for _ in range(condition.droplets):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.008, 0.03) * width
        distance = np.hypot(x - cx, (y - cy) * 0.85) / radius
        inside = distance < 1
        map_x[inside] = (cx - 3.5 * (x - cx))[inside]
        map_y[inside] = (cy - 3.5 * (y - cy))[inside]
        weight = np.maximum(weight, np.clip((1 - distance) * 3, 0, 1))
    soft = cv2.blur(image, (5, 5))
    seen = cv2.remap(soft, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return image + (0.8 * weight)[..., None] * (seen - image)
