"""GeoWarp's training pairs have the corners they claim, and training finds them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.backbones import Pyramid  # noqa: E402
from vpr_lab.network.geowarp import GeoWarp, warp  # noqa: E402
from vpr_lab.training.datasets import Shard, find_places  # noqa: E402
from vpr_lab.training.geowarp import (  # noqa: E402
    GeoWarpSettings,
    draw_images,
    draw_pairs,
    encode,
    intersection,
    pair_losses,
    point_loss,
    random_trapezoids,
    train_geowarp,
    view_pairs,
)
from vpr_ros.base import config  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError  # noqa: E402

SIZE = 60


class Patches(torch.nn.Module):
    """Every 4 x 4 pixels' colour through fixed random filters: features that say what is where."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = torch.nn.Conv2d(3, 16, 1)
        torch.nn.init.normal_(self.filters.weight, std=3.0, generator=torch.Generator().manual_seed(0))
        torch.nn.init.zeros_(self.filters.bias)

    def forward(self, images: torch.Tensor) -> Pyramid:
        pooled = torch.nn.functional.avg_pool2d(images.float().permute(0, 3, 1, 2) / 127.5 - 1, 4)
        return Pyramid(pooled, pooled, pooled, torch.sin(self.filters(pooled)))


def town(conditions: tuple[str, ...] = ("sun", "night"), frames: int = 6) -> list[Shard]:
    """Drives along one street. A place has its own coloured blocks, a condition its brightness."""
    position = np.stack((30.0 * np.arange(frames), np.zeros(frames), np.zeros(frames)), axis=1)
    coarse = np.random.default_rng(0).integers(0, 255, (frames, 5, 5, 3))
    images = coarse.repeat(SIZE // 5, 1).repeat(SIZE // 5, 2)
    depth = np.zeros((frames, SIZE // 4, SIZE // 4), np.float16)
    return [
        Shard("town", f"drive_{name}", (images * gain).astype(np.uint8), depth, position, np.zeros(frames))
        for name, gain in zip(conditions, (1.0, 0.7, 0.5), strict=False)
    ]


def test_trapezoids_lie_in_the_image_with_upright_sides() -> None:
    """k says how hard the pairs are: 0 is the whole image, and no corner may come nearer than 1 - k to the axes."""
    whole = random_trapezoids(2, 0.0, np.random.default_rng(0))
    assert whole.tolist() == [[[-1, -1], [1, -1], [1, 1], [-1, 1]]] * 2
    drawn = random_trapezoids(500, 0.6, np.random.default_rng(0))
    assert (drawn.abs() <= 1).all() and (drawn.abs() >= 0.4 - 1e-6).all() and drawn.abs().min() < 0.42
    assert torch.equal(drawn[:, 0, 0], drawn[:, 3, 0]) and torch.equal(drawn[:, 1, 0], drawn[:, 2, 0])
    assert torch.equal(drawn.sign(), whole.sign()[:1].expand(500, 4, 2))


def test_intersection_by_hand() -> None:
    """The truth of training is what two views share: of a box and a wedge it can be drawn on paper."""
    box = torch.tensor([[[-0.5, -0.5], [1.0, -0.5], [1.0, 0.5], [-0.5, 0.5]]])
    wedge = torch.tensor([[[-1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]]])
    # At x = -0.5 the wedge's upper side is at -0.75, above the box's; at x = 1 it is at 0, below it.
    expected = torch.tensor([[[-0.5, -0.5], [1.0, 0.0], [1.0, 0.5], [-0.5, 0.5]]])
    assert torch.allclose(intersection(box, wedge), expected) and torch.allclose(intersection(wedge, box), expected)
    assert torch.allclose(intersection(wedge, wedge), wedge)


def test_views_show_the_same_through_their_true_corners() -> None:
    """Wrong corners would teach a wrong warp: each view, warped by its own, must show the same pixels.

    A gradient has another colour at every place and survives being sampled twice.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (255 / (SIZE - 1))
    image = np.stack((x, y, (x + y) / 2), axis=2).astype(np.uint8)
    images = torch.from_numpy(image)[None].expand(8, -1, -1, -1)
    first, second, truth = view_pairs(images, 0.6, np.random.default_rng(1))
    assert first.shape == images.shape and first.dtype == torch.uint8 and (truth.abs() <= 1 + 1e-4).all()
    shown = [
        warp(view.permute(0, 3, 1, 2), corners)[:, :, 2:-2, 2:-2]
        for view, corners in ((first, truth[:, 0]), (second, truth[:, 1]))
    ]
    assert (shown[0] - shown[1]).abs().mean() < 1.0 and (shown[0] - shown[1]).abs().max() < 6
    assert (first.float() - second.float()).abs().mean() > 10  # unwarped they differ


def test_pairs_show_one_place_in_two_drives() -> None:
    """Two images of different places would teach GeoWarp to see agreement where there is none."""
    shards = town(("sun", "night", "rain"))
    query, positive = draw_pairs(shards, find_places(shards), 30, np.random.default_rng(0))
    brightness = [images.float().mean((1, 2, 3), keepdim=True) for images in (query, positive)]
    assert ((brightness[0] - brightness[1]).abs() > 5).all()  # never twice the same drive
    assert (query / brightness[0] - positive / brightness[1]).abs().max() < 0.1  # always the same place
    assert draw_images(shards, 7, np.random.default_rng(0)).shape == (7, SIZE, SIZE, 3)


def test_training_finds_corners() -> None:
    """A few steps on a small town must bring the corners nearer to the truth than the whole images are.

    The backbone is frozen: it must come out as it went in. The same seed must give the same weights.
    """
    shards, backbone = town(), Patches()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    settings = GeoWarpSettings(steps=40, batch=4, lr=3e-4)
    trained = train_geowarp(backbone, shards, settings)
    assert not trained.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())

    rng = np.random.default_rng(9)
    first, second, truth = view_pairs(draw_images(shards, 32, rng), 0.6, rng)
    views = encode(backbone, first), encode(backbone, second)
    with torch.inference_mode():
        assert point_loss(trained, *views, truth) < 0.9 * point_loss(GeoWarp().eval(), *views, truth)
    again, same = (train_geowarp(backbone, shards, GeoWarpSettings(steps=2, batch=2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), same.state_dict().values(), strict=True))


@torch.no_grad()
def test_pair_losses_by_hand() -> None:
    """Equal images that are not warped agree and lose nothing; different ones lose by their features alone."""
    torch.manual_seed(0)
    features = torch.randn(2, 16, 15, 15)
    alike, unlike = (pair_losses(GeoWarp().eval(), features, other) for other in (features, -features))
    assert alike["features"] == pytest.approx(0.0, abs=1e-6) and alike["consistency"] == 0
    # Opposite vectors of unit length lie 2 apart: 4 over 16 channels.
    assert unlike["features"] == pytest.approx(4 / 16, rel=1e-3) and unlike["consistency"] == 0
    uneven = GeoWarp().eval()
    with torch.no_grad():
        uneven.regression.linear.bias[0] += 0.2  # x of the first image's first corner, whichever image comes first
    # It is 0.2 off in each order, so each of two of 16 numbers is 0.1 from the mean of both.
    consistency = pair_losses(uneven, features, features)["consistency"]
    assert consistency == pytest.approx(2 * 2 * 0.1**2 / 16, rel=1e-3)


def test_mistakes_are_named() -> None:
    """Without places there are no pairs of images: the user is told, and can train on views alone."""
    alone = town()[:1]
    with pytest.raises(DriveError, match="seen by two drives"):
        train_geowarp(Patches(), alone, GeoWarpSettings(steps=1, batch=2))
    views_alone = GeoWarpSettings(steps=1, batch=2, feature_weight=0, consistency_weight=0)
    assert isinstance(train_geowarp(Patches(), alone, views_alone), GeoWarp)
    with pytest.raises(ConfigError, match="k is"):
        config.from_dict(GeoWarpSettings, {"k": 1.5})
