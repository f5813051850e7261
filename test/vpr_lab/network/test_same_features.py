"""EfficientNet-Lite and DINOv2 give what the published networks give: written again in NumPy, and in timm."""

from __future__ import annotations

import shutil
from math import erf
from pathlib import Path

import needs
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.network.backbones import Backbone, build_backbone  # noqa: E402
from vpr_ros.base.errors import ModelError  # noqa: E402

Arrays = dict[str, np.ndarray]
LITE = {  # repeats and channels of stages 0 to 4
    "efficientnet_lite0": ((1, 2, 2, 3, 3), (16, 24, 40, 80, 112)),
    "efficientnet_lite2": ((1, 3, 3, 4, 4), (16, 24, 48, 88, 120)),
}
KERNELS, STRIDES, EXPANSIONS = (3, 3, 5, 3, 5), (1, 2, 2, 2, 1), (1, 6, 6, 6, 6)
DINO = {"dinov2_vits14": 8, "dinov2_vits14_10": 10}
FILES = {"dinov2_vits14": "dinov2_vits14_blocks0-9.npz", "dinov2_vits14_10": "dinov2_vits14_blocks0-9.npz"}


def random_lite(name: str) -> Arrays:
    """Arrays of the published names and shapes."""
    random, arrays, inputs, number = np.random.default_rng(0), {}, 32, 0

    def add(convolution: str, norm: str, *shape: int) -> None:
        arrays[f"{convolution}.weight"] = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        for kind, middle in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            arrays[f"{norm}.{kind}"] = (middle + random.uniform(-0.2, 0.2, shape[0])).astype(np.float32)

    add("conv_stem", "bn0", 32, 3, 3, 3)
    for repeats, outputs, kernel, expansion in zip(*LITE[name], KERNELS, EXPANSIONS, strict=True):
        for _ in range(repeats):
            block, wide = f"blocks.{number}", inputs * expansion
            if expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", wide, inputs, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", outputs, wide, 1, 1)
            inputs, number = outputs, number + 1
    return arrays


def random_dino(name: str) -> Arrays:
    """The same of DINOv2."""
    random, width = np.random.default_rng(0), 384
    shapes = {"cls_token": (width,), "pos_embed_cls": (width,), "pos_embed_grid": (37, 37, width)}
    shapes |= {"patch.weight": (width, 3, 14, 14), "patch.bias": (width,)}
    for number in range(DINO[name]):
        block = f"blocks.{number}"
        for layer, sides in (
            ("attn.qkv", (3 * width, width)),
            ("attn.proj", (width, width)),
            ("mlp.fc1", (4 * width, width)),
            ("mlp.fc2", (width, 4 * width)),
        ):
            shapes |= {f"{block}.{layer}.weight": sides, f"{block}.{layer}.bias": sides[:1]}
        for layer in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"{block}.{layer}"] = (width,)
    return {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module", params=[*LITE, *DINO])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["random", "published"])
def weights(request: pytest.FixtureRequest, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as they are published."""
    if request.param == "published":
        return needs.starting_weights(FILES.get(name, f"{name}_imagenet.npz"))
    path = tmp_path_factory.mktemp("weights") / f"{name}.npz"
    np.savez(path, **(random_lite(name) if name in LITE else random_dino(name)))
    return path


def test_joined_encoders_give_what_each_gives_alone() -> None:
    """DINOv2 beside EfficientNet: each must see the image normalised and sized as its own weights expect."""
    weights = needs.starting_weights("dinov2_vits14_blocks0-9.npz").parent
    both, lite, dinov2 = (
        build_backbone(name, weights / file).eval()
        for name, file in (
            ("dinov2_lite0", ""),
            ("efficientnet_lite0", "efficientnet_lite0_imagenet.npz"),
            ("dinov2_vits14", "dinov2_vits14_blocks0-9.npz"),
        )
    )
    images = torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found, levels = both(images), lite(images)
        small = torch.nn.functional.interpolate(dinov2.normalised(images), (84, 112), mode="bilinear")
        tokens = dinov2.encode(small).place
    assert torch.allclose(found.stride4, levels.stride4, atol=1e-4)
    assert torch.allclose(found.place[:, :192], levels.place, atol=1e-4)
    assert torch.allclose(found.place[:, 192:], tokens, atol=1e-3)


def test_a_folder_without_both_files_is_one_sentence(tmp_path) -> None:
    """Two encoders need two files: a user who gives one must read which folder to give."""
    shutil.copy(needs.starting_weights("efficientnet_lite0_imagenet.npz"), tmp_path)
    with pytest.raises(ModelError, match=r"no starting weights at .*dinov2_vits14\.pth: ") as caught:
        build_backbone("dinov2_lite0", tmp_path)
    assert "\n" not in str(caught.value)


def test_features_are_those_of_plain_numpy(name: str, weights: Path) -> None:
    """One wrong padding, epsilon or activation still gives features, only worse ones: every stage is compared."""
    network = build_backbone(name, weights).eval()
    sizes = ((64, 96), (45, 83)) if name in LITE else ((28, 42),)  # odd sides are padded otherwise
    for height, width in sizes:
        image = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), np.uint8)
        with np.load(weights) as file:
            arrays = {key: file[key].astype(np.float64) for key in file.files}
        wanted = lite_in_numpy(arrays, image[0], name) if name in LITE else dino_in_numpy(arrays, image[0], DINO[name])
        with torch.inference_mode():
            found = network.stages(network.normalised(torch.from_numpy(image)))
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.shape[1:] == theirs.shape
            assert np.abs(ours[0].numpy() - theirs).max() < 2e-4 * np.abs(theirs).max()


def lite_in_numpy(arrays: Arrays, image: np.ndarray, name: str) -> list[np.ndarray]:
    """(H, W, 3) uint8 -> features (C, h, w) of stages 0 to 4."""

    def layer(x: np.ndarray, convolution: str, norm: str, stride: int = 1, clipped: bool = True) -> np.ndarray:
        x = convolved(x, arrays[f"{convolution}.weight"], stride)
        scale, shift, mean, variance = (
            arrays[f"{norm}.{kind}"][:, None, None] for kind in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * scale + shift
        return x.clip(0, 6) if clipped else x

    x = layer((image.transpose(2, 0, 1) - 127.0) / 128.0, "conv_stem", "bn0", 2)
    stages, number = [], 0
    for repeats, stride, expansion in zip(LITE[name][0], STRIDES, EXPANSIONS, strict=True):
        for repeat in range(repeats):
            block, wide = f"blocks.{number}", x
            if expansion > 1:
                wide = layer(x, f"{block}._expand_conv", f"{block}._bn0")
            wide = layer(wide, f"{block}._depthwise_conv", f"{block}._bn1", 1 if repeat else stride)
            narrow = layer(wide, f"{block}._project_conv", f"{block}._bn2", clipped=False)
            x = x + narrow if repeat else narrow  # the first block of every stage changes the shape
            number += 1
        stages.append(x)
    return stages


def convolved(x: np.ndarray, kernels: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution of (C, h, w); depthwise if a kernel has one channel and x has more."""
    side = kernels.shape[2]
    missing = [max((-(-n // stride) - 1) * stride + side - n, 0) for n in x.shape[1:]]
    x = np.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))[:, ::stride, ::stride]
    if kernels.shape[1] == 1:
        return np.einsum("chwij,cij->chw", windows, kernels[:, 0])
    return np.einsum("chwij,ocij->ohw", windows, kernels, optimize=True)


def dino_in_numpy(arrays: Arrays, image: np.ndarray, blocks: int) -> list[np.ndarray]:
    """(H, W, 3) uint8 -> patch tokens (384, h, w) of every block."""

    def linear(x: np.ndarray, layer: str) -> np.ndarray:
        return x @ arrays[f"{layer}.weight"].T + arrays[f"{layer}.bias"]

    def normed(x: np.ndarray, layer: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        return x * arrays[f"{layer}.weight"] + arrays[f"{layer}.bias"]

    pixels = (image / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    rows, columns = image.shape[0] // 14, image.shape[1] // 14
    patches = pixels.reshape(rows, 14, columns, 14, 3).transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)
    x = patches @ arrays["patch.weight"].reshape(384, -1).T + arrays["patch.bias"]
    x = x + np.einsum("ra,cb,abk->rck", bicubic(rows), bicubic(columns), arrays["pos_embed_grid"]).reshape(x.shape)
    x = np.concatenate(((arrays["cls_token"] + arrays["pos_embed_cls"])[None], x))
    found = []
    for number in range(blocks):
        block = f"blocks.{number}"
        parts = linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv").reshape(len(x), 3, 6, 64)
        query, key, value = parts.transpose(1, 2, 0, 3)
        weight = np.exp(query @ key.transpose(0, 2, 1) / 8)
        seen = (weight / weight.sum(2, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(x), 384)
        x = x + arrays[f"{block}.ls1.gamma"] * linear(seen, f"{block}.attn.proj")
        hidden = linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * (1 + np.vectorize(erf)(hidden / 2**0.5)) / 2
        x = x + arrays[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2")
        found.append(x[1:].T.reshape(384, rows, columns))
    return found


def bicubic(count: int, of: int = 37) -> np.ndarray:
    """(count, of) weights of Keys' cubic convolution with a = -0.75, repeating the border."""
    weights = np.zeros((count, of))
    for row in range(count):
        centre = (row + 0.5) * of / count - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - tap)
            weight = 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            weights[row, min(max(tap, 0), of - 1)] += weight
    return weights


def test_features_are_timms(name: str) -> None:
    """The implementation that most people take: the same weights in both give the same features at every stage."""
    timm = pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    torch.manual_seed(0)
    ours = build_backbone(name).eval()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        for theirs, mine in zip(timm_features(timm, ours, name, x), ours.stages(x), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-5 * float(theirs.abs().max()))


def timm_features(timm, ours: Backbone, name: str, x: torch.Tensor) -> list[torch.Tensor]:
    """Of timm's network with our weights."""
    if name in LITE:
        theirs = timm.create_model(f"tf_{name}").eval()
        state = theirs.state_dict()  # both list convolution and norm, block by block
        for (key, target), source in zip(list(state.items()), ours.state_dict().values(), strict=False):
            assert target.shape == source.shape, key
            target.copy_(source)
        x, found = theirs.bn1(theirs.conv_stem(x)), []
        for stage in theirs.blocks[:5]:
            x = stage(x)
            found.append(x)
        return found
    theirs = timm.create_model("vit_small_patch14_dinov2", img_size=224).eval()
    state = theirs.state_dict()
    own = {f"blocks.{key}": value for key, value in ours.layers.state_dict().items()}
    own |= {f"patch_embed.proj.{key}": value for key, value in ours.embedding.patch.state_dict().items()}
    own |= {"cls_token": torch.zeros(1), "pos_embed": ours.embedding._constants(16, 16)}
    for key, value in own.items():
        state[key].copy_(value)
    count = len(ours.layers)
    return theirs.forward_intermediates(x, indices=range(count), norm=False, intermediates_only=True)


def test_published_state_dicts_load(name: str, tmp_path: Path) -> None:
    """A user has the package's or Meta's .pth and no .npz: the same arrays under those names give the same network."""
    arrays = random_lite(name) if name in LITE else random_dino(name)
    np.savez(tmp_path / "w.npz", **arrays)
    state = {key: torch.from_numpy(array) for key, array in arrays.items()}
    if name in LITE:
        state = {f"_{key}": tensor for key, tensor in state.items()} | {"_fc.weight": torch.zeros(1000, 1280)}
    else:
        grid = state.pop("pos_embed_grid").reshape(-1, 384)
        state["pos_embed"] = torch.cat((state.pop("pos_embed_cls")[None], grid))[None]
        state["cls_token"] = state["cls_token"][None, None]
        state["mask_token"] = torch.zeros(1, 384)
        for kind in ("weight", "bias"):
            state[f"patch_embed.proj.{kind}"] = state.pop(f"patch.{kind}")
    torch.save(state, tmp_path / "w.pth")
    one, two = (build_backbone(name, tmp_path / file).state_dict() for file in ("w.npz", "w.pth"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    state.pop("_blocks.4._bn2.bias" if name in LITE else "blocks.4.ls1.gamma")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"no array blocks\.4\."):
        build_backbone(name, tmp_path / "w.pth")


def test_sides_that_dinov2_cannot_take_are_named() -> None:
    """An image that is cut short without a word would shift every position."""
    with pytest.raises(ModelError, match="multiples of 14 pixels, not 224 x 320"):
        build_backbone("dinov2_vits14")(torch.zeros(1, 224, 320, 3, dtype=torch.uint8))
