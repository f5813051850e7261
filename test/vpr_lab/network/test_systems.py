"""Systems with depth: which loss reaches which part, and what a depth encoder sees."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.build import build_network  # noqa: E402
from vpr_lab.network.config import NetworkConfig  # noqa: E402
from vpr_lab.network.depth import VIEWS, log_depth_from_metres  # noqa: E402
from vpr_lab.network.heads import HeadConfig  # noqa: E402

IMAGES = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("taught_by", "place_reaches_decoder", "depth_reaches_encoder"),
    [("depth", False, False), ("both", True, True), ("place", True, None)],
)
def test_losses_reach_what_they_are_to_teach(
    taught_by: str, place_reaches_decoder: bool, depth_reaches_encoder: bool | None
) -> None:
    """Apart, depth stays depth and the encoder keeps what it knows; RGB+ tells no depth at all."""
    head = HeadConfig(kind="average", dimension=8)
    network = build_network(NetworkConfig("two_streams", "mobilenet_v1", head=head, depth_taught_by=taught_by))
    decoder, first = network.depth_decoder.head.weight, next(network.backbone.parameters())

    output = network.analyse(IMAGES)
    place = torch.autograd.grad(output.descriptors[:, 0].sum(), decoder, allow_unused=True, retain_graph=True)[0]
    assert (place is not None and bool(place.abs().max() > 0)) == place_reaches_decoder
    if depth_reaches_encoder is None:
        assert output.log_depth is None and not network.hallucinates
    else:
        depth = torch.autograd.grad(output.log_depth.sum(), first, allow_unused=True)[0]
        assert (depth is not None) == depth_reaches_encoder


def test_a_depth_network_apart_is_touched_by_no_place() -> None:
    """It is to stay what it learnt of depth, and the image encoder what it learnt of places."""
    head = HeadConfig(kind="average", dimension=8)
    network = build_network(NetworkConfig("rgbtd", "mobilenet_v1", decoder_backbone="mobilenet_v1", head=head))
    output = network.analyse(IMAGES)
    apart, shared = next(network.decoder_backbone.parameters()), next(network.backbone.parameters())

    def reaches(loss: torch.Tensor, weight: torch.Tensor) -> bool:
        gradient = torch.autograd.grad(loss, weight, allow_unused=True, retain_graph=True)[0]
        return gradient is not None and bool(gradient.abs().max() > 0)

    assert reaches(output.log_depth.sum(), apart) and not reaches(output.log_depth.sum(), shared)
    assert reaches(output.descriptors[:, 0].sum(), shared) and not reaches(output.descriptors[:, 0].sum(), apart)


def test_views_of_depth_by_hand() -> None:
    """10 m beside 100 m: halves of the logarithm, a tenth and a hundredth inverse, a tenth and all of the way."""
    seen = {name: view(log_depth_from_metres(torch.tensor([[[[10.0, 100.0]]]]))) for name, view in VIEWS.items()}
    assert torch.allclose(seen["log"], torch.tensor([[[[0.5, 1.0]]]]))
    assert torch.allclose(seen["inverse"], torch.tensor([[[[0.1, 0.01]]]]))
    assert torch.allclose(seen["metres"], torch.tensor([[[[0.1, 1.0]]]]))
    assert torch.allclose(seen["standardised"], torch.tensor([[[[0.25, 0.75]]]]), atol=1e-3)
    assert seen["slopes"].shape == (1, 3, 1, 2)
    assert torch.allclose(seen["slopes"][0, 1], torch.tensor([[1.0, 0.5]]))  # rises to the right, steeper than is shown
    flat = VIEWS["standardised"](torch.full((1, 1, 2, 2), 0.7))
    assert torch.allclose(flat, torch.full((1, 1, 2, 2), 0.5))
