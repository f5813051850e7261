"""Networks of torch become models: modules of the shapes that published ones have, their weights, and mistakes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from vpr_ros.base.errors import MissingDependencyError, VprError  # noqa: E402
from vpr_ros.inference.importing import Imported, Wanted, import_model, open_other  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402

# What published networks are built of, in small: the same operations, inputs and outputs.
SOURCE = """
    import math
    import torch
    from torch import nn
    from torch.nn import functional as F

    class GeM(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.ones(1) * 3)

        def forward(self, x):
            return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), (x.size(-2), x.size(-1))).pow(1.0 / self.p)

    class CosPlace(nn.Module):  # and EigenPlaces: convolutions, GeM, a projection
        def __init__(self, fc_output_dim=512):
            super().__init__()
            first = nn.Conv2d(3, 16, 7, 4), nn.BatchNorm2d(16), nn.ReLU()
            self.backbone = nn.Sequential(*first, nn.Conv2d(16, 32, 3, 2))
            self.pool, self.fc = GeM(), nn.Linear(32, fc_output_dim)

        def forward(self, x):
            x = F.normalize(self.backbone(x), p=2, dim=1)
            return F.normalize(self.fc(self.pool(x)[:, :, 0, 0]), p=2, dim=1)

    class MixVPR(nn.Module):
        def __init__(self, side=5, channels=64, rows=8):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 16, 16, 16), nn.ReLU())
            self.mix = nn.Sequential(nn.LayerNorm(side * side), nn.Linear(side * side, side * side), nn.ReLU())
            self.channels, self.rows = nn.Linear(16, channels), nn.Linear(side * side, rows)

        def forward(self, x):
            x = self.backbone(x).flatten(2)
            x = x + self.mix(x)
            x = self.rows(self.channels(x.permute(0, 2, 1)).permute(0, 2, 1))
            return F.normalize(x.flatten(1), p=2, dim=-1)

    class Dino(nn.Module):  # a transformer of patches of 14 pixels with interpolated positions, as DINOv2
        def __init__(self, dim=32, heads=4):
            super().__init__()
            self.patch, self.heads = nn.Conv2d(3, dim, 14, 14), heads
            self.cls = nn.Parameter(torch.randn(1, 1, dim))
            self.positions = nn.Parameter(torch.randn(1, 1 + 37 * 37, dim))
            self.norm, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

        def forward(self, x):
            B, _, H, W = x.shape
            assert H % 14 == 0, f"Input image height {H} is not a multiple of patch height 14"
            t = torch.cat((self.cls.expand(B, -1, -1), self.patch(x).flatten(2).transpose(1, 2)), dim=1)
            dim = t.shape[-1]
            grid = self.positions[:, 1:].reshape(1, 37, 37, dim).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(H // 14, W // 14), mode="bicubic").permute(0, 2, 3, 1).view(1, -1, dim)
            t = t + torch.cat((self.positions[:, :1], grid), dim=1)
            q, k, v = self.qkv(self.norm(t)).reshape(B, -1, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
            t = t + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, -1, dim))
            return t[:, 1:].permute(0, 2, 1).reshape(B, dim, H // 14, W // 14), t[:, 0]

    class Salad(nn.Module):  # and MegaLoc: optimal transport over the tokens, 8192 + 256 dimensions
        def __init__(self, clusters=64, cluster_dim=128, token_dim=256):
            super().__init__()
            self.backbone = Dino()
            self.token = nn.Linear(32, token_dim)
            self.features, self.score = nn.Conv2d(32, cluster_dim, 1), nn.Conv2d(32, clusters, 1)
            self.drop = nn.Dropout(0.3)
            self.dust_bin = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            x, t = self.backbone(x)
            f, p, t = self.drop(self.features(x)).flatten(2), self.score(x).flatten(2), self.token(t)
            B, m, n = p.size()
            filled = torch.empty(B, m + 1, n, dtype=p.dtype)  # written in place, as theirs
            filled[:, :m, :n] = p
            filled[:, m, :] = self.dust_bin
            level = -torch.tensor(math.log(n + m))
            rows, columns = level.expand(m + 1).contiguous(), level.expand(n).contiguous()
            rows[-1] = rows[-1] + math.log(n - m)
            rows, columns = rows.expand(B, -1), columns.expand(B, -1)
            u, v = torch.zeros_like(rows), torch.zeros_like(columns)
            for _ in range(3):
                u = rows - torch.logsumexp(filled + v.unsqueeze(1), dim=2).squeeze()
                v = columns - torch.logsumexp(filled + u.unsqueeze(2), dim=1).squeeze()
            p = torch.exp(filled + u.unsqueeze(2) + v.unsqueeze(1) - level)[:, :-1, :]
            p, f = p.unsqueeze(1).repeat(1, f.shape[1], 1, 1), f.unsqueeze(2).repeat(1, 1, m, 1)
            f = torch.cat((F.normalize(t, dim=-1), F.normalize((f * p).sum(dim=-1), dim=1).flatten(1)), dim=-1)
            return F.normalize(f, dim=-1)

    class BoQ(nn.Module):  # learnt queries attend to the features; it returns a list of attentions too
        def __init__(self, queries=16, dim=32, rows=64):
            super().__init__()
            self.backbone, self.queries = Dino(dim), nn.Parameter(torch.randn(1, queries, dim))
            self.attention, self.fc = nn.MultiheadAttention(dim, 4, batch_first=True), nn.Linear(queries, rows)

        def forward(self, x):
            x = self.backbone(x)[0].flatten(2).permute(0, 2, 1)
            out, attention = self.attention(self.queries.repeat(x.size(0), 1, 1), x, x)
            return F.normalize(self.fc(out.permute(0, 2, 1)).flatten(1), p=2, dim=-1), [attention.detach()]

    class Vlad(nn.Module):  # AnyLoc: hard assignment to centres; a dict
        def __init__(self, centres=32, dim=32):
            super().__init__()
            self.backbone, self.centres = Dino(dim), nn.Parameter(torch.randn(centres, dim))

        def forward(self, x):
            tokens = F.normalize(self.backbone(x)[0].flatten(2).transpose(1, 2), dim=-1)
            similar = tokens @ F.normalize(self.centres, dim=-1).T
            nearest = F.one_hot(similar.argmax(-1), self.centres.shape[0]).float()
            sums = nearest.transpose(1, 2) @ tokens - nearest.sum(1).unsqueeze(-1) * self.centres
            return {"global": F.normalize(F.normalize(sums, dim=-1).flatten(1), dim=-1), "local": tokens}

    def seeded(kind):
        def make(**options):
            torch.manual_seed(0)
            return kind(**options)
        return make

    cosplace, mixvpr, salad, boq, vlad = (seeded(kind) for kind in (CosPlace, MixVPR, Salad, BoQ, Vlad))
    ready = cosplace()

    def uneven():  # pools 79 x 79 cells to 2 x 2, for which ONNX has nothing
        return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def scripted():
        torch.manual_seed(0)
        return torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()))

    def compiled():
        return torch.compile(cosplace())

    def leaves():
        raise SystemExit(2)

    def fails():
        raise ValueError("no such\\nbackbone")

    def number():
        return 3
"""
HUB = """
    dependencies = ["torch"]
    from published import cosplace
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the code of networks, as a module and as a clone for torch.hub."""
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published.py").write_text(textwrap.dedent(SOURCE))
    (tmp_path / "clone").mkdir()
    for name, source in (("published.py", SOURCE), ("hubconf.py", HUB)):
        (tmp_path / "clone" / name).write_text(textwrap.dedent(source))
    yield tmp_path
    sys.modules.pop("published", None)


def test_a_layer_that_onnx_lacks_is_one_sentence(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """torch prints its graph, a screen of it twice, past Python's stdout; and the sentence ended in a link cut off."""
    with pytest.raises(
        VprError, match=r"cannot write published:uneven as ONNX .*adaptive_avg_pool2d.*input size\): ch"
    ):
        bring(folder, "published:uneven", size=(320, 320))
    assert capfd.readouterr().out == ""
    print("said")
    assert capfd.readouterr().out == "said\n"


def bring(folder: Path, text: str, framework: str = "torch", name: str = "", **wanted: Any) -> Imported:
    chosen = Wanted(**wanted)
    return import_model(lambda made: open_other(framework, text, made, chosen), folder, name, "MIT", wanted=chosen)


@pytest.mark.parametrize(
    ("factory", "wanted", "dimension"),
    [
        ("cosplace", {"size": (96, 64)}, 512),
        ("cosplace", {"size": (64, 64), "options": {"fc_output_dim": 2048}}, 2048),
        ("mixvpr", {"size": (80, 80)}, 512),
        ("salad", {"size": (140, 126)}, 64 * 128 + 256),
        ("boq", {"size": (56, 56)}, 2048),
        ("vlad", {"size": (56, 84), "descriptor": "global"}, 1024),
    ],
)
def test_networks_built_as_published_ones(folder: Path, factory: str, wanted: Any, dimension: int) -> None:
    """Tensors, tuples and dicts; multiples of 14; 512 to 8448 dimensions: as in torch, in any batch."""
    made = bring(folder, f"published:{factory}", **wanted)
    width, height = wanted["size"]
    assert made.manifest.dimension == dimension and made.manifest.source == f"published:{factory}"
    assert (made.manifest.preprocessing.width, made.manifest.preprocessing.height) == (width, height)
    assert made.parity.cosine_min > 0.99999 and made.parity.difference_max < 1e-4
    images = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), np.uint8)
    describer = open_describer(made.path, "onnx", 1)
    alone = np.concatenate([describer.describe(image[None]).descriptors for image in images])
    np.testing.assert_allclose(describer.describe(images).descriptors, alone, atol=1e-5)
    operations = {node.op_type for node in onnx.load(str(made.path)).graph.node}
    if factory != "salad":  # where it writes into a tensor, indices follow from the batch
        assert not operations & {"Shape", "Expand", "ConstantOfShape", "Range"}, "computed at run time"


def test_the_vlad_of_the_guide(folder: Path) -> None:
    """What a reader copies from the page, on a small encoder in the place of DINOv2, which would be a download."""
    page = (Path(__file__).parents[3] / "docs" / "guides" / "network.md").read_text()
    (code,) = re.findall(r"```python\n((?:(?!```).)*class Vlad.*?)```", page, re.S)
    (folder / "vlad.py").write_text(code)
    small = """
        import torch
        from vlad import Vlad

        class Patches(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.convolution = torch.nn.Conv2d(3, 24, 14, 14)

            def forward(self, images):
                return self.convolution(images).flatten(2).transpose(1, 2)

        def make():
            torch.manual_seed(0)
            return Vlad(Patches(), torch.nn.functional.normalize(torch.randn(32, 24), dim=-1).numpy())
    """
    (folder / "small.py").write_text(textwrap.dedent(small))
    assert bring(folder, "small.py:make", size=(112, 112)).manifest.dimension == 32 * 24


def test_tensorrt_builds_the_hardest_of_them(folder: Path) -> None:
    """Writing in place and squeezing whatever has length 1 are what a compiler for fixed graphs dislikes."""
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx (pip install tensorrt-rtx-cu13)")
    from vpr_ros.inference.tensorrt import build_engine, import_tensorrt

    made = bring(folder, "published:salad", size=(140, 126))
    assert build_engine(import_tensorrt(("tensorrt_rtx",)), made.path)


def test_weights_from_a_file(folder: Path) -> None:
    """A state dict, one inside a checkpoint, and one of a module that was trained in parallel are the same weights."""
    import importlib
    import sys

    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    module = importlib.import_module("published")
    torch.manual_seed(7)
    state = module.CosPlace().state_dict()
    forms: dict[str, Callable[[], Any]] = {
        "plain": lambda: state,
        "checkpoint": lambda: {"epoch": 3, "state_dict": state},
        "parallel": lambda: {f"module.{name}": tensor for name, tensor in state.items()},
    }
    prints = set()
    for name, form in forms.items():
        torch.save(form(), folder / f"{name}.pth")
        made = bring(folder, "published:cosplace", name=name, size=(64, 64), weights=folder / f"{name}.pth")
        images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
        prints.add(open_describer(made.path, "onnx", 1).describe(images).descriptors.tobytes())
    seeded = bring(folder, "published:cosplace", name="seeded", size=(64, 64))
    assert len(prints) == 1
    assert open_describer(seeded.path, "onnx", 1).describe(images).descriptors.tobytes() not in prints


def test_a_module_a_file_and_a_clone(folder: Path) -> None:
    """A network that is there already, the path of its file, and a clone for torch.hub without internet access."""
    first = bring(folder, "published:ready", size=(64, 64))
    second = bring(folder, str(folder / "clone" / "published.py") + ":cosplace", name="second", size=(64, 64))
    third = bring(folder, f"{folder / 'clone'}:cosplace", "hub", "third", size=(64, 64), options={"fc_output_dim": 128})
    assert first.manifest.name == "ready" and second.parity.cosine_min > 0.9999
    assert third.manifest.dimension == 128 and third.manifest.source.startswith("torch.hub ")


def test_torchscript_and_compiled_networks(folder: Path) -> None:
    """A TorchScript file is a network without its code; both kinds were refused as "not part of the active trace"."""
    import sys

    made = bring(folder, "published:scripted", size=(64, 64))
    sys.modules["published"].scripted().save(folder / "net.pt")
    again = bring(folder, "net.pt", size=(64, 64))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    found = [open_describer(model.path, "onnx", 1).describe(images).descriptors for model in (made, again)]
    np.testing.assert_array_equal(*found)
    torch.save(sys.modules["published"].compiled().state_dict(), folder / "compiled.pth")
    wanted = {"size": (64, 64), "weights": folder / "compiled.pth"}
    assert bring(folder, "published:compiled", **wanted).manifest.dimension == 512
    assert bring(folder, "published:cosplace", **wanted).manifest.dimension == 512


def test_bytes_are_taken_as_they_are(folder: Path) -> None:
    """A module that normalises by itself."""
    source = """
        import torch

        class Bytes(torch.nn.Module):
            def forward(self, images):
                return torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2) / 255.0 - 0.5, 8).flatten(1)
    """
    (folder / "own.py").write_text(textwrap.dedent(source))
    made = bring(folder, "own:Bytes", size=(32, 32), input="nhwc_uint8")
    assert made.manifest.dimension == 48 and made.manifest.training["imported"]["input"] == "nhwc_uint8"


MISTAKES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "no factory": ("torch", "published", {}, "--torch is 'published': give MODULE:FACTORY"),
    "no module": ("torch", "publisched:salad", {}, "publisched cannot be imported: No module named"),
    "no file": ("torch", "none.py:salad", {}, r"none\.py cannot be imported: there is no file"),
    "unknown factory": ("torch", "published:sallad", {}, "has no 'sallad'; did you mean 'salad'"),
    "wrong option": ("torch", "published:salad", {"options": {"cluster": 3}}, "unexpected keyword argument 'cluster'"),
    "it fails": ("torch", "published:fails", {}, "with no --option: ValueError: no such backbone"),
    "it ends the program": ("torch", "published:leaves", {}, r"its code ends the program \(2\)"),
    "weights instead of TorchScript": ("torch", "other.pth", {}, r"other\.pth is not TorchScript: give the code"),
    "no network": ("torch", "published:number", {}, "gives a int, not a torch.nn.Module"),
    "no size": ("torch", "published:salad", {"size": None}, "does not say its images' size: give --size"),
    "wrong size": (
        "torch",
        "published:salad",
        {"size": (64, 64)},
        "64 x 64 pixels: .*not a multiple of patch height 14",
    ),
    "several outputs": ("torch", "published:vlad", {}, "outputs global .*--descriptor NAME"),
    "no weights": ("torch", "published:salad", {"weights": Path("none.pth")}, r"no file of weights none\.pth"),
    "weights that are text": (
        "torch",
        "published:salad",
        {"weights": Path("published.py")},
        "cannot be read as weights",
    ),
    "weights of another": (
        "torch",
        "published:salad",
        {"weights": Path("other.pth")},
        "is not of this network: it lacks",
    ),
    "hub without entry": ("hub", "owner/name", {}, "--hub is 'owner/name': give OWNER/NAME:ENTRY"),
    "clone without entry": ("hub", "clone:salads", {}, "torch.hub cannot load clone:salads: .*salads"),
    "unknown framework": ("jax", "x", {}, "unknown importer 'jax'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence_and_leave_nothing(folder: Path, mistake: str) -> None:
    """Foreign code fails in its own words; they are quoted in one line, with what to do."""
    framework, text, wanted, words = MISTAKES[mistake]
    torch.save({"weight": torch.zeros(3)}, folder / "other.pth")
    (folder / "out").mkdir()
    with pytest.raises(VprError, match=words) as caught:
        bring(folder / "out", text, framework, **{"size": (56, 56), **wanted})
    assert len(str(caught.value).splitlines()) == 1 and not list((folder / "out").iterdir())


def test_timm(folder: Path) -> None:
    """Size, mean and deviation are timm's own; without timm its name and pip are said."""
    try:
        import timm
    except ImportError:
        with pytest.raises(MissingDependencyError, match="pip install timm"):
            bring(folder, "resnet18", "timm")
        pytest.skip("timm is not installed")
    for classes in (0, 1000):  # published files have the classifier, which is not used
        torch.save(timm.create_model("mobilenetv3_small_050", num_classes=classes).state_dict(), folder / "w.pth")
        made = bring(folder, "mobilenetv3_small_050", "timm", f"of_{classes}", weights=folder / "w.pth")
        assert made.manifest.preprocessing.width == 224 and made.manifest.dimension == 1024
    with pytest.raises(VprError, match="num_classes=1000 makes scores of classes the descriptor"):
        bring(folder, "mobilenetv3_small_050", "timm", weights=folder / "w.pth", options={"num_classes": 1000})
