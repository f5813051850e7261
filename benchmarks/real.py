#!/usr/bin/env python3
"""Recall@1 of single images on real recordings: trained models, untrained features and other methods.

    python benchmarks/real.py --data FOLDER --weights FOLDER [MODEL ...] [--cache FOLDER] [--json FILE]
        [--pair NAME=REFERENCE,QUERY,TOLERANCE] [--limit "METHOD@RECORDING=0.9"] [--limit "METHOD@RECORDING, alone=0.8"]

--data holds gardens_point, stromovka and corridor; what is not there is left out. --pair adds folders of your own in
which the same number in the images' names means the same place; without numbers, the same position in the sorted list.
The reference is the map, and an image counts as right if the most similar one is within TOLERANCE numbers.
Nothing is trained on them. Every run is a look at them: count your looks, and decide little by each.

- thumbnail: grey, 32 x 32, mean and deviation alike.
- grid: features of a backbone at 224 x 224, every channel standardised over the image, averaged in 4 x 4 cells.
- VLAD: residuals to 32 centres by k-means of the map's own images. grid + VLAD: both joined, with equal weight.
- a model: the map has one view of every image, or three as `vpr map build` stores.
- AnyLoc: VLAD with 32 centres of the map on the values of DINOv2's block 7, as AnyLoc has it of a larger DINOv2.
- bag of words: 1000 ORB features an image, 1024 words by k-means of the map's images, tf-idf (Bhattacharyya's score),
  as in DBoW and RTAB-Map.

"As it is" centres descriptors as the localiser does: on the mean of the session so far. "Alone" centres them on the
map's mean only, so that each image is answered as if it were the first. "Whole" subtracts the whole mean of the map,
and of all of the session from its images, which no robot knows in advance: untrained descriptors, whose mean is large,
gain by it. Where k-means is random, figures are the mean and standard deviation of three seeds. Exits with 1 if a limit
is missed; limits are for "as it is" if they do not say ", alone".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from vpr_lab.network.aggregators import NetVLAD, k_means
from vpr_lab.network.backbones import Backbone, build_backbone
from vpr_lab.network.demixvpr import standardise_channels
from vpr_lab.network.static import unit
from vpr_ros.base.image import Preprocessing, preprocess, views
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.recall import right_at_1, within_frames
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import learn_from, with_vocabulary
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.places import Places

SEEDS = (0, 1, 2)
CELLS, CENTRES = 4, 32  # of the grid's sides; of VLAD
ORB_FEATURES, WORDS, WORD_SAMPLES = 1000, 1024, 20_000
SIZE = Preprocessing(224, 224)
PROTOCOLS = ("as it is", "alone", "whole")
SHIPPED = Path(__file__).parents[1] / "models"
LIMIT = re.compile(r"(?P<method>.+)@(?P<recording>.+?)(?P<alone>, alone)?=(?P<least>[0-9.]+)")


@dataclass(frozen=True)
class Recording:
    """Two drives past the same places. tolerance: in numbers of images."""

    name: str
    reference: Path
    query: Path
    tolerance: float


@dataclass(frozen=True)
class Features:
    """What is computed of each image once. depends_on: what decides it, beside the image."""

    name: str
    depends_on: str
    compute: Callable[[np.ndarray], np.ndarray]

    def of(self, folder: Path, cache: Path) -> tuple[list[np.ndarray], np.ndarray]:
        """Of every image of a drive, and the images' numbers (N,); from the cache if they are there."""
        key = f"{self.name} {self.depends_on} {folder.resolve()} {folder.stat().st_mtime_ns}"
        path = cache / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.is_file():
            found, numbers = [], []
            for frame in track(NumberedDrive(open_drive(folder)), f"{self.name}, {folder.name}", transient=True):
                assert frame.T_map_camera is not None
                found.append(self.compute(frame.read()))
                numbers.append(frame.T_map_camera[0, 3])
            path.parent.mkdir(parents=True, exist_ok=True)
            lengths = [len(one) for one in found]
            np.savez(path, all=np.concatenate(found), lengths=lengths, numbers=numbers)
        with np.load(path) as stored:
            return np.split(stored["all"], np.cumsum(stored["lengths"])[:-1]), stored["numbers"]


# By the name of a method: unit descriptors (N, V, D) of the map's images and (Q, 1, D) of the session's.
Descriptors = dict[str, tuple[np.ndarray, np.ndarray]]
# From the features of the map's images and of the session's, and a seed.
Describe = Callable[[list[np.ndarray], list[np.ndarray], int], Descriptors]


@dataclass(frozen=True)
class Methods:
    """Methods that share features. random: their descriptors depend on the seed. learns: a model with a vocabulary."""

    name: str
    features: Features
    describe: Describe
    random: bool = False
    learns: Describer | None = None

    def features_for(self, recording: Recording) -> Features:
        """The features; those of a model with a vocabulary are of the recording's own."""
        if self.learns is None:
            return self.features
        images = [frame.read() for frame in NumberedDrive(open_drive(recording.reference))]
        vocabulary = learn_from(self.learns, images)
        assert vocabulary is not None
        depends_on = f"{self.features.depends_on} {vocabulary.fingerprint}"
        return Features(self.features.name, depends_on, self.features.compute)


@dataclass(frozen=True)
class Untrained:
    """A backbone with its published weights: which of its features are pooled. grid, words: their channels."""

    weights: str
    maps: Callable[[Backbone, Tensor], list[Tensor]]
    grid: slice
    words: slice


def place(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """The features that networks take."""
    return [backbone.encode(x).place]


def last_stages(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """EfficientNet-Lite's stages 3 and 4."""
    return backbone.stages(x)[3:5]  # type: ignore[operator]


def tokens_and_values(backbone: Backbone, x: Tensor) -> list[Tensor]:
    """DINOv2's patch tokens after block 7, and the values of that block's attention."""
    kept: list[Tensor] = []
    handle = backbone.layers[7].attn.qkv.register_forward_hook(lambda module, given, made: kept.append(made))  # type: ignore
    tokens = backbone.stages(x)[7]  # type: ignore[operator]
    handle.remove()
    return [tokens, kept[0][:, 1:, -tokens.shape[1] :].transpose(1, 2).reshape(tokens.shape)]


UNTRAINED = {
    "mobilenet_v1": Untrained("mobilenet_v1_imagenet.npz", place, slice(512), slice(512)),
    "squeezenet": Untrained("squeezenet1_1_imagenet.npz", place, slice(512), slice(512)),
    "efficientnet_lite0": Untrained("efficientnet_lite0_imagenet.npz", last_stages, slice(80), slice(80, 192)),
    "efficientnet_lite2": Untrained("efficientnet_lite2_imagenet.npz", last_stages, slice(88), slice(88, 208)),
    "dinov2_vits14": Untrained("dinov2_vits14_blocks0-9.npz", tokens_and_values, slice(384), slice(384)),
}
VALUES = slice(384, 768)


def all_recordings(data: Path | None, pairs: Sequence[str]) -> Iterator[Recording]:
    """Those that are here, then the given ones."""
    if data is not None:
        campus, park, corridor = data / "gardens_point", data / "stromovka", data / "corridor"
        yield from (
            one
            for one in (
                Recording("Gardens Point", campus / "day_right", campus / "day_left", 3),
                Recording("Stromovka", park / "season_00", park / "season_01", 1),
                Recording("corridor", corridor / "ref", corridor / "query", 2),
            )
            if one.reference.is_dir() and one.query.is_dir()
        )
    for pair in pairs:
        name, _, rest = pair.partition("=")
        reference, query, tolerance = rest.rsplit(",", 2)
        yield Recording(name, Path(reference), Path(query), float(tolerance))


def all_methods(models: Sequence[str], weights: Path | None) -> Iterator[Methods]:
    """Whatever can be made here: without their weights, backbones are left out."""
    yield Methods("thumbnail", Features("thumbnail", "", thumbnail), thumbnails)
    for name, own in UNTRAINED.items():
        if weights is not None and (weights / own.weights).is_file():
            backbone = build_backbone(name, weights / own.weights).eval()
            depends_on = str((weights / own.weights).stat().st_size)
            features = Features(name, depends_on, partial(untrained, backbone, own))
            yield Methods(name, features, partial(pooled, name), random=True)
    yield Methods("bag of words", Features("orb", f"{ORB_FEATURES} {cv2.__version__}", orb), bags_of_words, random=True)
    for model in models:
        describer = open_describer(model)
        name = describer.manifest.name
        features = Features(name, describer.manifest.fingerprint, partial(described, describer))
        yield Methods(name, features, partial(by_views, name), learns=with_vocabulary(describer))


def thumbnail(image_rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (1, 1024) float32."""
    grey = cv2.resize(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    pixels = grey.astype(np.float32).reshape(1, -1)
    return unit(torch.from_numpy(pixels - pixels.mean())).numpy()


@torch.inference_mode()
def untrained(backbone: Backbone, own: Untrained, image_rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> features (1, C, h, w) float16."""
    image = torch.from_numpy(preprocess(image_rgb, SIZE))[None]
    return torch.cat(own.maps(backbone, backbone.normalised(image)), dim=1).half().numpy()


def described(describer: Describer, image_rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> descriptors (3, D) of three views, the whole image first."""
    inputs = [preprocess(view, describer.manifest.preprocessing) for view in views(image_rgb, 3)]
    return describer.describe(np.stack(inputs)).descriptors


def orb(image_rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (F, 32) uint8."""
    found = cv2.ORB_create(ORB_FEATURES).detectAndCompute(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), None)[1]
    return np.zeros((0, 32), np.uint8) if found is None else found


def thumbnails(ours: list[np.ndarray], session: list[np.ndarray], seed: int) -> Descriptors:
    """As they are."""
    return {"thumbnail": (np.stack(ours), np.stack(session))}


def by_views(name: str, ours: list[np.ndarray], session: list[np.ndarray], seed: int) -> Descriptors:
    """A model's descriptors, with one view of the map's images and with three."""
    places, queries = np.stack(ours), np.stack(session)[:, :1]
    return {f"{name}, one view": (places[:, :1], queries), f"{name}, three views": (places, queries)}


@torch.inference_mode()
def pooled(name: str, ours: list[np.ndarray], session: list[np.ndarray], seed: int) -> Descriptors:
    """A backbone's features as a grid, as VLAD, and both joined; of DINOv2 AnyLoc too."""
    own = UNTRAINED[name]
    maps = [torch.from_numpy(np.concatenate(one)).float() for one in (ours, session)]
    grid = [unit(F.adaptive_avg_pool2d(standardise_channels(one[:, own.grid]), CELLS).flatten(1)) for one in maps]
    words = vlad([one[:, own.words] for one in maps], seed)
    joined = [unit(torch.cat(both, dim=1)) for both in zip(grid, words, strict=True)]
    found = {f"{name}, grid": grid, f"{name}, VLAD": words, f"{name}, grid + VLAD": joined}
    if name.startswith("dinov2"):
        found["AnyLoc"] = vlad([one[:, VALUES] for one in maps], seed)
    return {method: (one.numpy()[:, None], two.numpy()[:, None]) for method, (one, two) in found.items()}


def vlad(maps: list[Tensor], seed: int) -> list[Tensor]:
    """(N, C, h, w) of the map's images and of the session's -> (N, CENTRES * C), with centres from the former."""
    torch.manual_seed(seed)
    words = NetVLAD(maps[0].shape[1], CENTRES)
    words.learn_words(maps[0][:, :, ::2, ::2])  # a quarter of the positions: neighbours are alike
    return [torch.cat([words(some) for some in one.split(32)]) for one in maps]


@torch.inference_mode()
def bags_of_words(ours: list[np.ndarray], session: list[np.ndarray], seed: int) -> Descriptors:
    """tf-idf over words of the map's own features; the roots' product is Bhattacharyya's score."""
    bits = [[torch.from_numpy(np.unpackbits(one, axis=1)).float() for one in drive] for drive in (ours, session)]
    torch.manual_seed(seed)
    samples = torch.cat(bits[0])
    centres = k_means(samples[:: -(-len(samples) // WORD_SAMPLES)], WORDS)
    counts = [
        torch.stack([torch.cdist(one, centres).argmin(1).bincount(minlength=len(centres)) for one in drive]).float()
        for drive in bits
    ]
    idf = torch.log(len(ours) / (counts[0] > 0).sum(0).clamp(min=1))
    places, queries = (unit((one / one.sum(1, keepdim=True).clamp(min=1) * idf).sqrt()).numpy() for one in counts)
    return {"bag of words": (places[:, None], queries[:, None])}


def found_right(
    places: np.ndarray, numbers: np.ndarray, queries: np.ndarray, truth: np.ndarray, tolerance: float, protocol: str
) -> np.ndarray:
    """Whether descriptors (Q, D) find the right place of a map (N, V, D), whose images have these numbers: (F,) bool.

    Without queries that the map has no right place for.
    """
    T_map_camera = np.tile(np.eye(4), (len(places), 1, 1))
    T_map_camera[:, 0, 3] = numbers
    own = Places(np.arange(len(places)), np.full(len(places), ""), np.arange(len(places)), T_map_camera, places)
    mean = map_mean(own)
    if protocol == "as it is":
        session = SessionMean(mean)
        queries, places = np.stack([session.centred(query) for query in queries]), centred(places, mean)
    elif protocol == "alone":
        queries, places = centred(queries, mean), centred(places, mean)
    else:
        queries, places = less_mean(queries), less_mean(places)
    return right_at_1(queries, np.outer(truth, (1.0, 0.0, 0.0)), places, own.positions, within_frames(tolerance))


def less_mean(descriptors: np.ndarray) -> np.ndarray:
    """(..., D) less the mean of all, unit length again."""
    rest = descriptors - descriptors.reshape(-1, descriptors.shape[-1]).mean(0)
    return unit(torch.from_numpy(rest), dim=-1).numpy()


def measure(recording: Recording, methods: Methods, cache: Path) -> Iterator[dict[str, Any]]:
    """One row for each method and protocol."""
    features = methods.features_for(recording)
    ours, numbers = features.of(recording.reference, cache)
    session, truth = features.of(recording.query, cache)
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for seed in SEEDS if methods.random else SEEDS[:1]:
        for name, (places, queries) in methods.describe(ours, session, seed).items():
            for protocol in PROTOCOLS:
                right = found_right(places, numbers, queries[:, 0], truth, recording.tolerance, protocol)
                found.setdefault((name, protocol), []).append(right)
    for (name, protocol), rights in found.items():
        recalls = [float(right.mean()) for right in rights]
        yield {
            "method": name,
            "recording": recording.name,
            "protocol": protocol,
            "recall@1": float(np.mean(recalls)),
            "spread": float(np.std(recalls)),
            "seeds": len(recalls),
            "images": len(rights[0]),
        }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Methods by recordings and protocols."""
    cells = {(row["method"], row["recording"], row["protocol"]): row for row in rows}
    recordings = list(dict.fromkeys(str(row["recording"]) for row in rows))
    out = Table(
        "method",
        *(protocol if i else f"{name}: {protocol}" for name in recordings for i, protocol in enumerate(PROTOCOLS)),
    )
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        line = []
        for recording in recordings:
            for protocol in PROTOCOLS:
                row = cells[method, recording, protocol]
                spread = f" ±{row['spread']:.3f}" if row["spread"] > 1e-9 else ""
                line.append(f"{row['recall@1']:.3f}{spread}")
        out.add_row(method, *line)
    return out


def missed(limits: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for every limit that is missed, or names nothing that was measured."""
    found = {(row["method"], row["recording"], row["protocol"]): row["recall@1"] for row in rows}
    sentences = []
    for limit in limits:
        parts = LIMIT.fullmatch(limit)
        value = parts and found.get((parts["method"], parts["recording"], PROTOCOLS[bool(parts["alone"])]))
        if value is None:
            sentences.append(f"{limit}: nothing of that name was measured")
        elif float(value) < float(parts["least"]):
            sentences.append(f"{limit}: it is {value:.3f}")
    return sentences


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = [str(path.with_suffix(".onnx")) for path in sorted(SHIPPED.glob("*.json"))]
    parser.add_argument("models", nargs="*", default=shipped, help="names or paths (default: all shipped)")
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--pair", action="append", default=[], metavar="NAME=REFERENCE,QUERY,TOLERANCE")
    parser.add_argument("--weights", type=Path, help="folder of the backbones' starting weights")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="methods, by their beginning")
    parser.add_argument("--cache", type=Path, help="folder that keeps features, for the next run")
    parser.add_argument("--limit", action="append", default=[], metavar="METHOD@RECORDING[, alone]=VALUE")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    recordings = list(all_recordings(given.data, given.pair))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for methods in all_methods(given.models, given.weights):
            if not given.only or methods.name.startswith(tuple(given.only)):
                for recording in recordings:
                    print(f"{methods.name}, {recording.name}", flush=True)
                    rows += measure(recording, methods, given.cache or Path(folder))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    Console(width=60 + 50 * len(recordings)).print(table(rows))
    faults = missed(given.limit, rows)
    print("\n".join(faults) or f"{len(rows)} figures, {len(given.limit)} limits kept")
    return int(bool(faults) or not rows)


if __name__ == "__main__":
    sys.exit(main())
