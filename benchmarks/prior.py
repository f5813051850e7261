#!/usr/bin/env python3
"""What does a position from another source give? The demo's town, with priors of several errors, right and wrong.

    python benchmarks/prior.py [--bags demo/bags] [--seeds 5] [--model NAME] [--json FILE]

The map is of the overcast drive; queries are sun, snow and night. Each image gets a prior whose error is drawn from a
normal law of the standard deviation that it states. "wrong": 500 m off in one direction, stated as 10 m. Frames on the
map; recall@1 of the ranked places ("single") and of the filtered answers. Limits, against no prior: single at least
+0.03, +0.015 and +0.0 for 10, 30 and 100 m, and at most 0.01 less for wrong priors. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from described import Described, Network, described, places_of
from rich.console import Console
from rich.table import Table

from vpr_ros.base.records import Prior
from vpr_ros.drives.open import open_drive
from vpr_ros.evaluation.record import Run, answer_from_estimate
from vpr_ros.evaluation.summary import Summary, assess
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import learn_vocabulary
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

QUERIES = ("sun", "snow", "night")
GAIN = {"10 m": 0.03, "30 m": 0.015, "100 m": 0.0, "500 m wrong": -0.01}
SIGMA_M = {"10 m": 10.0, "30 m": 30.0, "100 m": 100.0, "500 m wrong": 10.0}


def drive(places: Places, calibration: Calibration, query: Described, kind: str, seed: int) -> Summary:
    """Localise a drive with priors of a kind; "none" has none."""
    rng = np.random.default_rng(seed)
    localizer, images = Localizer(places, None, None, calibration), query  # type: ignore[arg-type]
    away = np.array([np.cos(seed), np.sin(seed)]) * (500.0 if "wrong" in kind else 0.0)
    answers = []
    for row, stamp_ns in enumerate(images.stamps_ns):
        priors: tuple[Prior, ...] = ()
        if kind != "none":
            sigma = SIGMA_M[kind]
            position = images.T_map_camera[row, :2, 3] + away + rng.normal(0, sigma, 2)
            priors = (Prior(position, np.eye(2) * sigma**2),)
        estimate = localizer.recognise(
            int(stamp_ns), images.descriptors[row, 0], images.T_odom_camera[row], priors=priors
        )
        answers.append(answer_from_estimate(estimate, row, images.T_map_camera[row], 0.0))
    return assess(Run(images.name, images.name, tuple(answers), places.T_map_camera)).summary


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"))
    parser.add_argument("--seeds", type=int, default=5, help="drives with other errors of the priors")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    describer = open_describer(given.model)
    learn_vocabulary([open_drive(given.bags / "overcast")], describer, every_m=5.0, every_s=0.0)
    network = Network(describer)
    reference, *queries = (
        described(name, open_drive(given.bags / name), 1 if name in QUERIES else 3, network)
        for name in ("overcast", *QUERIES)
    )
    places = places_of(reference, 5.0)
    calibration = Calibration.of_model(describer.manifest.calibration)
    rows, faults = [], 0
    for query in queries:
        alone = drive(places, calibration, query, "none", 0)
        for kind in ("none", *SIGMA_M):
            found = [drive(places, calibration, query, kind, seed) for seed in range(given.seeds)]
            single = float(np.mean([one.single.at_n[1] for one in found]))
            missed = kind in GAIN and single - alone.single.at_n[1] < GAIN[kind]
            faults += missed
            rows.append(
                {
                    "drive": query.name,
                    "prior": kind,
                    "single": single,
                    "filtered": float(np.mean([one.filtered.at_n[1] for one in found])),
                    "false off": float(np.mean([one.false_off_map for one in found])),
                    "detected": float(np.mean([one.off_map_detected for one in found])),
                    "missed": bool(missed),
                }
            )
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=120).print(table)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{faults} limits missed")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
