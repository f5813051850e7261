"""From a training checkpoint to the file a robot runs: ONNX with its manifest, and their difference."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpr_lab.export.trace import trace
from vpr_lab.network.demixvpr_map import MapDeMixVPR
from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.checkpoint import Checkpoint
from vpr_ros.base.config import to_dict
from vpr_ros.base.files import written_whole
from vpr_ros.inference.describer import Description, Manifest, fingerprint_file
from vpr_ros.inference.onnx import open_session
from vpr_ros.inference.onnx_graph import write_folded
from vpr_ros.inference.onnx_nodes import import_onnx
from vpr_ros.inference.parity import Parity
from vpr_ros.inference.vocabulary import LEARNT_FROM, Vocabulary, vocabulary_path


def export(
    checkpoint: Checkpoint, onnx_path: Path, manifest: dict[str, Any] | None = None, images: np.ndarray | None = None
) -> Parity:
    """Write ``onnx_path`` and its manifest beside it, and compare with torch.

    manifest: more fields for the manifest (training, scores, licence, calibration). images: (B, H, W, 3) uint8 to
    compare on, random ones if None. Raises ModelError if the two disagree.
    """
    onnx = import_onnx()
    network = checkpoint.network.eval().float().to("cpu")
    preprocessing = network.preprocessing
    if images is None:
        size = (4, preprocessing.height, preprocessing.width, 3)
        images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with written_whole(onnx_path) as part:
        image, outputs = {"image": torch.from_numpy(images[:1])}, ["descriptor", "depth"]
        own = _own_vocabulary(network)
        if isinstance(network, MapDeMixVPR):
            given = {**image, **network.vocabulary}
            outputs += LEARNT_FROM
            trace(_Exported(network), given, outputs, ["image", *outputs], part)
        else:
            outputs = outputs if network.hallucinates else outputs[:1]
            trace(network, image, outputs, ["image", *outputs], part)
        metadata = {"preprocessing": json.dumps(asdict(preprocessing)), "dimension": str(network.dimension)}
        write_folded(onnx.load(str(part)), part, metadata)
        parity = compare(network, part, images)
        parity.check()
    made = Manifest(
        name=onnx_path.stem,
        fingerprint=fingerprint_file(onnx_path),
        dimension=network.dimension,
        depth=network.hallucinates,
        preprocessing=preprocessing,
        vocabulary=own.fingerprint if own else "",
        training={"recipe": to_dict(checkpoint.recipe), "epochs": checkpoint.epoch},
    )
    fields = dict(manifest or {})
    fields["training"] = {**made.training, **fields.get("training", {}), "parity": asdict(parity)}
    if own is not None:
        with written_whole(vocabulary_path(onnx_path)) as part:
            part.write_bytes(own.to_bytes())
    replace(made, **fields).save(onnx_path)
    return parity


class _Exported(nn.Module):
    """A network with its vocabulary as further inputs."""

    def __init__(self, network: MapDeMixVPR) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See ``MapDeMixVPR.exported``."""
        return self.network.exported(*given)


def _own_vocabulary(network: PlaceNetwork) -> Vocabulary | None:
    """The network's own vocabulary. It then has what the file holds: numbers of float16."""
    if not isinstance(network, MapDeMixVPR):
        return None
    own = Vocabulary(network.words.numpy(), network.mean.numpy(), network.projection.numpy())
    for name, array in own.inputs.items():
        getattr(network, name).copy_(torch.from_numpy(array))
    return own


def compare(network: PlaceNetwork, onnx_path: Path, images: np.ndarray) -> Parity:
    """Run both on the same images, (B, H, W, 3) uint8."""
    own = _own_vocabulary(network)
    given = {"image": images, **(own.inputs if own else {})}
    descriptors, *depth = open_session(onnx_path, gpu=False).run(None, given)
    with torch.inference_mode():
        expected, expected_depth = network(torch.from_numpy(images))
    original = Description(expected.numpy(), expected_depth.numpy() if depth else None)
    return Parity.of(Description(descriptors, depth[0] if depth else None), original)
