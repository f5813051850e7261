"""Heads compute what their papers say, and every one of them can be trained, configured and exported."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.aggregators import NetVLAD, k_means  # noqa: E402
from vpr_lab.network.heads import HEADS, GeM, Head, HeadConfig, build_head  # noqa: E402
from vpr_ros.base import config  # noqa: E402
from vpr_ros.base.errors import ConfigError  # noqa: E402

HEIGHT, WIDTH = 3, 5
# Kind, dimension asked for, dimension to expect of streams of 6 and 4 channels with 7 clusters.
SIZES = [
    ("average", 0, 10), ("average", 8, 8), ("gem", 0, 10), ("gem", 8, 8), ("mac", 0, 10), ("mac", 8, 8),
    ("netvlad", 0, 70), ("netvlad", 8, 8), ("mixvpr", 8, 8), ("concat_gem", 0, 10), ("concat_gem", 8, 8),
    ("attention", 0, 6), ("attention", 8, 8),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def head_of(kind: str, dimension: int = 0, channels: tuple[int, ...] = (6, 4), **options) -> Head:
    return build_head(HeadConfig(kind, dimension, clusters=7, mixers=2, **options), channels, HEIGHT, WIDTH).eval()


def maps(*channels: int, count: int = 3) -> list[torch.Tensor]:
    """Features as an encoder's last ReLU leaves them: (count, C, HEIGHT, WIDTH) for every C."""
    return [torch.randn(count, c, HEIGHT, WIDTH).relu() for c in channels]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def run(head: Head, *streams: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return head(*streams).numpy()


@pytest.mark.parametrize("local_norm", [False, True])
@pytest.mark.parametrize(("kind", "dimension", "expected"), SIZES)
def test_contract(kind: str, dimension: int, expected: int, local_norm: bool) -> None:
    """Index and losses rely on unit length and on ``dimension``; gradients must reach encoders and parameters."""
    head = head_of(kind, dimension, local_norm=local_norm)
    streams = [x.requires_grad_() for x in maps(6, 4)]
    head.initialise(*streams)
    descriptors = head(*streams)
    assert descriptors.shape == (3, expected) and head.dimension == expected and descriptors.dtype == torch.float32
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(3), atol=1e-5)
    (descriptors @ torch.randn(expected)).sum().backward()
    trained = [*streams, *(p for p in head.parameters() if p.requires_grad)]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)


@pytest.mark.parametrize(("kind", "dimension", "expected"), SIZES)
def test_exported_head_agrees(kind: str, dimension: int, expected: int, tmp_path: Path) -> None:
    """The robot runs the exported graph: it must give the same descriptors, for any batch."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    head = head_of(kind, dimension, local_norm=True)
    head.initialise(*maps(6, 4))
    names = {name: {0: "batch"} for name in ("image", "depth", "descriptor")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            head, tuple(maps(6, 4, count=1)), str(tmp_path / "head.onnx"), input_names=["image", "depth"],
            output_names=["descriptor"], dynamic_axes=names, opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    streams = maps(6, 4)
    (exported,) = session.run(None, {"image": streams[0].numpy(), "depth": streams[1].numpy()})
    assert (exported * run(head, *streams)).sum(1).min() > 0.9999


def test_gem_lies_between_average_and_maximum() -> None:
    """GeM is defined by these two limits; an exponent applied twice or an eps in the wrong place breaks one of them."""
    (features,) = maps(6)
    features += 0.1
    average, maximum = features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
    with torch.inference_mode():
        assert torch.allclose(GeM(1.0)(features), average, atol=1e-6)
        assert torch.allclose(GeM(60.0)(features), maximum, rtol=0.05)
        assert ((average < GeM()(features)) & (GeM()(features) < maximum)).all()


def test_pooled_heads_by_hand() -> None:
    """Average and MAC are one line of numpy; the order L2 -> Linear -> L2 decides what a bias of the Linear means."""
    streams = maps(6, 4)
    joined = torch.cat(streams, 1).numpy()
    assert np.allclose(run(head_of("average"), *streams), unit(joined.mean((2, 3))), atol=1e-6)
    assert np.allclose(run(head_of("mac"), *streams), unit(joined.max((2, 3))), atol=1e-6)
    head = head_of("gem", 8)
    pooled = unit((np.maximum(joined, 1e-6) ** 3).mean((2, 3)) ** (1 / 3))
    weight, bias = head.projection.weight.detach().numpy(), head.projection.bias.detach().numpy()
    assert np.allclose(run(head, *streams), unit(pooled @ weight.T + bias), atol=1e-5)


def test_local_norm_weighs_positions_and_streams_alike() -> None:
    """CrossLocate's normalisation: neither a bright spot nor a stream of large numbers may outvote the rest."""
    streams = maps(6, 4)
    scaled = [streams[0] * 1000, streams[1] * torch.rand(3, 1, HEIGHT, WIDTH).add(0.1)]
    head = head_of("mac", local_norm=True)
    assert np.allclose(run(head, *streams), run(head, *scaled), atol=1e-5)
    assert not np.allclose(run(head_of("mac"), *streams), run(head_of("mac"), *scaled), atol=1e-2)


def test_netvlad_by_hand() -> None:
    """The paper's formula, written as loops: soft assignment, residuals, intra-normalisation, then L2."""
    head = head_of("netvlad", channels=(6,))
    head.initialise(*maps(6, count=20))
    (features,) = maps(6, count=2)
    vlad = head.vlad
    centroids, weight, bias = (
        x.detach().numpy() for x in (vlad.centroids, vlad.assignment.weight, vlad.assignment.bias)
    )
    for image, descriptor in zip(features.numpy(), run(head, features), strict=True):
        sums = np.zeros((7, 6))
        for y in range(HEIGHT):
            for x in range(WIDTH):
                local = image[:, y, x] / max(np.linalg.norm(image[:, y, x]), 1e-12)
                scores = np.exp(weight @ local + bias)
                for k in range(7):
                    sums[k] += scores[k] / scores.sum() * (local - centroids[k])
        expected = unit(sums).ravel() / 7**0.5
        assert np.allclose(descriptor, expected, atol=1e-4)


def test_netvlad_starts_as_soft_k_means() -> None:
    """The assignment starts as 2 alpha c and -alpha |c|^2: a soft nearest word, a hundred times the second's weight."""
    head = head_of("netvlad", channels=(6,))
    (features,) = maps(6, count=20)
    head.initialise(features)
    with torch.inference_mode():
        local = head.vlad.local_features(features).flatten(0, 1)
        logits = head.vlad.assignment(local)
        distance = torch.cdist(local, head.vlad.centroids).square()
        ratio = logits.topk(2).values
        alpha = head.vlad.assignment.weight.norm() / head.vlad.centroids.norm() / 2
        difference = logits + alpha * distance  # what is left is the same for every word
    assert torch.allclose(difference, difference[:, :1].expand(-1, 7), atol=0.02)
    assert float((ratio[:, 0] - ratio[:, 1]).mean()) == pytest.approx(np.log(100), rel=0.02)
    with pytest.raises(ConfigError, match="fewer clusters"):
        build_head(HeadConfig("netvlad", clusters=64), [6], HEIGHT, WIDTH).initialise(*maps(6, count=2))


def test_k_means_is_as_good_as_scikit_learn() -> None:
    """Visual words come from our own ten lines; they must leave hardly more error than a library's best of several."""
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    samples = torch.nn.functional.normalize(torch.randn(3000, 16), dim=1)
    centroids = k_means(samples, 32)
    inertia = float(torch.cdist(samples, centroids).square().min(1).values.sum())
    reference = cluster.KMeans(32, n_init=3, random_state=0).fit(samples.numpy()).inertia_
    assert inertia < 1.03 * reference


def test_projecting_netvlad_keeps_its_names() -> None:
    """Checkpoints of the shipped network hold NetVLAD by these names; the paper's variant has no projection to hold."""
    shipped = {"projection.weight", "projection.bias", "assignment.weight", "assignment.bias", "centroids"}
    assert set(NetVLAD(6, 7, 4).state_dict()) == shipped
    assert set(NetVLAD(6, 7).state_dict()) == {name for name in shipped if not name.startswith("projection")}


def test_mixvpr_is_the_papers() -> None:
    """Mixers, then dimension / 4 channels times 4 rows; no learned offset, and only the size it was built for."""
    head = head_of("mixvpr", 32)
    assert head.mix.channel_projection.out_features == 8 and head.mix.row_projection.out_features == 4
    assert not head.mix.offset.requires_grad and not head.mix.offset.any()
    streams = maps(6, 4)
    x = torch.cat(streams, 1).flatten(2)
    with torch.inference_mode():
        for mixer in head.mix.mixers:
            hidden = torch.nn.functional.layer_norm(x, (15,), mixer.norm.weight, mixer.norm.bias)
            hidden = (hidden @ mixer.first.weight.T + mixer.first.bias).clamp(min=0)
            x = x + hidden @ mixer.second.weight.T + mixer.second.bias
        x = head.mix.channel_projection.weight @ x + head.mix.channel_projection.bias[:, None]
        x = x @ head.mix.row_projection.weight.T + head.mix.row_projection.bias
    assert np.allclose(run(head, *streams), unit(x.flatten(1).numpy()), atol=1e-5)
    with pytest.raises(ConfigError, match="3 x 5, not 4 x 4"):
        head(torch.zeros(1, 6, 4, 4), torch.zeros(1, 4, 4, 4))
    with pytest.raises(ConfigError, match="multiple of 4"):
        head_of("mixvpr")


def test_concat_gem_pools_streams_apart() -> None:
    """Each stream has its own exponent: depth may want its maximum where the image wants its average."""
    head = head_of("concat_gem")
    streams = maps(6, 4)
    with torch.no_grad():
        head.pools[0].p.fill_(1.0)
        head.pools[1].p.fill_(2.0)
    image, depth = (x.numpy() for x in streams)
    expected = np.concatenate((image.mean((2, 3)), (depth**2).mean((2, 3)) ** 0.5), axis=1)
    assert np.allclose(run(head, *streams), unit(expected), atol=1e-4)


def test_attention_by_hand() -> None:
    """Worked for maps of one position, where a padded 3 x 3 convolution is its middle: both streams steer the map."""
    head = build_head(HeadConfig("attention"), [6, 4], 1, 1).eval()
    image, depth = torch.randn(2, 6, 1, 1), torch.randn(2, 4, 1, 1)
    first, second = (
        np.maximum(x[:, :, 0, 0].numpy() @ c.weight[:, :, 1, 1].detach().numpy().T + c.bias.detach().numpy(), 0)
        for c, x in zip(head.reductions, (image, depth), strict=True)
    )
    assert first.shape == (2, 64)
    scores = (first * second) @ head.compare.weight[:, :, 0, 0].detach().numpy().T + head.compare.bias.detach().numpy()
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert shares.shape == (2, 4)
    merged = shares @ head.merge.weight[:, :, 0, 0].detach().numpy().T + head.merge.bias.detach().numpy()
    with torch.inference_mode():
        assert np.allclose(head.attend(image, depth)[:, :, 0, 0].numpy(), 1 / (1 + np.exp(-merged)), atol=1e-5)


def test_attention_weighs_the_image_alone() -> None:
    """Depth says where to look and is no part of the descriptor; with nothing to tell positions apart GeM is left."""
    head = head_of("attention")
    streams = maps(6, 4)
    with torch.no_grad():
        head.merge.weight.zero_()
    assert np.allclose(run(head, *streams), run(head_of("gem", channels=(6,)), streams[0]), atol=1e-5)
    with pytest.raises(ConfigError, match="two streams"):
        head_of("attention", channels=(6,))


def test_mistakes_are_named() -> None:
    """A wrong name in a recipe gets one sentence with the right ones, from the file and from code alike."""
    with pytest.raises(ConfigError, match="netvlad"):
        config.from_dict(HeadConfig, {"kind": "vlad"})
    with pytest.raises(ConfigError, match="netvlad"):
        build_head(HeadConfig("vlad"), [6], HEIGHT, WIDTH)
    assert {kind for kind, _, _ in SIZES} == set(HEADS)


def test_cosplace_projects_what_it_pooled_as_it_is() -> None:
    """Its order is L2, GeM, projection, L2: a norm before the projection would weigh its bias by another length."""
    torch.manual_seed(0)
    head = build_head(HeadConfig(kind="gem", dimension=6, local_norm=True, pooled_norm=False), [8], 4, 4)
    maps = torch.rand(3, 8, 4, 4)
    pooled = head.pool(torch.nn.functional.normalize(maps, dim=1)).flatten(1)
    assert torch.allclose(head(maps), torch.nn.functional.normalize(head.projection(pooled), dim=1), atol=1e-6)
