"""The network keeps its contract: shapes, units, unit length, and gradients that stop where they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.backbones import build_backbone  # noqa: E402
from vpr_lab.network.build import build_network  # noqa: E402
from vpr_lab.network.config import NetworkConfig  # noqa: E402
from vpr_lab.network.depth import FAR_M, NEAR_M, log_depth_from_metres, metres_from_log_depth  # noqa: E402
from vpr_ros.base.errors import ConfigError, ModelError  # noqa: E402

torch.manual_seed(0)


def images(count: int, height: int, width: int) -> torch.Tensor:
    """Random ones, (count, height, width, 3) uint8."""
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)


@pytest.mark.parametrize("backbone", ["mobilenet_v1", "resnet18", "vgg16"])
def test_forward_gives_unit_descriptors_and_metres(backbone: str) -> None:
    """Everything downstream (index, filter, depth topic) relies on these shapes and units.

    For every backbone whose last map has stride 16, as the depth encoder's.
    """
    network = build_network(
        NetworkConfig(
            "demixvpr",
            backbone,
            "convolutions",
            height=64,
            width=96,
            out_channels=32,
            out_rows=2,
            vlad_clusters=4,
            vlad_channels=8,
        )
    ).eval()
    with torch.inference_mode():
        descriptors, depth = network(images(2, 64, 96))
    assert descriptors.shape == (2, 32 * 2 + 4 * 8) and depth.shape == (2, 16, 24)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert depth.min() >= NEAR_M and depth.max() <= FAR_M


def test_place_loss_leaves_depth_alone_and_depth_loss_leaves_encoder_alone() -> None:
    """Depth must stay metric and the RGB encoder keep what it knows: no gradient crosses the two detaches."""
    network = build_network(
        NetworkConfig(depth_backbone="convolutions", height=32, width=32, out_channels=8, out_rows=2)
    )
    descriptors, _ = network(images(2, 32, 32))
    descriptors[0].sum().backward()
    assert all(p.grad is None for p in network.depth_decoder.parameters())
    assert any(p.grad is not None for p in network.depth_encoder.parameters())
    network.zero_grad()
    network(images(2, 32, 32))[1].mean().backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert any(p.grad is not None for p in network.depth_decoder.parameters())


def test_a_depth_encoder_that_is_an_image_encoder(tmp_path: Path) -> None:
    """The shipped network's: as any other it must give the head's shape, be told depth alone, and stay within its part.

    From the image encoder's file only where it is of that kind.
    """
    config = NetworkConfig(
        height=64, width=96, out_channels=8, out_rows=2, depth_backbone="mobilenet_v1", depth_side=32
    )
    network = build_network(config)
    log_depth = torch.rand(2, 1, 16, 24)
    assert network.depth_encoder is not None and network.depth_encoder(log_depth).shape == (2, 64, 4, 6)
    descriptors, _ = network(images(2, 64, 96))
    descriptors[0].sum().backward()
    assert all(p.grad is None for p in network.depth_decoder.parameters())
    assert network.depth_encoder.backbone.stem.weight.grad is not None
    mixed = build_network(
        NetworkConfig("demixvpr", "resnet18", "mobilenet_v1", height=32, width=32, out_channels=8, out_rows=2)
    )
    torch.save(build_backbone("resnet18").state_dict(), tmp_path / "resnet18.pth")
    assert mixed(images(1, 32, 32))[0].shape == (1, mixed.dimension)
    build_network(mixed.config, tmp_path / "resnet18.pth")  # the depth encoder's weights are not in there


def test_log_depth_round_trip() -> None:
    """Depth is learned as a logarithm and published in metres; the two functions must be inverses."""
    metres = torch.tensor([1.0, 5.0, 99.0])
    assert torch.allclose(metres_from_log_depth(log_depth_from_metres(metres)), metres, rtol=1e-5)


def test_mobilenet_weights_by_keras_names(tmp_path) -> None:
    """The starting weights come as Keras-named arrays: all must arrive, and a file that lacks one must say which."""
    source, names = build_backbone("mobilenet_v1"), {}
    names["conv1"] = ("kernel", source.stem, source.stem_norm)
    for i, layer in enumerate(source.layers, start=1):
        names[f"conv_dw_{i}"] = ("depthwise_kernel", layer.depthwise, layer.depthwise_norm)
        names[f"conv_pw_{i}"] = ("kernel", layer.pointwise, layer.pointwise_norm)
    arrays = {}
    for name, (kernel, convolution, norm) in names.items():
        arrays[f"{name}/{kernel}"] = convolution.weight.detach().numpy()
        for field, value in (
            ("gamma", norm.weight), ("beta", norm.bias), ("moving_mean", norm.running_mean),
            ("moving_variance", norm.running_var),
        ):  # fmt: skip
            arrays[f"{name}_bn/{field}"] = value.detach().numpy() + 0.1
    np.savez(tmp_path / "w.npz", **arrays)
    loaded = build_backbone("mobilenet_v1", tmp_path / "w.npz")
    assert torch.equal(loaded.layers[10].pointwise.weight, source.layers[10].pointwise.weight)
    assert torch.allclose(
        loaded.layers[3].depthwise_norm.running_var, source.layers[3].depthwise_norm.running_var + 0.1
    )
    arrays.pop("conv_pw_7/kernel")
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(ModelError, match="conv_pw_7/kernel"):
        build_backbone("mobilenet_v1", tmp_path / "w.npz")


def test_mistakes_are_named() -> None:
    """A wrong backbone or size in a recipe is the user's mistake and gets one sentence."""
    with pytest.raises(ModelError, match="resnet18"):
        build_backbone("resnet19")
    with pytest.raises(ConfigError, match="multiple of 16"):
        NetworkConfig(height=225)
    with pytest.raises(ConfigError, match="depth_side is 0"):
        NetworkConfig(depth_side=0)
    with pytest.raises(ModelError, match="download"):
        build_backbone("resnet18", Path("nowhere.pth"))
