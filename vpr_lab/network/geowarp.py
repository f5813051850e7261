"""GeoWarp: compare two images after warping both to what they share (Berton et al. 2021).

"Viewpoint invariant dense matching for visual geolocalization". A small network looks at how similar every position of
one feature map is to every position of the other, and says which quadrilateral of each image the other one shows too.
Quadrilaterals are (4, 2) corners (x, y): top left, top right, bottom right, bottom left. -1 and 1 are the outer edges
of the image, not the centres of its outermost pixels, so that one quadrilateral fits maps of every size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHOLE_IMAGE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
SIDE = 15  # positions along each side of the maps that are compared
KERNELS = (7, 5, 5, 5, 5, 5)
CHANNELS = (SIDE * SIDE, 128, 128, 64, 64, 64, 64)
_LEAST = 1e-2  # denominators are kept this far from zero: a folded quadrilateral must give no infinite gradient


class WarpRegression(nn.Module):
    """Two feature maps -> the quadrilateral of each that shows what both show. Starts at the whole images.

    Six convolutions, padded by one, take the 15 x 15 similarity volume to 11, 9, 7, 5, 3 and 1: the linear layer gets
    64 values.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in zip(CHANNELS[:-1], CHANNELS[1:], KERNELS, strict=True):
            layers += [nn.Conv2d(inputs, outputs, kernel, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Linear(CHANNELS[-1], 16)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(torch.tensor([WHOLE_IMAGE, WHOLE_IMAGE]).flatten())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C, h', w') -> (B, 2, 4, 2): the quadrilateral of the first, then of the second."""
        volume = similarity_volume(dense(first), dense(second))
        return self.linear(self.convolutions(volume).flatten(1)).reshape(-1, 2, 4, 2)


class GeoWarp(nn.Module):
    """How well two images agree where they show the same: the measure that re-ranks what retrieval found.

    The published code warps the images and describes them again. Here their features are warped, so that a place's are
    computed once, with the map, and comparing costs no pass through the backbone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.regression = WarpRegression()

    def quadrilaterals(self, query: Tensor, reference: Tensor) -> Tensor:
        """Feature maps (B, C, h, w), (B, C, h', w') -> (B, 2, 4, 2), the mean over both orders of the two images."""
        return (self.regression(query, reference) + self.regression(reference, query).flip(1)) / 2

    def score(self, query: Tensor, reference: Tensor) -> Tensor:
        """Feature maps (B, C, h, w), (B, C, h', w') -> (B,) in -1..1, higher is more alike, whichever comes first.

        The mean cosine over the positions of the warped maps; the paper sums, which ranks the same.
        """
        quadrilaterals = self.quadrilaterals(query, reference)
        warped_query = dense(warp(query, quadrilaterals[:, 0]))
        warped_reference = dense(warp(reference, quadrilaterals[:, 1]))
        return (warped_query * warped_reference).sum(1).mean((1, 2))

    def forward(self, query: Tensor, reference: Tensor) -> Tensor:
        """``score``, as exported (ONNX opset 16 or later)."""
        return self.score(query, reference)


def dense(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, 15, 15), averaged by area, of unit length at every position."""
    rows, columns = (_pooling(int(size)).to(features.device) for size in features.shape[2:])
    return F.normalize(rows @ features.float() @ columns.T, dim=1)


def _pooling(size: int) -> Tensor:
    """(15, size): adaptive average pooling along one side as a matrix, which exports to ONNX for every size."""
    edges = np.arange(SIDE + 1) * size / SIDE
    columns = np.arange(size)
    inside = (columns >= np.floor(edges[:-1, None])) & (columns < np.ceil(edges[1:, None]))
    return torch.from_numpy((inside / inside.sum(axis=1, keepdims=True)).astype(np.float32))


def similarity_volume(first: Tensor, second: Tensor) -> Tensor:
    """(B, C, 15, 15) each -> (B, 225, 15, 15): at every position of the second, its cosines with all of the first.

    Negative ones are cut off and what is left normalised, so that a position that resembles many says less.
    """
    cosines = first.flatten(2).transpose(1, 2) @ second.flatten(2)
    return F.normalize(F.relu(cosines), dim=1).unflatten(2, (SIDE, SIDE))


def warp(images: Tensor, quadrilaterals: Tensor) -> Tensor:
    """(B, C, h, w) and (B, 4, 2) -> (B, C, h, w) float32: what each quadrilateral shows, as the whole frame.

    Bilinear; beyond the image its edge is repeated.
    """
    height, width = (int(size) for size in images.shape[2:])
    y, x = (_centres(size).to(images.device) for size in (height, width))
    frame = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=2).reshape(1, -1, 2)
    grid = project(homography(quadrilaterals), frame).reshape(-1, height, width, 2)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _centres(size: int) -> Tensor:
    """Where the centres of a row of pixels lie between the edges -1 and 1."""
    return (2 * torch.arange(size) + 1) / size - 1


def homography(quadrilaterals: Tensor) -> Tensor:
    """(B, 4, 2) -> (B, 3, 3) that maps the whole frame, -1..1, to the quadrilateral, in closed form.

    Heckbert 1989, "Fundamentals of texture mapping and image warping", section 2.2.3.
    """
    top_left, top_right, bottom_right, bottom_left = quadrilaterals.float().unbind(1)
    right, bottom = top_right - bottom_right, bottom_left - bottom_right
    skew = top_left - top_right + bottom_right - bottom_left  # zero for a parallelogram
    area = _away_from_zero(_cross(right, bottom))
    g, h = _cross(skew, bottom) / area, _cross(right, skew) / area
    across = top_right - top_left + g * top_right
    down = bottom_left - top_left + h * bottom_left
    upper = torch.stack((across, down, top_left), dim=2)
    lower = F.pad(torch.stack((g, h), dim=2), (0, 1), value=1.0)
    from_frame = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]], device=upper.device)
    return torch.cat((upper, lower), dim=1) @ from_frame


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """(B, 2) each -> (B, 1)."""
    return a[:, :1] * b[:, 1:] - a[:, 1:] * b[:, :1]


def project(homographies: Tensor, points: Tensor) -> Tensor:
    """(B, 3, 3) and (B or 1, N, 2) -> (B, N, 2)."""
    mapped = points @ homographies[:, :, :2].transpose(1, 2) + homographies[:, None, :, 2]
    return mapped[..., :2] / _away_from_zero(mapped[..., 2:])


def _away_from_zero(x: Tensor) -> Tensor:
    return torch.where(x < 0, x.clamp(max=-_LEAST), x.clamp(min=_LEAST))
