"""XFeat: learned local features (Potje et al., CVPR 2024), on ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ModelError
from vpr_ros.inference.onnx import open_session
from vpr_ros.matching.constants import FEATURES
from vpr_ros.matching.local_features import LocalFeatures, features_at

_CELL = 8  # pixels of one cell of the network's output
_PUBLISHED_PX = 640
_MULTIPLE = 32  # of pixels: the coarsest features' stride
_BRIGHT = np.sqrt(np.arange(256, dtype=np.float32) / 255)  # of each grey value; it brightens night images


class XFeatExtractor:
    """Runs XFeat. Its outputs are told apart by channels: descriptors (64), keypoints (65), reliability (1)."""

    kind = "xfeat"

    def __init__(self, path: Path, count: int, threads: int = 1, side: int = 0) -> None:
        """Open an .onnx file of XFeat.

        count: features kept of each image. threads: CPU threads; 0: all cores. side: pixels of the longer side of the
        network's input; 0: a square of 640 pixels as published, padded with black, as in the figures for loop closing.
        A file with a fixed input size ignores it. Raises ModelError if the file is not XFeat.
        """
        self._session = open_session(path, threads, gpu=False)
        self._input = self._session.get_inputs()[0]
        self._outputs = {
            output.shape[1]: output.name for output in self._session.get_outputs() if len(output.shape) == 4
        }
        if len(self._input.shape) != 4 or set(self._outputs) != {64, 65, 1}:
            raise ModelError(f"{path} is not XFeat: expected outputs of 64, 65 and 1 channels at an eighth of the size")
        fixed = [size for size in self._input.shape[2:] if isinstance(size, int)]
        if len(fixed) == 1:
            raise ModelError(
                f"{path} has an input with one fixed and one free side: export it with both fixed, or neither"
            )
        self._canvas = fixed or ([] if side else [_PUBLISHED_PX, _PUBLISHED_PX])  # empty: depends on the image
        self._height, self._width = self._canvas or (side, side)
        self._count = count

    def extract(self, image_rgb: np.ndarray, depth: np.ndarray | None, intrinsics: Intrinsics) -> LocalFeatures:
        """See Extractor. The image is scaled to fit the network's input; the rest of the input is black."""
        scale = min(self._width / image_rgb.shape[1], self._height / image_rgb.shape[0])
        width, height = round(image_rgb.shape[1] * scale), round(image_rgb.shape[0] * scale)
        canvas = self._canvas or [-(-size // _MULTIPLE) * _MULTIPLE for size in (height, width)]
        images = np.zeros((1, 3, *canvas), np.float32)
        for plane, channel in zip(images[0], cv2.split(cv2.resize(image_rgb, (width, height))), strict=True):
            plane[:height, :width] = cv2.LUT(channel, _BRIGHT)
        names = [self._outputs[channels] for channels in (64, 65, 1)]
        dense, logits, reliability = self._session.run(names, {self._input.name: images})
        pixels = self._keypoints(logits[0], reliability[0, 0])
        pixels = pixels[(pixels[:, 0] < width - 1) & (pixels[:, 1] < height - 1)][: self._count]
        descriptors = _sampled(dense[0], (pixels + 0.5) / _CELL - 0.5)
        descriptors /= np.maximum(np.abs(descriptors).max(axis=1, keepdims=True, initial=0.0), 1e-9)
        descriptors = np.round(127 * descriptors).astype(np.int8)
        features = features_at(self.kind, pixels, descriptors, (height, width), depth, intrinsics)
        # Keypoints lie on whole pixels, and an enlarged image does not locate them more exactly.
        return replace(features, pixel=FEATURES.xfeat_pixel * features.pixel * max(1.0, scale))

    def _keypoints(self, logits: np.ndarray, reliability: np.ndarray) -> np.ndarray:
        """Keypoints (N, 2) float64 pixels, best first, from logits (65, h, w) and reliability (h, w).

        Each has the highest score within two pixels.
        """
        _, rows, columns = logits.shape
        odds = np.exp(logits - logits.max(axis=0))
        cells = (odds / odds.sum(axis=0))[:64].reshape(_CELL, _CELL, rows, columns)
        scores = np.ascontiguousarray(cells.transpose(2, 0, 3, 1).reshape(rows * _CELL, columns * _CELL))
        peaks = (scores == cv2.dilate(scores, np.ones((5, 5), np.uint8))) & (scores > FEATURES.xfeat_score)
        y, x = np.nonzero(peaks)
        value = scores[y, x] * _sampled(reliability[None], (np.column_stack([x, y]) + 0.5) / _CELL - 0.5)[:, 0]
        return np.column_stack([x, y])[np.argsort(-value, kind="stable")].astype(np.float64)


def _sampled(dense: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values (N, C) of a map (C, h, w) at positions (N, 2), x and y, by bilinear interpolation."""
    _, height, width = dense.shape
    x, y = at[:, 0].clip(0, width - 1.001), at[:, 1].clip(0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    right, down = (x - column).astype(np.float32), (y - row).astype(np.float32)
    upper = dense[:, row, column] * (1 - right) + dense[:, row, column + 1] * right
    lower = dense[:, row + 1, column] * (1 - right) + dense[:, row + 1, column + 1] * right
    return (upper * (1 - down) + lower * down).T
