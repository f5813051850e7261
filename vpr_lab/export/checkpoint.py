"""From a training checkpoint to the file a robot runs: ONNX with its manifest, and their difference."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.checkpoint import Checkpoint
from vpr_ros.base.config import to_dict
from vpr_ros.base.errors import ModelError
from vpr_ros.base.files import written_whole
from vpr_ros.inference.describer import Manifest, fingerprint_file
from vpr_ros.inference.onnx import open_session

OPSET = 17


@dataclass(frozen=True)
class Parity:
    """How the exported model differs from torch's over some images. depth_error_m: absolute, metres; None without."""

    images: int
    cosine_min: float
    cosine_mean: float
    depth_error_max_m: float | None
    depth_error_mean_m: float | None

    def check(self, cosine_min: float = 0.9999, depth_error_max_m: float = 0.1) -> None:
        """Raises ModelError if the two models disagree."""
        error_m = self.depth_error_max_m or 0.0
        if not (self.cosine_min >= cosine_min and error_m <= depth_error_max_m):
            raise ModelError(
                f"the exported model disagrees with torch: smallest cosine {self.cosine_min:.6f}, "
                f"largest depth error {error_m:.3f} m"
            )


def export(
    checkpoint: Checkpoint, onnx_path: Path, manifest: dict[str, Any] | None = None, images: np.ndarray | None = None
) -> Parity:
    """Write ``onnx_path`` and its manifest beside it, and compare with torch.

    manifest: more fields for the manifest (training, scores, licence, calibration). images: (B, H, W, 3) uint8 to
    compare on, random ones if None. Raises ModelError if the two disagree.
    """
    network = checkpoint.network.eval().float().to("cpu")
    preprocessing = network.preprocessing
    if images is None:
        size = (4, preprocessing.height, preprocessing.width, 3)
        images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with written_whole(onnx_path) as part:
        _trace(network, images[:1], part)
        _fold_constants(part)
        _add_metadata(part, {"preprocessing": json.dumps(asdict(preprocessing)), "dimension": str(network.dimension)})
        parity = compare(network, part, images)
        parity.check()
    made = Manifest(
        name=onnx_path.stem,
        fingerprint=fingerprint_file(onnx_path),
        dimension=network.dimension,
        depth=network.hallucinates,
        preprocessing=preprocessing,
        training={"recipe": to_dict(checkpoint.recipe), "epochs": checkpoint.epoch},
    )
    fields = dict(manifest or {})
    fields["training"] = {**made.training, **fields.get("training", {}), "parity": asdict(parity)}
    replace(made, **fields).save(onnx_path)
    return parity


def _trace(network: PlaceNetwork, images: np.ndarray, path: Path) -> None:
    """Write the network as ONNX for any batch; images: (B, H, W, 3) uint8 to trace it with."""
    outputs = ["descriptor", "depth"] if network.hallucinates else ["descriptor"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor, which needs one more package
        torch.onnx.export(
            network,
            (torch.from_numpy(images),),
            str(path),
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in ("image", *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )


def compare(network: PlaceNetwork, onnx_path: Path, images: np.ndarray) -> Parity:
    """Run both on the same images, (B, H, W, 3) uint8."""
    descriptors, *depth = open_session(onnx_path, gpu=False).run(None, {"image": images})
    with torch.inference_mode():
        torch_descriptors, torch_depth = network(torch.from_numpy(images))
    cosine = (descriptors * torch_descriptors.numpy()).sum(1)
    errors: tuple[float | None, float | None] = (None, None)
    if depth:
        difference = np.abs(depth[0] - torch_depth.numpy())
        errors = float(difference.max()), float(difference.mean())
    return Parity(len(images), float(cosine.min()), float(cosine.mean()), *errors)


def _add_metadata(path: Path, entries: dict[str, str]) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, entries)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _fold_constants(path: Path) -> None:
    """Compute what does not depend on the image, such as paddings that the tracing exporter leaves to run time."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(path))
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    same: dict[str, str] = {}  # other names of a tensor, such as of weights that two encoders start from
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.input[0] in known:
            same[node.output[0]] = node.input[0]
        elif not set(node.input) <= {"", *known}:
            kept.append(node)
        else:
            outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
            alone = onnx.helper.make_graph([node], "", [], outputs, [known[name] for name in node.input if name])
            made = onnx.helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
            for name, value in zip(node.output, ReferenceEvaluator(made).run(None, {}), strict=True):
                known[name] = onnx.numpy_helper.from_array(np.asarray(value), name)
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(tensor for name, tensor in known.items() if name in used)
    onnx.save(model, str(path))
