"""DINOv2's small vision transformer, for a GPU or a desktop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import Backbone, Pyramid, copy_array, read_arrays
from vpr_lab.network.static import resized_to
from vpr_ros.base.errors import ModelError

PATCH = 14  # pixels of the side of a patch
_GRID = 37  # rows and columns of patches that the position embedding was learnt on
_WIDTH, _HEADS = 384, 6
_ORIGIN = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"


class _Embedding(nn.Module):
    """Patches to tokens, behind a class token, with their positions added."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, _WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.randn(_WIDTH) * 0.02)
        self.class_position = nn.Parameter(torch.randn(_WIDTH) * 0.02)
        self.positions = nn.Parameter(torch.randn(_GRID, _GRID, _WIDTH) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + H / 14 * W / 14, 384)."""
        rows, columns = int(x.shape[2]) // PATCH, int(x.shape[3]) // PATCH
        tokens = self.patch(x).reshape(-1, _WIDTH, rows * columns).transpose(1, 2)
        # The class token is the same for all images: a row of zeros, to which the constants below are added.
        return F.pad(tokens, (0, 0, 1, 0)) + self._constants(rows, columns)

    def _constants(self, rows: int, columns: int) -> Tensor:
        """(1 + rows * columns, 384). An exported graph holds the result, not the interpolation."""
        grid = self.positions.permute(2, 0, 1)[None]
        if torch.jit.is_tracing():
            grid = torch.from_numpy(grid.detach().cpu().numpy()).to(grid.device)
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        first = (self.class_token + self.class_position)[None]
        return torch.cat((first, grid[0].permute(1, 2, 0).reshape(rows * columns, _WIDTH)))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        count, depth = int(x.shape[1]), _WIDTH // _HEADS
        query, key, value = (
            part.reshape(-1, count, _HEADS, depth).transpose(1, 2) for part in self.qkv(x).split(_WIDTH, dim=-1)
        )
        joined = F.scaled_dot_product_attention(query, key, value, scale=depth**-0.5)
        return self.proj(joined.transpose(1, 2).reshape(-1, count, _WIDTH))


class _Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.fc2 = nn.Linear(4 * _WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(_WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added with a learnt scale; Meta's names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_WIDTH, eps=1e-6)
        self.attn = _Attention()
        self.ls1 = _LayerScale()
        self.norm2 = nn.LayerNorm(_WIDTH, eps=1e-6)
        self.mlp = _Perceptron()
        self.ls2 = _LayerScale()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2Small(Backbone):
    """The first 8 blocks of DINOv2's ViT-S/14 (Oquab et al. 2023), 384 channels: 15.0 M weights.

    ``place`` are the last block's patch tokens, one for 14 x 14 pixels: 16 x 16 for 224 x 224. ``stages`` gives every
    block's. The levels at strides 4, 8 and 16 are blocks at one, two and three thirds of the depth, resized
    bilinearly. Sides of images are multiples of 14; any other raises ModelError.
    """

    channels = (_WIDTH,) * 4
    BLOCKS = 8

    def __init__(self) -> None:
        super().__init__()
        self.embedding = _Embedding()
        self.layers = nn.ModuleList(_Block() for _ in range(self.BLOCKS))

    def blocks(self) -> Iterator[nn.Module]:
        yield self.embedding
        yield from self.layers

    def stages(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32, normalised -> patch tokens (B, 384, H / 14, W / 14) of every block."""
        height, width = int(x.shape[2]), int(x.shape[3])
        if height % PATCH or width % PATCH:
            raise ModelError(f"DINOv2 takes images whose sides are multiples of {PATCH} pixels, not {height} x {width}")
        tokens, found = self.embedding(x), []
        for block in self.layers:
            tokens = block(tokens)
            found.append(tokens[:, 1:].transpose(1, 2).reshape(-1, _WIDTH, height // PATCH, width // PATCH))
        return found

    def encode(self, x: Tensor) -> Pyramid:
        maps = self.stages(x)
        levels = [maps[round((self.BLOCKS - 1) * third / 3)] for third in (1, 2, 3)]
        height, width = int(x.shape[2]), int(x.shape[3])
        at = [resized_to(level, height // s, width // s) for level, s in zip(levels, (4, 8, 16), strict=True)]
        return Pyramid(at[0], at[1], at[2], maps[-1])

    def load_weights(self, path: Path) -> None:
        """Read Meta's state dict (.pth), or a .npz with its names and the position embedding in two parts.

        Blocks that this encoder does not have are left out.
        """
        arrays = read_arrays(path, f"download {_ORIGIN}")
        if "pos_embed" in arrays:  # as Meta has it: (1, 1 + 37 * 37, 384), the class token's first
            first, grid = arrays["pos_embed"][0, 0], arrays["pos_embed"][0, 1:]
            grid = grid.reshape(_GRID, _GRID, -1) if len(grid) == _GRID * _GRID else grid
            patch = {f"patch.{kind}": arrays.get(f"patch_embed.proj.{kind}") for kind in ("weight", "bias")}
            arrays = arrays | {"pos_embed_cls": first, "pos_embed_grid": grid, "cls_token": arrays["cls_token"][0, 0]}
            arrays |= {name: array for name, array in patch.items() if array is not None}
        own = self.embedding
        for name, target in (
            ("cls_token", own.class_token),
            ("pos_embed_cls", own.class_position),
            ("pos_embed_grid", own.positions),
            ("patch.weight", own.patch.weight),
            ("patch.bias", own.patch.bias),
            *((f"blocks.{name}", tensor) for name, tensor in self.layers.state_dict().items()),
        ):
            copy_array(arrays, name, target, path)


class DinoV2SmallTen(DinoV2Small):
    """The first 10 blocks instead: 18.5 M weights."""

    BLOCKS = 10
