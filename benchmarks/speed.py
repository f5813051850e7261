#!/usr/bin/env python3
"""CPU latency of a model compared with MixVPR on ResNet-50, and speed and recall of its smaller variants.

    python benchmarks/speed.py [MODEL] [--variants] [--threads 2] [--runs 100] [--json FILE] [--limit 0.30]

MixVPR (Ali-bey et al. 2023): ResNet-50 to layer3, 320 x 320 pixels, four mixers, 1024 x 4 dimensions. Its weights here
are random, which takes the same time. It is built with torch and runs on ONNX Runtime like the model. All models take
turns image by image, so that other load affects all. --variants writes fp16 and INT8 into a temporary folder,
calibrated on one of the demo's drives, and compares them on the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vpr_lab.network.aggregators import MixVPR  # noqa: E402
from vpr_ros.base.image import Preprocessing, preprocess  # noqa: E402
from vpr_ros.drives.open import open_drive  # noqa: E402
from vpr_ros.evaluation.models import Figures, measure, table  # noqa: E402
from vpr_ros.inference.describer import Manifest, fingerprint_file  # noqa: E402
from vpr_ros.inference.models import DEFAULT_MODEL, find_model  # noqa: E402
from vpr_ros.inference.precision import VARIANTS, variant_path  # noqa: E402
from vpr_ros.inference.quantise import calibration_images, write_float16, write_int8  # noqa: E402

BAGS = ROOT / "demo" / "bags"
CALIBRATION_DRIVE = "changeable"
DRIVES = ("overcast", "sun", "snow", "night")
SIDE = 320


class Bottleneck(nn.Module):
    """ResNet-50's block: 1 x 1, 3 x 3 and 1 x 1 convolutions with a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * width:
            convolution = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class MixVPRResNet50(nn.Module):
    """(B, 320, 320, 3) uint8 -> (B, 4096) descriptors, from (B, 1024, 20, 20) features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = 64
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2)):
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, stride if block == 0 else 1))
                inputs = 4 * width
        self.encoder = nn.Sequential(*layers)
        self.aggregator = MixVPR(1024, (SIDE // 16) ** 2, 1024, 4, mixers=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.aggregator(self.encoder(images.float().permute(0, 3, 1, 2) / 127.5 - 1))


def write_mixvpr(path: Path) -> Path:
    """The reference network as ONNX with a manifest."""
    network = MixVPRResNet50().eval()
    images = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (images,), str(path), input_names=["image"], output_names=["descriptor"], dynamo=False
        )
    Manifest(path.stem, fingerprint_file(path), 4096, False, Preprocessing(SIDE, SIDE)).save(path)
    return path


def write_variants(model: Path, folder: Path) -> list[Path]:
    """Write fp16 and INT8 of a model. INT8 is calibrated on a drive that is not measured on."""
    paths = [variant_path(model, precision, folder) for precision in VARIANTS]
    write_float16(model, paths[0])
    drive = open_drive(BAGS / CALIBRATION_DRIVE)
    write_int8(model, paths[1], calibration_images([drive], Manifest.load(model).preprocessing))
    return paths


def preprocessing_ms(size: Preprocessing, runs: int) -> float:
    """Median milliseconds of preprocessing a 1280 x 720 image."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        preprocess(image, size)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def main() -> None:
    """Print the table and the ratio, write JSON; exit 1 above --limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name or path of an .onnx file")
    parser.add_argument("--variants", action="store_true", help="fp16 and INT8 too, compared on the demo's drives")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2), 0 for all")
    parser.add_argument("--runs", type=int, default=100, help="images per model (default 100)")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--limit", type=float, default=0.0, help="exit 1 if the ratio is above this")
    options = parser.parse_args()
    model = find_model(options.model)
    with tempfile.TemporaryDirectory() as name:
        paths = [model, *(write_variants(model, Path(name)) if options.variants else [])]
        drives = [open_drive(BAGS / drive) for drive in DRIVES] if options.variants else []
        rival = write_mixvpr(Path(name) / "mixvpr_resnet50.onnx")
        figures = measure(paths, drives, options.threads, options.runs, rivals=[rival])
    report = summarise(figures, preprocessing_ms(Manifest.load(model).preprocessing, options.runs))
    Console().print(table(figures))
    print(json.dumps({key: value for key, value in report.items() if key != "models"}, indent=2))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(bool(options.limit and report["ratio_p50"] > options.limit))


def summarise(figures: list[Figures], preprocess_p50_ms: float) -> dict[str, object]:
    """The content of the JSON file. Ratios are to MixVPR on ResNet-50, the last of the figures."""
    *own, rival = figures
    return {
        "ratio_p50": round(own[0].latency_p50_ms / rival.latency_p50_ms, 3),
        "ratio_p50_of": {row.model: round(row.latency_p50_ms / rival.latency_p50_ms, 3) for row in own},
        "preprocess_p50_ms": round(preprocess_p50_ms, 2),
        "calibration_drive": CALIBRATION_DRIVE,
        "models": [asdict(row) for row in figures],
    }


if __name__ == "__main__":
    main()
