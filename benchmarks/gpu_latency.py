#!/usr/bin/env python3
"""Latency on a GPU from an image in host memory to its descriptor, the network's share, and the card's limits.

    python benchmarks/gpu_latency.py [MODEL.onnx] [--checkpoint FILE.pt] [--runs 300] [--json FILE]

Backends: TensorRT and ONNX Runtime with CUDA, each with every precision that has a file, and torch with --checkpoint.
Images: 1 and 64 of 1280 x 720. Measured are resizing on one CPU core, then everything from there to descriptors in host
memory, then the network alone on images in GPU memory.
Limits: the network's multiplications at the speed of this card's largest half-precision matrix product, and its
weights, inputs and outputs at the speed of a copy within the card, once through and layer by layer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vpr_ros.base.errors import VprError  # noqa: E402
from vpr_ros.base.image import preprocess  # noqa: E402
from vpr_ros.inference.describer import Describer  # noqa: E402
from vpr_ros.inference.models import DEFAULT_MODEL, find_model  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402
from vpr_ros.inference.precision import variant_path  # noqa: E402

BATCHES = (1, 64)
CAMERA = (720, 1280, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name or path of an .onnx file")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint of the same network, for torch")
    parser.add_argument("--runs", type=int, default=300, help="runs with one image; a quarter as many with 64")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU found: this benchmark needs one")
    model = find_model(options.model)
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "model": model.name, "limits": limits(model)}
    opened = describers(model, options.checkpoint)
    found["backends"] = [{"file": name, **measure(describer, options.runs)} for name, describer in opened]
    Console(width=180).print(table(found))
    print(json.dumps({name: found[name] for name in ("card", "limits")}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def describers(model: Path, checkpoint: Path | None) -> list[tuple[str, Describer]]:
    """Every backend that opens on the GPU, with the name of its file. Prints why another one does not."""
    precisions = [path for path in (variant_path(model, "fp16"), model) if path.is_file()]
    files = [(path, backend) for backend in ("tensorrt", "onnx") for path in precisions]
    files += [(checkpoint, "torch")] if checkpoint else []
    opened = []
    for path, backend in files:
        try:
            describer = open_describer(path, backend)
        except VprError as error:
            print(f"{backend}, {path.name}: {error}")
            continue
        if describer.backend == "onnx (CPU)":
            print(f"onnx, {path.name}: ONNX Runtime has no CUDA here")
        else:
            opened.append((path.name, describer))
    return opened


def measure(describer: Describer, runs: int) -> dict[str, Any]:
    """Milliseconds by batch size: preprocessing, preprocessed image to descriptor, network alone."""
    counts = {1: runs, 64: max(1, runs // 4)}
    figures = {f"batch {batch}": _measure_batch(describer, batch, counts[batch]) for batch in BATCHES}
    return {"backend": describer.backend, **figures}


def _measure_batch(describer: Describer, batch: int, runs: int) -> dict[str, float | None]:
    size = describer.manifest.preprocessing
    raw = list(np.random.default_rng(0).integers(0, 256, (batch, *CAMERA), np.uint8))
    shrink = _timed(lambda: np.stack([preprocess(image, size) for image in raw]), 20)
    images = np.stack([preprocess(image, size) for image in raw])
    describe = _timed(lambda: describer.describe(images), runs)
    network = _network_ms(describer, images, runs)
    alone, whole = float(np.median(describe)), float(np.median(shrink) + np.median(describe))
    return {
        "preprocess_p50": _ms(shrink, 50),
        "describe_p50": _ms(describe, 50),
        "describe_p99": _ms(describe, 99),
        "network": None if network is None else round(network, 3),
        "share_not_network_of_describe": None if network is None else round(1 - network / alone, 3),
        "share_not_network_of_all": None if network is None else round(1 - network / whole, 3),
        "images_per_s": round(1e3 * batch / alone),
    }


def _timed(work: Callable[[], object], runs: int) -> np.ndarray:
    times = []
    for run in range(-max(5, runs // 10), runs):
        start = time.perf_counter()
        work()
        if run >= 0:
            times.append(1e3 * (time.perf_counter() - start))
    return np.array(times)


def _ms(times: np.ndarray, percentile: float) -> float:
    return round(float(np.percentile(times, percentile)), 3)


def _network_ms(describer: Describer, images: np.ndarray, runs: int) -> float | None:
    """Milliseconds of the network alone on images in GPU memory; None if the backend cannot be measured so.

    Mean of runs back to back; for ONNX Runtime, median of runs that each wait for their result.
    """
    inside: Any = describer
    if hasattr(inside, "_network"):
        on_card = torch.from_numpy(images).cuda()
        with torch.inference_mode():
            return _on_card(lambda: inside._network(on_card), torch.cuda.current_stream(), runs)
    if hasattr(inside, "_run"):
        runner = inside._run
        lane = runner._single if len(images) == 1 else runner._batches
        stream = torch.cuda.ExternalStream(int(lane._stream))
        launches = -(-len(images) // lane.batch)
        return launches * _on_card(lambda: lane._context.execute_async_v3(int(lane._stream)), stream, runs)
    if hasattr(inside, "_session"):
        return float(np.median(_timed(_bound(inside._session, images), runs)))
    return None


def _bound(session: Any, images: np.ndarray) -> Callable[[], object]:
    """A blocking run of ONNX Runtime with inputs and outputs in GPU memory."""
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(images, "cuda", 0)
    )
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda")
    return lambda: session.run_with_iobinding(binding)


def _on_card(work: Callable[[], object], stream: Any, runs: int) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for run in range(-10, runs):
        if run == 0:
            begin.record(stream)
        work()
    end.record(stream)
    end.synchronize()
    return float(begin.elapsed_time(end)) / runs


def limits(model: Path) -> dict[str, float]:
    """Lower bounds from the card's arithmetic and memory, for 1 and 64 images, in half precision."""
    multiplications, weights, passed = _work(model)
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.float16) for _ in range(2))
    flops = 2 * side**3 / (1e-3 * _on_card(lambda: a @ b, torch.cuda.current_stream(), 20))
    source, target = (torch.empty(2**29, device="cuda", dtype=torch.float16) for _ in range(2))
    bytes_per_s = 4 * len(source) / (1e-3 * _on_card(lambda: target.copy_(source), torch.cuda.current_stream(), 20))
    found = {
        "million_multiplications": round(multiplications / 1e6),
        "weights_mb": round(2 * weights / 1e6, 2),
        "layers_in_and_out_mb": round(2 * passed / 1e6, 1),
        "card_tflops": round(flops / 1e12),
        "card_tb_per_s": round(bytes_per_s / 1e12, 2),
    }
    for batch in BATCHES:
        found[f"arithmetic_ms_{batch}"] = round(1e3 * batch * 2 * multiplications / flops, 4)
        found[f"weights_once_ms_{batch}"] = round(1e3 * 2 * weights / bytes_per_s, 4)
        found[f"layer_by_layer_ms_{batch}"] = round(1e3 * 2 * (weights + batch * passed) / bytes_per_s, 4)
    return found


def _work(model: Path) -> tuple[int, int, int]:
    """Per image: multiplications, count of weights, and values that convolutions and products read and write."""
    proto = onnx.load(str(model))
    nodes = [node for node in proto.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    sizes = _shapes(proto, sorted({name for node in nodes for name in (*node.input[:2], node.output[0])}))
    multiplications = weights = passed = 0
    for node in nodes:
        inside, kernel, out = (sizes[name] for name in (*node.input[:2], node.output[0]))
        multiplications += int(np.prod(out)) * int(np.prod(kernel[1:]) if node.op_type == "Conv" else inside[-1])
        weights += int(np.prod(kernel))
        passed += int(np.prod(out)) + int(np.prod(inside))
    return multiplications, weights, passed


def _shapes(proto: Any, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors inside a model, from a run with one black image."""
    graph = onnx.ModelProto.FromString(proto.SerializeToString())
    own = {value.name for value in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    found = session.run(names, {image.name: np.zeros((1, *image.shape[1:]), np.uint8)})
    return {name: value.shape for name, value in zip(names, found, strict=True)}


def table(found: dict[str, Any]) -> Table:
    """Milliseconds, one row per backend and batch size."""
    columns = ("preprocess_p50", "describe_p50", "describe_p99", "network")
    shares = ("share_not_network_of_describe", "share_not_network_of_all", "images_per_s")
    out = Table("backend", "file", "images", *columns, *shares, title=f"{found['model']} on {found['card']}, ms")
    for row in found["backends"]:
        for batch in BATCHES:
            own = row[f"batch {batch}"]
            out.add_row(row["backend"], row["file"], str(batch), *(str(own[name]) for name in (*columns, *shares)))
    return out


if __name__ == "__main__":
    main()
