"""Train GeoWarp's regression: on pairs of views cut from one image, and on pairs of images of one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.geowarp import GeoWarp, dense, homography, project, warp
from vpr_lab.training.datasets import Place, Shard, find_places
from vpr_ros.base.config import option
from vpr_ros.base.errors import DriveError


@dataclass(frozen=True)
class GeoWarpSettings:
    """How GeoWarp is trained. A weight of zero leaves its loss out; only the first needs no places."""

    steps: int = option(2000, "batches; the paper takes 50 000", low=1)
    batch: int = option(16, "pairs of views, and pairs of images, in a batch", low=2)
    lr: float = option(1e-4, "Adam's learning rate", low=0.0, high=1.0)
    k: float = option(0.6, "maximum inset of the sides of a view, as a fraction of half the image", low=0.0, high=0.9)
    point_weight: float = option(1.0, "of the squared error of the corners, pairs of views", low=0.0)
    feature_weight: float = option(10.0, "of the squared difference of warped features, pairs of images", low=0.0)
    consistency_weight: float = option(0.1, "of what changes when the images of a pair are swapped", low=0.0)
    place_spacing_m: float = option(5.0, "minimum distance between two places", "m", low=0.1)
    place_radius_m: float = option(10.0, "maximum distance of images from their place", "m", low=0.1)


def train_geowarp(
    backbone: nn.Module, shards: Sequence[Shard], settings: GeoWarpSettings | None = None, seed: int = 0
) -> GeoWarp:
    """GeoWarp for a frozen backbone, in eval mode, on the backbone's device.

    backbone: (B, H, W, 3) uint8 -> Pyramid, of which ``place`` is compared. shards: cached drives, of the same streets
    where images are paired. The published code also mirrors the pairs, and takes those that retrieval already finds.
    Raises DriveError if no place is seen by two drives and a weight asks for such pairs.
    """
    settings = settings or GeoWarpSettings()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    paired = settings.feature_weight > 0 or settings.consistency_weight > 0
    places = find_places(shards, settings.place_spacing_m, settings.place_radius_m) if paired else []
    if paired and not places:
        raise DriveError("no place is seen by two drives: train on drives of the same streets, or on views alone")
    device = next(backbone.parameters()).device
    backbone.eval()
    geowarp = GeoWarp().to(device).train()
    optimiser = torch.optim.Adam(geowarp.parameters(), lr=settings.lr)
    sums: dict[str, float] = {}
    console = Console(stderr=True)
    for _ in track(range(settings.steps), "geowarp", console=console):
        first, second, truth = view_pairs(draw_images(shards, settings.batch, rng).to(device), settings.k, rng)
        terms = {"points": point_loss(geowarp, encode(backbone, first), encode(backbone, second), truth)}
        loss = settings.point_weight * terms["points"]
        if paired:
            query, positive = (images.to(device) for images in draw_pairs(shards, places, settings.batch, rng))
            terms.update(pair_losses(geowarp, encode(backbone, query), encode(backbone, positive)))
            loss = loss + settings.feature_weight * terms["features"]
            loss = loss + settings.consistency_weight * terms["consistency"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach()) / settings.steps
    console.print("geowarp, mean losses: " + ", ".join(f"{name} {value:.4f}" for name, value in sums.items()))
    return geowarp.eval()


@torch.no_grad()
def encode(backbone: nn.Module, images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> the features that are compared, (B, C, h, w)."""
    return backbone(images).place.float()


def point_loss(geowarp: GeoWarp, first: Tensor, second: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the corners, summed over both images and both orders, as published.

    first, second: (B, C, h, w) features of two views; truth: (B, 2, 4, 2).
    """
    forth, back = geowarp.regression(first, second), geowarp.regression(second, first)
    return 2 * (F.mse_loss(forth, truth) + F.mse_loss(back, truth.flip(1)))


def pair_losses(geowarp: GeoWarp, query: Tensor, positive: Tensor) -> dict[str, Tensor]:
    """Features of two images of each place, (B, C, h, w) -> what needs no true corners.

    features: mean squared difference of the warped maps. consistency: of each order's corners from those of both.
    """
    forth, back = geowarp.regression(query, positive), geowarp.regression(positive, query).flip(1)
    mean = (forth + back) / 2
    warped = dense(warp(query, mean[:, 0])), dense(warp(positive, mean[:, 1]))
    agreed = mean.detach()
    return {
        "features": F.mse_loss(*warped),
        "consistency": F.mse_loss(forth, agreed) + F.mse_loss(back, agreed),
    }


def view_pairs(images: Tensor, k: float, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H, W, 3) uint8 -> two views of each, of the same shape, and where in each the other one is seen.

    A view is a random trapezoid of the image stretched to the whole frame. The third, (B, 2, 4, 2), are the
    quadrilaterals of the two views that show what both show.
    """
    first, second = (random_trapezoids(len(images), k, rng).to(images.device) for _ in range(2))
    shared = intersection(first, second)
    pictures = images.permute(0, 3, 1, 2).float()
    views = [warp(pictures, view).round().to(torch.uint8).permute(0, 2, 3, 1) for view in (first, second)]
    truth = [project(torch.linalg.inv(homography(view)), shared) for view in (first, second)]
    return views[0], views[1], torch.stack(truth, dim=1)


def random_trapezoids(count: int, k: float, rng: np.random.Generator) -> Tensor:
    """(count, 4, 2) with upright left and right sides; x and y of every corner lie at +-(1 - k) .. 1."""
    out = 1 - k * rng.random((count, 6))
    left, right = -out[:, 0], out[:, 1]
    corners = [(left, -out[:, 2]), (right, -out[:, 3]), (right, out[:, 4]), (left, out[:, 5])]
    return torch.from_numpy(np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)).float()


def intersection(first: Tensor, second: Tensor) -> Tensor:
    """Two trapezoids with upright sides, (B, 4, 2) each -> (B, 4, 2), the trapezoid between the corners of what both
    cover.

    If two slanting sides cross, a sliver of what both cover is left out, as in the published code.
    """
    both = torch.stack((first, second))
    left, right = both[:, :, 0, 0].amax(0), both[:, :, 1, 0].amin(0)
    corners = []
    for x, start, end, inner in ((left, 0, 1, "top"), (right, 0, 1, "top"), (right, 3, 2, "low"), (left, 3, 2, "low")):
        share = (x - both[:, :, start, 0]) / (both[:, :, end, 0] - both[:, :, start, 0])
        y = both[:, :, start, 1] + share * (both[:, :, end, 1] - both[:, :, start, 1])
        corners.append(torch.stack((x, y.amax(0) if inner == "top" else y.amin(0)), dim=1))
    return torch.stack(corners, dim=1)


def draw_images(shards: Sequence[Shard], count: int, rng: np.random.Generator) -> Tensor:
    """(count, H, W, 3) uint8: random images of all drives."""
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    numbers = rng.integers(starts[-1], size=count)
    drives = np.searchsorted(starts, numbers, side="right") - 1
    images = [shards[drive].images[number - starts[drive]] for drive, number in zip(drives, numbers, strict=True)]
    return torch.from_numpy(np.stack(images))


def draw_pairs(
    shards: Sequence[Shard], places: Sequence[Place], count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """(count, H, W, 3) uint8 twice: random places, each seen by two different drives."""
    pairs: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number in rng.integers(len(places), size=count):
        members = places[number].members
        order = [members[i] for i in rng.permutation(len(members))]
        other = next(member for member in order if member[0] != order[0][0])
        for images, (shard, row) in zip(pairs, (order[0], other), strict=True):
            images.append(shards[shard].images[row])
    first, second = (torch.from_numpy(np.stack(images)) for images in pairs)
    return first, second
