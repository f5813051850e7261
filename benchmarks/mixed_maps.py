#!/usr/bin/env python3
"""Maps that are not alike everywhere: streets beside a corridor, a robot that parked, places further apart on one half.

    python benchmarks/mixed_maps.py [--data FOLDER] [--bags demo/bags] [--model NAME] [--json FILE]

The demo's sun, snow and night drives are localised, uncalibrated, with odometry and without, on these maps:

- street and corridor: 30 or 60 places of the overcast drive, and all images of both drives of ``corridor`` in --data;
- parked: 40 % of the overcast drive, and 400 noisy copies of its first place;
- uneven: the overcast drive with a place every 5 m on its first half and every 25 m on its second;
- even: the overcast drive, for comparison.

Columns: recall@1 of single images and filtered, called off the map falsely, off-map images detected, expected
calibration error, poses of probability 0.9 and more, and the share of these that is right. Limits: of such poses at
least 0.97 are right, and the expected calibration error is at most 0.05. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from described import Described, Network, described, places_of
from real import all_recordings
from real_filter import figures_of
from rich.table import Table
from verdict import verdict

from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.record import Run, answer_from_estimate
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import learn_vocabulary
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

COLUMNS = ("single", "filtered", "false off", "detected", "ece", "sure", "sure right")
LIMITS = {"sure right": 0.97, "ece": 0.05}
FAR_M = 10_000.0  # from the streets to the corridor
PARKED, NOISE = 400, 0.35  # copies of a place, and their noise as a share of the descriptor


def joined(*parts: Places) -> Places:
    """One map of several drives."""
    names = ("drives", "stamps_ns", "T_map_camera", "descriptors")
    arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return Places(np.arange(1, sum(map(len, parts)) + 1), *arrays)


def corridor_of(network: Network, data: Path) -> Places:
    """All images of both drives of the corridor, half a metre apart, far from the streets."""
    (recording,) = [one for one in all_recordings(data, []) if one.name == "corridor"]
    found = []
    for name in ("reference", "query"):
        drive = described(f"corridor-{name}", NumberedDrive(open_drive(getattr(recording, name))), 1, network)
        drive.T_map_camera[:, :2, 3] = 0.5 * drive.T_map_camera[:, :2, 3] + FAR_M
        found.append(places_of(drive, 0.0))
    return joined(*found)


def maps(reference: Described, network: Network, data: Path | None) -> Iterator[tuple[str, Places]]:
    """Name and places of each map."""
    street = places_of(reference, 5.0)
    yield "even", street
    half = len(street) // 2
    yield "uneven", joined(street.subset(np.arange(half)), street.subset(np.arange(half, len(street), 5)))
    part, rng = street.subset(np.arange(int(0.4 * len(street)))), np.random.default_rng(0)
    parked = part.subset(np.zeros(PARKED, int))
    noisy = parked.descriptors + NOISE * rng.normal(0, parked.descriptors.shape[2] ** -0.5, parked.descriptors.shape)
    parked.descriptors[:] = noisy / np.linalg.norm(noisy, axis=2, keepdims=True)
    yield "parked", joined(parked, part)
    if data is None:
        print("street and corridor is left out: give --data", file=sys.stderr)
        return
    corridor = corridor_of(network, data)
    for count in (30, 60):
        for first in (60, 150):
            yield (
                f"street {count} at {first}, corridor",
                joined(street.subset(np.arange(first, first + count)), corridor),
            )


def figures(places: Places, describer: Describer, drive: Described, odometry: bool) -> dict[str, float]:
    """Localise a drive, uncalibrated."""
    calibration = Calibration.of_model(describer.manifest.calibration)
    localizer = Localizer(places, describer, None, calibration)
    answers = []
    for row, T in enumerate(drive.T_map_camera):
        T_odom = drive.T_odom_camera[row] if odometry else None
        estimate = localizer.recognise(int(drive.stamps_ns[row]), drive.descriptors[row, 0], T_odom)
        answers.append(answer_from_estimate(estimate, row, T, 0.0))
    return figures_of(Run(drive.name, drive.name, tuple(answers), places.T_map_camera))


def missed(row: dict[str, Any]) -> list[str]:
    """The limits that a row misses."""
    faults = ["sure right"] * (row["sure"] > 0 and row["sure right"] < LIMITS["sure right"])
    return faults + ["ece"] * (row["ece"] > LIMITS["ece"])


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"), help="folder of the demo's drives")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    describer = open_describer(given.model)
    learn_vocabulary([open_drive(given.bags / "overcast")], describer, every_m=5.0, every_s=0.0)
    network = Network(describer)
    reference = described("overcast", open_drive(given.bags / "overcast"), 1, network)
    queries = [described(name, open_drive(given.bags / name), 1, network) for name in ("sun", "snow", "night")]
    table, rows = Table("map", "drive", "odometry", *COLUMNS, "missed"), []
    for name, places in maps(reference, network, given.data):
        for query in queries:
            for odometry in (True, False):
                row: dict[str, Any] = {"map": name, "drive": query.name, "odometry": odometry}
                row |= figures(places, describer, query, odometry)
                row["missed"] = missed(row)
                rows.append(row)
                numbers = (f"{row[column]:.3f}" if column != "sure" else f"{row[column]:.0f}" for column in COLUMNS)
                table.add_row(name, query.name, "yes" if odometry else "no", *numbers, ", ".join(row["missed"]))
    return verdict(table, rows, sum(bool(row["missed"]) for row in rows), given.json)


if __name__ == "__main__":
    sys.exit(main())
