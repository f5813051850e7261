"""From a trained recipe's folder to a robot's files: a model, or a GeoWarp for re-ranking."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpr_lab.export.checkpoint import export
from vpr_lab.export.trace import trace
from vpr_lab.network.geowarp import GeoWarp
from vpr_lab.plugins.geowarp import GeoWarpManifest, encoder_path, score_path
from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.geowarp import encode
from vpr_ros.base.errors import ModelError, brief
from vpr_ros.base.files import written_whole
from vpr_ros.inference.describer import fingerprint_file
from vpr_ros.inference.onnx import open_session

_TOLERANCE = 1e-3


def export_run(folder: Path, output: Path) -> str:
    """Export a recipe's folder; returns a sentence for the user.

    output: of a network X.onnx, with its manifest beside it; of a GeoWarp X_encoder.onnx, X_score.onnx and X.json.
    Raises ModelError for a folder without either, such as that of an ensemble, and if ONNX Runtime disagrees.
    """
    output = output.with_suffix(".onnx")
    if (folder / "geowarp.pt").is_file():
        return _export_geowarp(folder, output)
    if not (folder / "best.pt").is_file():
        raise ModelError(
            f"{folder} holds neither a network (best.pt) nor a GeoWarp (geowarp.pt): give the folder of a recipe that "
            "trains one; for an ensemble or several scales, export the ingredient and set them up in the node"
        )
    row = _json(folder / "row.json")
    fields = {"training": {"lab_recipe": folder.name}, "scores": row.get("scores", {})}
    parity = export(Checkpoint.load(folder / "best.pt"), output, fields)
    return f"{output}: cosine to torch's descriptors at least {parity.cosine_min:.6f}"


def _export_geowarp(folder: Path, output: Path) -> str:
    facts = _json(folder / "training.json")
    if not {"encoder", "image_size"} <= set(facts):
        raise ModelError(f"{folder}/training.json does not name GeoWarp's encoder: run its recipe again")
    encoder_folder = folder.parent / Path(facts["encoder"]).stem
    was = next(iter(facts.get("trained_by", {}).get("encoder", {}).values()), None)
    now = _json(encoder_folder / "training.json").get("trained_by")
    if was is not None and now is not None and was != now:
        raise ModelError(
            f"{encoder_folder} was trained again since {folder} was trained on it: run {folder.name} again"
        )
    base = Checkpoint.load(encoder_folder / "best.pt").network.eval().float()
    network, (height, width) = _load(folder / "geowarp.pt"), facts["image_size"]
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (3, height, width, 3), np.uint8))
    encoder, score = _Encoder(base.backbone), _Score(network)
    features = encoder(images)
    with written_whole(encoder_path(output)) as first, written_whole(score_path(output)) as second:
        trace(encoder, {"image": images}, ["features"], ["image", "features"], first)
        of_pair = {"query": features[:1], "reference": features[1:]}
        trace(score, of_pair, ["score"], ["reference", "score"], second)
        error = _disagreement(first, second, images, encoder, score)
    GeoWarpManifest(
        name=output.stem,
        encoder=fingerprint_file(encoder_path(output)),
        score=fingerprint_file(score_path(output)),
        preprocessing=replace(base.preprocessing, height=height, width=width),
        training={"lab_recipe": folder.name, **facts},
        scores=_json(folder / "row.json").get("scores", {}),
    ).save(output)
    return f"{output.with_suffix('.json')}: scores differ from torch's by at most {error:.2g}"


class _Encoder(nn.Module):
    """Images -> the features that are compared."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, C, h, w)."""
        return encode(self.backbone, images)


class _Score(nn.Module):
    """One query against many places."""

    def __init__(self, geowarp: GeoWarp) -> None:
        super().__init__()
        self.geowarp = geowarp

    def forward(self, query: Tensor, reference: Tensor) -> Tensor:
        """(1, C, h, w) and (B, C, h, w) -> (B,)."""
        return self.geowarp.score(query.expand_as(reference), reference)


def _load(path: Path) -> GeoWarp:
    network = GeoWarp()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, EOFError, OSError) as error:
        raise ModelError(f"{path} is damaged, or not a GeoWarp of this version: {brief(error)}") from error
    return network.eval()


def _disagreement(encoder_file: Path, score_file: Path, images: Tensor, encoder: _Encoder, score: _Score) -> float:
    """Largest difference of the first image's scores against the others. Raises ModelError if it matters."""
    (found,) = open_session(encoder_file, gpu=False).run(None, {"image": images.numpy()})
    (scores,) = open_session(score_file, gpu=False).run(None, {"query": found[:1], "reference": found[1:]})
    with torch.inference_mode():
        features = encoder(images)
        expected = score(features[:1], features[1:]).numpy()
    error = float(np.abs(scores - expected).max())
    if not error <= _TOLERANCE:
        raise ModelError(f"the exported GeoWarp disagrees with torch: scores differ by {error:.4f}")
    return error


def _json(path: Path) -> dict[str, Any]:
    """What a file holds, nothing if it is missing or damaged."""
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}
