"""Torch, for checkpoints that are still being trained. The robot needs none of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vpr_lab.training.checkpoint import Checkpoint
from vpr_ros.base.config import to_dict
from vpr_ros.base.errors import ModelError
from vpr_ros.inference.describer import CPU_BATCHES, GPU_BATCHES, Description, Manifest, fingerprint_file


class TorchDescriber:
    """A Describer on a training checkpoint (.pt); its manifest is made from what the checkpoint holds.

    threads: 0 leaves torch's own choice. Raises ModelError if the file is not a checkpoint.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        if path.suffix != ".pt":
            raise ModelError(
                f"the torch backend runs training checkpoints (.pt), not {path.name}: use the onnx backend"
            )
        if threads:
            torch.set_num_threads(threads)

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint = Checkpoint.load(path)
        self._network = checkpoint.network.eval().to(self._device)
        self.manifest = Manifest(
            name=path.stem,
            fingerprint=fingerprint_file(path),
            dimension=checkpoint.network.dimension,
            depth=checkpoint.network.hallucinates,
            preprocessing=checkpoint.network.preprocessing,
            training={"recipe": to_dict(checkpoint.recipe), "epochs": checkpoint.epoch},
        )
        self.backend = f"torch ({self._device})"
        self.batch_sizes = CPU_BATCHES if self._device == "cpu" else GPU_BATCHES

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 -> Description."""
        with torch.inference_mode():
            descriptors, depth = self._network(torch.from_numpy(images).to(self._device))
        return Description(descriptors.cpu().numpy(), None if depth is None else depth.cpu().numpy())
