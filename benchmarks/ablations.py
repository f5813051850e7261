#!/usr/bin/env python3
"""Ablation of depth, NetVLAD and descriptor size: the same head, budget and data, several seeds.

    python benchmarks/ablations.py CACHE CHECKPOINT --held-out town_8000 --held-out town_8001 [--seeds 3] [--steps 60]

CACHE is the output of `vpr train towns`. CHECKPOINT of `vpr train run` gives backbone and depth decoder. The features
of all images are computed once. Prints recall@1 (single image, 25 m) by condition, mean and standard deviation over the
seeds. --json writes every figure.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.datasets import load_shards
from vpr_lab.training.head import compute_features, fit_head
from vpr_lab.training.recipe import Recipe
from vpr_ros.base.config import load_yaml

# Name: (whether the head sees true depth, what differs in the network).
VARIANTS: dict[str, tuple[bool, dict[str, Any]]] = {
    "RGB alone": (False, {"depth_channels": 0}),
    "RGB+ (as wide, no depth)": (False, {"depth_channels": 0, "rgb_channels": 192}),
    "hallucinated depth (shipped)": (False, {}),
    "true depth (bound)": (True, {}),
    "512 dimensions": (False, {"out_rows": 8, "vlad_clusters": 8}),
    "MixVPR alone": (False, {"out_channels": 64, "vlad_clusters": 0}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="cached drives")
    parser.add_argument("checkpoint", type=Path, help="checkpoint with backbone and depth decoder")
    parser.add_argument("--recipe", type=Path, default=Path("config/recipes/demixvpr_mobilenet_head.yaml"))
    parser.add_argument("--held-out", action="append", required=True, help="test world, not trained on; repeatable")
    parser.add_argument("--towns", type=int, default=0, help="number of towns to train on, 0 for all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="training batches of each variant")
    parser.add_argument("--json", type=Path, help="file for every figure")
    arguments = parser.parse_args()
    recipe = replace(load_yaml(Recipe, arguments.recipe), epochs=1, batches_per_epoch=arguments.steps)
    found = study(arguments, recipe)
    Console(width=140).print(table(found["variants"]))


def study(arguments: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """Train every variant with every seed. Recall by condition, loss and seconds of each are written after each run."""
    shards = load_shards(arguments.cache)
    kept = [shard for shard in shards if shard.world in arguments.held_out]
    worlds = sorted({shard.world for shard in shards} - set(arguments.held_out))[: arguments.towns or None]
    source = Checkpoint.load(arguments.checkpoint).network
    learnt = [shard for shard in shards if shard.world in worlds]
    features = compute_features(source, learnt, recipe.augmentation, recipe.bf16)
    kept_aside = compute_features(source, kept, None, recipe.bf16)
    variants: dict[str, Any] = {name: [] for name in VARIANTS}
    about = {"towns": len(worlds), "held_out": arguments.held_out, "steps": arguments.steps}
    found = {**about, "threads": torch.get_num_threads(), "variants": variants}
    for seed in range(arguments.seeds):
        for name, (true_depth, changes) in VARIANTS.items():
            start = time.perf_counter()
            own = replace(recipe, seed=seed, network=replace(recipe.network, **changes))
            network, scores = fit_head(own, source, features, kept_aside, true_depth)
            weights = sum(parameter.numel() for module in network.head_parts() for parameter in module.parameters())
            row = {**scores[-1], "weights": weights, "seconds": round(time.perf_counter() - start, 1)}
            variants[name].append(row)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return found


def table(variants: dict[str, list[dict[str, float]]]) -> Table:
    """Mean +- standard deviation over the seeds, in percent."""
    first = next(iter(variants.values()))[0]
    conditions = [name for name in first if name not in ("loss", "weights", "seconds")]
    out = Table("variant", "weights of the head", *conditions, "mean", title="recall@1, single image, towns kept aside")
    for name, rows in variants.items():
        values = 100 * np.array([[row[condition] for condition in conditions] for row in rows])
        values = np.column_stack([values, values.mean(1)])
        cells = [f"{m:.1f} +- {s:.1f}" for m, s in zip(values.mean(0), values.std(0), strict=True)]
        out.add_row(name, f"{rows[0]['weights'] / 1e6:.2f} M", *cells)
    return out


if __name__ == "__main__":
    main()
