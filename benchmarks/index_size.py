#!/usr/bin/env python3
"""Search in maps of different sizes: time, memory, and how often the best place is that of exact search.

    python benchmarks/index_size.py [--drives FOLDER] [--places 5000 20000] [--index auto RaBitQ ...] [--json FILE]
        [--least 0.98]

Descriptors are drawn to have the mean, the covariance and the likeness of neighbours of a described drive's, of which
some places are among them; queries are images of the same street by night. What an index returns is compared exactly,
as the localiser does. One thread. Exits with 1 if "auto" finds the best place of exact search less often than --least.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np

from vpr_ros.base.image import preprocess, views
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import learn_from
from vpr_ros.maps.centring import centred
from vpr_ros.maps.index import Index, chosen_factory

DEMO = Path(__file__).parents[1] / "demo" / "bags"
ALIKE = 0.8  # correlation of neighbouring places, and of a place's views
FETCHED = 50  # places, as many as the localiser fetches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=Path, default=DEMO, help="folder with overcast and night (made by make demo)")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--places", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--index", nargs="+", default=["Flat", "auto"], help="FAISS index factory strings, or auto")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--least", type=float, default=0.0, help="share of queries")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    describer = open_describer(arguments.model)
    reference = [
        frame.read() for number, frame in enumerate(open_drive(arguments.drives / "overcast")) if number % 3 == 0
    ]
    night = [frame.read() for number, frame in enumerate(open_drive(arguments.drives / "night")) if number % 4 == 0]
    learn_from(describer, reference)
    real, queries = describe(describer, reference, 3), describe(describer, night, 1)[:, 0]
    mean = real.mean((0, 1))
    real, queries = centred(real, mean), centred(queries, queries.mean(0))
    rows = []
    for places in arguments.places:
        descriptors = grown(real, places)
        exact = (descriptors.reshape(-1, descriptors.shape[-1]) @ queries.T).reshape(len(descriptors), -1, len(queries))
        best = exact.max(1).argmax(0)
        for wanted in arguments.index:
            start = time.perf_counter()
            index = Index.build(descriptors, wanted)
            built = time.perf_counter() - start
            found, times = [], []
            for query in queries:
                start = time.perf_counter()
                _, candidates = index.search(query, FETCHED)
                times.append(1e3 * (time.perf_counter() - start))
                again = (descriptors[candidates] @ query).max(1)
                found.append(candidates[again.argmax()] if len(candidates) else -1)
            rows.append(
                {
                    "places": places,
                    "index": wanted,
                    "factory": chosen_factory(wanted, places * descriptors.shape[1]),
                    "same best place": float(np.mean(np.array(found) == best)),
                    "p50 [ms]": float(np.median(times)),
                    "p99 [ms]": float(np.percentile(times, 99)),
                    "built [s]": built,
                    "bytes a place": len(faiss.serialize_index(index._index)) / places,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    if missed := [row for row in rows if row["index"] == "auto" and row["same best place"] < arguments.least]:
        sys.exit(f"auto finds the best place too seldom: {missed}")


def describe(describer: Describer, images: list[np.ndarray], count: int) -> np.ndarray:
    """Descriptors (N, count, D) of views."""
    sizes = describer.manifest.preprocessing
    inputs = [np.stack([preprocess(view, sizes) for view in views(image, count)]) for image in images]
    return np.stack([describer.describe(group).descriptors for group in inputs])


def grown(real: np.ndarray, count: int) -> np.ndarray:
    """(M, V, D) -> (count, V, D): these places, and others of the same mean and covariance along a way."""
    random, flat = np.random.default_rng(0), real.reshape(-1, real.shape[-1])
    mean = flat.mean(0)
    _, values, directions = np.linalg.svd(flat - mean, full_matrices=False)
    scaled = (directions * (values / len(flat) ** 0.5)[:, None]).astype(np.float32)
    way = np.zeros((count - len(real), len(values)), np.float32)
    state = random.standard_normal(len(values))
    for row in way:
        state = ALIKE * state + (1 - ALIKE**2) ** 0.5 * random.standard_normal(len(values))
        row[:] = state
    seen = [way]
    while len(seen) < real.shape[1]:
        noise = random.standard_normal(way.shape).astype(np.float32)
        seen.append(ALIKE * way + (1 - ALIKE**2) ** 0.5 * noise)
    made = np.stack([one @ scaled + mean for one in seen], axis=1)
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    return np.concatenate((real, made)).astype(np.float32)


if __name__ == "__main__":
    main()
