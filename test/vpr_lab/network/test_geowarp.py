"""GeoWarp's geometry is right, its regression starts at the whole image, and what is exported is what was trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.geowarp import (  # noqa: E402
    WHOLE_IMAGE,
    GeoWarp,
    WarpRegression,
    dense,
    homography,
    project,
    similarity_volume,
    warp,
)

WHOLE = torch.tensor([WHOLE_IMAGE])


def trapezoids(count: int, seed: int = 0) -> torch.Tensor:
    """Convex quadrilaterals: the whole image with every corner moved by up to 0.4."""
    shift = torch.rand((count, 4, 2), generator=torch.Generator().manual_seed(seed)) * 0.8 - 0.4
    return WHOLE * 0.8 + shift


def test_whole_image_warps_to_itself() -> None:
    """An untrained GeoWarp must change nothing: the warp of the whole frame is the identity, at any size."""
    for height, width in ((15, 15), (14, 14), (5, 9)):
        images = torch.rand(2, 3, height, width)
        assert torch.allclose(warp(images, WHOLE.expand(2, 4, 2)), images, atol=1e-5)


def test_warp_by_hand() -> None:
    """Corners lie on the outer edges of the image: a quarter, a mirrored and a shifted image are known exactly."""
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    top_left = torch.tensor([[[-1.0, -1.0], [0.0, -1.0], [0.0, 0.0], [-1.0, 0.0]]])
    # The 4 x 4 quarter on 8 x 8: the pixel in the second row and column lies a quarter of a pixel from the first's
    # centre, that is at (0.25, 0.25), where the value is 0.25 * 8 + 0.25.
    quarter = warp(image, top_left)[0, 0]
    assert quarter[1, 1] == pytest.approx(2.25, abs=1e-4) and quarter[2, 1] == pytest.approx(0.75 * 8 + 0.25, abs=1e-4)
    # Two pixels to the right is 0.5 in units of half the width; the last two columns repeat the edge.
    shifted = warp(image, WHOLE + torch.tensor([0.5, 0.0]))[0, 0]
    assert torch.allclose(shifted[:, :6], image[0, 0, :, 2:], atol=1e-4)
    assert torch.allclose(shifted[:, 6:], image[0, 0, :, 7:].expand(8, 2), atol=1e-4)
    mirrored = warp(image, WHOLE[:, [1, 0, 3, 2]])[0, 0]
    assert torch.allclose(mirrored, image[0, 0].flip(1), atol=1e-4)


def test_homography_takes_corners_to_corners() -> None:
    """Four points fix a homography: the frame's corners must land on the quadrilateral's, also of a folded one."""
    quadrilaterals = trapezoids(20)
    assert torch.allclose(project(homography(quadrilaterals), WHOLE), quadrilaterals, atol=1e-5)
    folded = torch.zeros(1, 4, 2, requires_grad=True)
    warp(torch.rand(1, 1, 4, 4), folded).sum().backward()
    assert torch.isfinite(folded.grad).all()


def test_homography_and_warp_are_kornias() -> None:
    """The closed form and the sampling must agree with an implementation that solves the equations."""
    kornia = pytest.importorskip("kornia", reason="kornia is not installed")
    quadrilaterals, size = trapezoids(10), 40
    solved = kornia.geometry.transform.get_perspective_transform(WHOLE.expand(10, 4, 2), quadrilaterals)
    ours = homography(quadrilaterals)
    assert torch.allclose(ours / ours[:, 2:, 2:], solved, atol=1e-4)
    images = torch.nn.functional.avg_pool2d(torch.rand(10, 3, size + 4, size + 4), 5, 1)
    pixels = [(corners + 1) * size / 2 - 0.5 for corners in (quadrilaterals, WHOLE.expand(10, 4, 2))]
    matrix = kornia.geometry.transform.get_perspective_transform(*pixels)
    theirs = kornia.geometry.transform.warp_perspective(
        images, matrix, (size, size), padding_mode="border", align_corners=True
    )
    assert torch.allclose(warp(images, quadrilaterals), theirs, atol=1e-3)


def test_dense_pools_as_adaptive_pooling_does() -> None:
    """Pooling is written as two matrices so that it exports; it must stay adaptive average pooling, at unit length."""
    for height, width in ((14, 14), (15, 15), (7, 32), (1, 1)):
        features = torch.rand(2, 6, height, width)
        expected = torch.nn.functional.normalize(torch.nn.functional.adaptive_avg_pool2d(features, 15), dim=1)
        assert torch.allclose(dense(features), expected, atol=1e-5)


def test_similarity_volume_by_hand() -> None:
    """Channel i at position j must be the cosine of the first's i and the second's j, without negative ones."""
    first, second = torch.zeros(1, 2, 15, 15), torch.zeros(1, 2, 15, 15)
    first[0, 0, 0, 1] = 1  # position 1 of the first looks like ...
    second[0, 0, 2, 3] = 1  # ... row 2, column 3 of the second
    first[0, 1, 4, 0], second[0, 1, 2, 4] = 1, -1
    volume = similarity_volume(first, second)
    assert volume.shape == (1, 225, 15, 15) and volume[0, 1, 2, 3] == pytest.approx(1.0)
    assert volume.sum() == pytest.approx(1.0)


def test_regression_starts_at_the_whole_images() -> None:
    """Six convolutions padded by one must leave one position, and a start anywhere else would warp at random."""
    regression = WarpRegression()
    assert regression.convolutions(torch.rand(2, 225, 15, 15)).shape == (2, 64, 1, 1)
    start = regression(torch.rand(3, 8, 14, 14), torch.rand(3, 8, 7, 20))
    assert start.shape == (3, 2, 4, 2) and torch.equal(start, WHOLE.expand(3, 2, 4, 2))


def trained_like(seed: int = 0) -> GeoWarp:
    """A GeoWarp whose quadrilaterals depend on what it is shown."""
    torch.manual_seed(seed)
    geowarp = GeoWarp().eval()
    torch.nn.init.normal_(geowarp.regression.linear.weight, std=0.5)
    return geowarp


def test_score_is_highest_for_the_same_image_and_the_same_both_ways() -> None:
    """Re-ranking compares scores of many references: they must lie in -1..1 and not depend on the order of a pair."""
    images = torch.randn(4, 16, 14, 14)
    with torch.inference_mode():
        same = GeoWarp().eval().score(images, images)
        other = GeoWarp().eval().score(images, images.roll(1, 0))
        assert torch.allclose(same, torch.ones(4), atol=1e-5) and (other < 0.5).all()
        geowarp = trained_like()
        assert not torch.allclose(geowarp.quadrilaterals(images, images.roll(1, 0)), WHOLE, atol=0.01)
        forth, back = geowarp.score(images, images.roll(1, 0)), geowarp.score(images.roll(1, 0), images)
        assert torch.allclose(forth, back, atol=1e-5) and (forth.abs() <= 1).all()


def test_exported_score_is_torchs(tmp_path: Path) -> None:
    """The robot runs the exported network: any number of pairs must score there as they do here."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    geowarp, path = trained_like(), tmp_path / "geowarp.onnx"
    maps = {"query": torch.randn(3, 16, 14, 14), "reference": torch.randn(3, 16, 14, 14)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            geowarp,
            tuple(features[:2] for features in maps.values()),
            str(path),
            input_names=list(maps),
            output_names=["score"],
            dynamic_axes={name: {0: "batch"} for name in (*maps, "score")},
            opset_version=16,
            dynamo=False,
        )
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {name: features.numpy() for name, features in maps.items()})
    with torch.inference_mode():
        assert np.allclose(scores, geowarp(**maps).numpy(), atol=1e-5)
