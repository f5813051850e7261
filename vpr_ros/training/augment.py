"""Random changes to a training image that must not change which place it shows.

Everything works on (H, W, 3) uint8 RGB and its (h, w) float32 depth map in metres (0 unknown), with a numpy
generator, so that a seed gives the same image again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vpr_ros.config import option


@dataclass(frozen=True)
class Augmentation:
    """How strong each change is; zero switches it off."""

    viewpoint: float = option(
        0.08, "corners move by up to this share of the image: shift, zoom, tilt, perspective", low=0.0, high=0.4
    )
    colour: float = option(0.4, "brightness, contrast and saturation change by up to this share", low=0.0, high=1.0)
    gamma: float = option(0.5, "natural logarithm of the gamma curve, up to", low=0.0, high=2.0)
    tint: float = option(0.15, "each colour channel is scaled by up to this share", low=0.0, high=1.0)
    grey: float = option(0.15, "share of images turned grey", low=0.0, high=1.0)
    blur: float = option(0.25, "share of images blurred", low=0.0, high=1.0)
    noise: float = option(12.0, "standard deviation of pixel noise, up to, on the 0..255 scale", low=0.0, high=100.0)
    shadow: float = option(0.3, "share of images with a shadow or a light patch cast on them", low=0.0, high=1.0)
    occlusion: float = option(0.3, "share of images with a part covered", low=0.0, high=1.0)


def augment(
    image_rgb: np.ndarray, depth_m: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random version of an image and its depth, of the same sizes and dtypes."""
    image, depth = _viewpoint(image_rgb, depth_m, settings.viewpoint, rng)
    if rng.random() < settings.shadow:
        image = _shadow(image, rng)
    image = _colours(image, settings, rng)
    if rng.random() < settings.occlusion:
        image = _occlude(image, rng)
    if rng.random() < settings.blur:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    return _noise(image, settings.noise * rng.random(), rng), depth


def _viewpoint(
    image: np.ndarray, depth: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A mild homography: the whole image shifts and zooms in, each corner moves a little on its own."""
    if strength == 0:
        return image, depth
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    zoom = 1 - rng.uniform(0, 2 * strength)
    shift = rng.uniform(-strength, strength, 2)
    source = (corners - 0.5) * zoom + 0.5 + shift + rng.uniform(-strength, strength, (4, 2)) * 0.35

    def warp(picture: np.ndarray, interpolation: int, border: int) -> np.ndarray:
        size = np.array(picture.shape[1::-1], np.float32)
        H = cv2.getPerspectiveTransform((source * size).astype(np.float32), corners * size)
        return cv2.warpPerspective(picture, H, picture.shape[1::-1], flags=interpolation, borderMode=border)

    return (
        warp(image, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE),
        warp(np.ascontiguousarray(depth, np.float32), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT),
    )


def _colours(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Saturation, then brightness, contrast, gamma and tint through one table for each channel."""
    grey = rng.random() < settings.grey
    saturation = 0.0 if grey else 1 + rng.uniform(-settings.colour, settings.colour)
    luminance = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    image = cv2.addWeighted(image, saturation, luminance, 1 - saturation, 0)
    gain = (1 + rng.uniform(-settings.colour, settings.colour)) * np.ones(3)
    if not grey:
        gain *= 1 + rng.uniform(-settings.tint, settings.tint, 3)
    contrast = 1 + rng.uniform(-settings.colour, settings.colour)
    power = np.exp(rng.uniform(-settings.gamma, settings.gamma))
    levels = (np.arange(256)[:, None] / 255) ** power * gain
    mean = float(image.mean()) / 255
    table = np.clip(((levels - mean) * contrast + mean) * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def _shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darken or light up a random quadrilateral with soft edges."""
    height, width = image.shape[:2]
    mask = np.zeros((height // 4, width // 4), np.float32)
    corners = (rng.random((4, 2)) * 1.6 - 0.3) * (width // 4, height // 4)
    cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), float(rng.uniform(-0.6, 0.5)))
    mask = cv2.resize(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 3))), (width, height))
    return np.clip(image * (1 + mask[..., None]), 0, 255).astype(np.uint8)


def _occlude(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a rectangle of 2 to 20 % of the image with a flat colour, noise or another part of the image."""
    height, width = image.shape[:2]
    area, ratio = rng.uniform(0.02, 0.2), np.exp(rng.uniform(-1, 1))
    h = int(np.clip(np.sqrt(area / ratio) * height, 2, height - 1))
    w = int(np.clip(np.sqrt(area * ratio) * width, 2, width - 1))
    top, left, from_top, from_left = (
        int(rng.integers(limit)) for limit in (height - h, width - w, height - h, width - w)
    )
    image = image.copy()
    kind = rng.integers(3)
    if kind == 0:
        image[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    elif kind == 1:
        image[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3))
    else:
        image[top : top + h, left : left + w] = image[from_top : from_top + h, from_left : from_left + w].copy()
    return image


def _noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    if sigma < 1:
        return image
    return np.clip(image + rng.standard_normal(image.shape, np.float32) * sigma, 0, 255).astype(np.uint8)
