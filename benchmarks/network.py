"""Latency of a model on this machine: python benchmarks/network.py [MODEL] [--threads N] [--backend B] [--runs R]."""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from vpr_ros.image import preprocess
from vpr_ros.inference.describer import BACKENDS, DEFAULT_MODEL, open_describer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, 0 for all")
    parser.add_argument("--backend", default="auto", choices=BACKENDS)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    describer = open_describer(arguments.model, arguments.backend, arguments.threads)
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    milliseconds: dict[str, list[float]] = {"preprocess": [], "network": []}
    for run in range(arguments.runs + 10):
        start = time.perf_counter()
        images = preprocess(image, describer.manifest.preprocessing)[None]
        between = time.perf_counter()
        describer.describe(images)
        end = time.perf_counter()
        if run >= 10:  # the first runs warm up
            milliseconds["preprocess"].append((between - start) * 1e3)
            milliseconds["network"].append((end - between) * 1e3)
    report: dict[str, object] = {
        "model": describer.manifest.name,
        "backend": describer.backend,
        "threads": arguments.threads,
    }
    for name, values in milliseconds.items():
        report[f"{name}_ms"] = {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95)}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
