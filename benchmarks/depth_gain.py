#!/usr/bin/env python3
"""What depth gives MixVPR, and what was tried to make it give more: every variant in config/recipes/lab/gain.yaml.

    vpr lab data -o lab --towns 16
    python benchmarks/depth_gain.py lab --weights weights [--seeds 3] [--only gain_rgb gain_depth] [-o runs/gain]

The same head, budget and drives for all: 60 batches of 48 images of 112 x 112 pixels. Decoders are trained first, 1000
batches each. What was trained before is found again in the folder. Prints recall@1 (single image, 25 m) in percent,
mean and standard deviation over the seeds, and how many weights there are; --json writes every row.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vpr_lab.systems.bench import Bench
from vpr_lab.systems.data import LabData
from vpr_lab.systems.recipe import known_recipes
from vpr_lab.systems.table import conditions, read_rows

RECIPES = [name for name in known_recipes() if name.startswith("gain_")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what vpr lab data wrote")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder with starting weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=RECIPES, choices=RECIPES, metavar="RECIPE", help="some of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/gain"), help="gets a folder for each seed")
    parser.add_argument("--json", type=Path, help="write every row here")
    arguments = parser.parse_args()
    data = LabData.open(arguments.data)
    folders = [arguments.output / f"seed_{seed}" for seed in range(arguments.seeds)]
    rows = []
    for seed, folder in enumerate(folders):
        bench = Bench(data, folder, weights=arguments.weights, seed=seed, pictures=False)
        for name in arguments.only:
            rows.append(bench.run(name))
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    Console(width=140).print(table(folders, arguments.only))


def table(folders: list[Path], recipes: list[str]) -> Table:
    """Mean +- standard deviation over the seeds, in percent."""
    rows = [row for row in read_rows(folders) if row["recipe"] in recipes]
    shown = conditions(rows)
    out = Table("recipe", "system", *shown, "weights", "seeds", title="recall@1, single image, towns kept aside")
    for row in rows:
        scores = [row["scores"][condition] for condition in shown]
        cells = [f"{100 * s['recall']['1']:.1f} +- {100 * s['spread'].get('1', 0.0):.1f}" for s in scores]
        out.add_row(row["recipe"], row["about"], *cells, f"{row['parameters'] / 1e6:.2f} M", row["seed"])
    return out


if __name__ == "__main__":
    main()
