"""Adapting to an unlabelled appearance: day images made to look like the target's, and features that hide their domain.

Fourier domain adaptation (Yang and Soatto 2020) gives a source image the target's low frequencies; a domain classifier
behind a gradient reversal (Ganin and Lempitsky 2015) makes the encoder forget which domain an image is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vpr_lab.training.augment import Augmentation, augment
from vpr_lab.training.datasets import Shard
from vpr_ros.base.config import option
from vpr_ros.base.errors import DriveError

SOURCE, PSEUDO_TARGET, TARGET = 0, 1, 2
DOMAINS = 3
NIGHT_SATURATION = 0.7
NIGHT_TINT_RGB = (180, 219, 255)


@dataclass(frozen=True)
class Adaptation:
    """How training images are brought closer to the target domain; the defaults are CosPlace-Extended's."""

    fourier_share: float = option(1 / 3, "fraction of each batch that is adapted to the target", low=0.0, high=1.0)
    beta: float = option(0.0025, "half-width of the swapped frequencies over the smaller side", low=0.0, high=0.5)
    night_tint: bool = option(True, "give adapted images the pale and cold tint of night too")
    target_images: int = option(16, "target images added to each batch, for the domain classifier", low=1)
    reversal_weight: float = option(0.1, "weight of the domain classifier's loss, 0: no classifier", low=0.0)
    reversal_lambda: float = option(1.0, "the encoder gets the classifier's gradient times minus this", low=0.0)


def fourier_adapt(image_rgb: np.ndarray, target_rgb: np.ndarray, beta: float = 0.0025) -> np.ndarray:
    """An image with the low-frequency amplitudes of another one, its own phases and its own high frequencies.

    Both (H, W, 3) uint8, the target resized if its size differs; values beyond 0..255 are clipped. The frequencies
    -b..b of both axes are swapped, b = floor(beta min(H, W)): at least the constant term, each channel's mean. With
    the published beta of 0.0025 that is all below 400 px; at 224 px more is swapped from a beta of 1/224 on.
    """
    height, width = image_rgb.shape[:2]
    target = _resized(target_rgb, height, width)
    spectrum = np.fft.rfft2(image_rgb, axes=(0, 1))
    half_width = int(beta * min(height, width))
    window = np.ix_(np.arange(-half_width, half_width + 1), np.arange(half_width + 1))
    amplitude = np.abs(np.fft.rfft2(target, axes=(0, 1))[window])
    spectrum[window] = amplitude * np.exp(1j * np.angle(spectrum[window]))
    adapted = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.clip(np.rint(adapted), 0, 255).astype(np.uint8)


def night_tint(image_rgb: np.ndarray) -> np.ndarray:
    """A paler, colder image: 0.7 of the saturation (the rest is luminance, ITU-R BT.601), then a blue tint. uint8."""
    paler = NIGHT_SATURATION * np.eye(3) + (1 - NIGHT_SATURATION) * np.array([0.299, 0.587, 0.114])
    return cv2.transform(image_rgb, np.array(NIGHT_TINT_RGB)[:, None] / 255 * paler)


def brighten(image_rgb: np.ndarray, factor: float) -> np.ndarray:
    """Multiply brightness: a factor of 0.15 darkens a day image, 1 leaves it alone. Any shape, uint8.

    The brightness filter of a night test: database images taken by day go through it before they are described
    (0.1 to 0.4; 0.15 was chosen), night queries do not. A blend with black, torchvision's adjust_brightness.
    """
    return np.clip(np.rint(image_rgb * np.float32(factor)), 0, 255).astype(np.uint8)


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by minus strength."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """x itself, for whom what comes after minimises but what comes before maximises."""
    return GradientReversal.apply(x, strength)


class DomainClassifier(nn.Module):
    """Tells an image's domain from its features, while the gradient it sends back teaches them not to show it.

    Features (B, C, h, w) are averaged over positions; then layers of 50 and 20 units and one output a domain.
    """

    def __init__(self, channels: int, domains: int = DOMAINS, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength
        self.layers = nn.Sequential(
            nn.Linear(channels, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, domains)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, domains)."""
        return self.layers(reverse_gradient(features.mean((2, 3)), self.strength))

    def loss(self, features: Tensor, domains: Tensor) -> Tensor:
        """Mean cross entropy against the domains (B,), int64."""
        return nn.functional.cross_entropy(self(features), domains)


class Batches(Protocol):
    """What PlaceBatches and ClassBatches have in common: batch i depends on (seed, epoch, i) alone."""

    epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> dict[str, Tensor]: ...


class AdaptedBatches(Dataset[dict[str, Tensor]]):
    """Batches of which a fraction looks like the target domain, with unlabelled images of the target added.

    All three domains are there for a domain classifier: source, pseudo-target (source images with the target's look)
    and target. What is drawn depends on (seed, epoch, number) alone. Target images go through the augmentation the
    base's images went through, if given: else its traces would tell the domains apart.
    Raises DriveError if the target has no images.
    """

    def __init__(
        self,
        base: Batches,
        targets: Sequence[Shard],
        adaptation: Adaptation,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.base, self.targets, self.adaptation = base, targets, adaptation
        self.augmentation, self.seed = augmentation, seed
        self._frames = [(shard, row) for shard, target in enumerate(targets) for row in range(len(target))]
        if not self._frames:
            raise DriveError(
                "domain adaptation has no target images: add a drive with a condition in target_conditions"
            )

    @property
    def epoch(self) -> int:
        """The base's epoch."""
        return self.base.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.base.epoch = epoch

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """The base's batch with some images (B, H, W, 3) adapted, and two more entries.

        domain_images (M, H, W, 3) uint8, of the target; domains (B + M,) int64, of the batch's images, then of those.
        """
        batch = self.base[number]
        rng = np.random.default_rng((self.seed, self.epoch, number, 3))
        images = batch["images"].numpy().copy()
        height, width = images.shape[1:3]
        domains = np.full(len(images), SOURCE, np.int64)
        share = self.adaptation.fourier_share
        for i in rng.permutation(len(images))[: max(1, round(share * len(images))) if share > 0 else 0]:
            target, _ = self._draw_target(rng)
            images[i] = fourier_adapt(images[i], target, self.adaptation.beta)
            if self.adaptation.night_tint:
                images[i] = night_tint(images[i])
            domains[i] = PSEUDO_TARGET
        beside = [self._draw_target(rng) for _ in range(self.adaptation.target_images)]
        if self.augmentation is not None:
            beside = [augment(*frame, self.augmentation, rng) for frame in beside]
        return {
            **batch,
            "images": torch.from_numpy(images),
            "domain_images": torch.from_numpy(np.stack([_resized(image, height, width) for image, _ in beside])),
            "domains": torch.from_numpy(np.append(domains, [TARGET] * len(beside))),
        }

    def _draw_target(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Image and depth of any frame of the target."""
        shard, row = self._frames[rng.integers(len(self._frames))]
        return self.targets[shard].images[row], self.targets[shard].depth[row]


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image at a size; itself if it has that size."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
