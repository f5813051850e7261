"""Random changes to a training image that must not change which place it shows.

Everything works on (H, W, 3) uint8 RGB and its (h, w) float32 depth map in metres (0 unknown, infinite sky), with a
numpy generator, so that a seed gives the same image again. An option that is off draws no random number of its own
where it was added later (crop, flip, hue, erasing: the ablation of CosPlace-Extended), so that recipes keep their
images.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import ndtri

from vpr_ros.base.config import option

_NORMAL_VALUES = ndtri((np.arange(256) + 0.5) / 256)
ERASED_RGB = (124, 116, 104)  # ImageNet's mean: zero after normalisation, what torchvision erases with


@dataclass(frozen=True)
class Augmentation:
    """How strong each change is; zero switches it off."""

    viewpoint: float = option(
        0.08,
        "maximum movement of the corners, as a fraction of the image: shift, zoom, tilt, perspective",
        low=0.0,
        high=0.4,
    )
    colour: float = option(
        0.4, "maximum change of brightness, contrast and saturation, as a fraction", low=0.0, high=1.0
    )
    gamma: float = option(0.5, "maximum of the natural logarithm of gamma", low=0.0, high=2.0)
    tint: float = option(0.15, "maximum scaling of each colour channel, as a fraction", low=0.0, high=1.0)
    grey: float = option(0.15, "fraction of images turned grey", low=0.0, high=1.0)
    blur: float = option(0.25, "fraction of images blurred", low=0.0, high=1.0)
    noise: float = option(12.0, "standard deviation of pixel noise, up to, on the 0..255 scale", low=0.0, high=100.0)
    shadow: float = option(0.3, "fraction of images with a shadow or a light patch cast on them", low=0.0, high=1.0)
    occlusion: float = option(0.3, "fraction of images with a part covered", low=0.0, high=1.0)
    crop: float = option(
        0.0, "maximum fraction of the area that a random crop leaves out, 0.5 in CosPlace", low=0.0, high=0.9
    )
    flip: float = option(
        0.0, "fraction of images mirrored, which shows another place: for the ablation", low=0.0, high=1.0
    )
    hue: float = option(0.0, "maximum rotation of the hue, as a fraction of the colour circle", low=0.0, high=0.5)
    erasing: float = option(0.0, "fraction of images with 2 to 25 % of the area erased", low=0.0, high=1.0)


def augment(
    image_rgb: np.ndarray, depth_m: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random version of an image and its depth, of the same sizes and dtypes."""
    image, depth = _viewpoint(image_rgb, depth_m, settings.viewpoint, rng)
    if settings.crop > 0:
        image, depth = _crop(image, depth, settings.crop, rng)
    if settings.flip > 0 and rng.random() < settings.flip:
        image, depth = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(depth[:, ::-1])
    if rng.random() < settings.shadow:
        image = _shadow(image, rng)
    image = _colours(image, settings, rng)
    if settings.hue > 0:
        image = turn_hue(image, rng.uniform(-settings.hue, settings.hue))
    if rng.random() < settings.occlusion:
        image = _occlude(image, rng)
    if rng.random() < settings.blur:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    image = _noise(image, settings.noise * rng.random(), rng)
    if settings.erasing > 0 and rng.random() < settings.erasing:
        image = _erase(image, rng)
    return image, depth


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

    def warp(picture: np.ndarray, interpolation: int) -> np.ndarray:
        size = np.array(picture.shape[1::-1], np.float32)
        H = cv2.getPerspectiveTransform((source * size).astype(np.float32), corners * size)
        return cv2.warpPerspective(
            picture, H, picture.shape[1::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE
        )

    return warp(image, cv2.INTER_LINEAR), warp(np.ascontiguousarray(depth, np.float32), cv2.INTER_NEAREST)


def _crop(
    image: np.ndarray, depth: np.ndarray, left_out: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of at least 1 - left_out of the area and a ratio of 3:4 to 4:3, stretched to the whole."""
    rectangle = _rectangle(image.shape, (1 - left_out, 1.0), (3 / 4, 4 / 3), rng)
    if rectangle is None:
        return image, depth
    top, left, height, width = rectangle
    rows, columns = (
        ((start + (np.arange(count) + 0.5) / count * length) * count / whole).astype(int)
        for start, length, count, whole in zip((top, left), (height, width), depth.shape, image.shape, strict=False)
    )
    cropped = image[top : top + height, left : left + width]
    return cv2.resize(cropped, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), depth[np.ix_(rows, columns)]


def _rectangle(
    shape: tuple[int, ...], share: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """Top, left, height, width: a random share of the area, a random height over width, anywhere that it fits.

    None if ten draws do not fit.
    """
    for _ in range(10):
        area = rng.uniform(*share) * shape[0] * shape[1]
        proportion = np.exp(rng.uniform(*np.log(ratio)))
        height, width = round(np.sqrt(area * proportion)), round(np.sqrt(area / proportion))
        if 0 < height <= shape[0] and 0 < width <= shape[1]:
            return int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1)), height, width
    return None


def turn_hue(image_rgb: np.ndarray, turns: float) -> np.ndarray:
    """Turn the hue of an (H, W, 3) uint8 image by a share of the colour circle: 1/3 makes red green."""
    hsv = cv2.cvtColor(image_rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turns) % 360
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


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


def _erase(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random erasing (Zhong et al. 2020): 2 to 25 % of the area, height to width 0.3 to 3.3, in ImageNet's mean."""
    rectangle = _rectangle(image.shape, (0.02, 0.25), (0.3, 3.3), rng)
    if rectangle is None:
        return image
    top, left, height, width = rectangle
    image = image.copy()
    image[top : top + height, left : left + width] = ERASED_RGB
    return image


def _noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise, which takes one of 256 values of equal likelihood: drawn as bytes, ten times as fast."""
    if sigma < 1:
        return image
    drawn = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
    noise = cv2.LUT(drawn, np.rint(sigma * _NORMAL_VALUES).astype(np.int16)[None])
    return cv2.add(image, noise, dtype=cv2.CV_8U)
