#!/usr/bin/env python3
"""What do stored descriptors of fewer bits cost? Answers of each type against float32, on a town and real recordings.

    python benchmarks/descriptor_types.py [--bags demo/bags] [--data FOLDER] [--views 3] [--json FILE]

The demo's overcast drive is the map for its sun and night drives, with odometry. --data holds gardens_point, stromovka
and corridor: one drive of each is the map for another, by frame numbers and without odometry; what is not there is left
out. Nothing is calibrated. Prints recall@1 of single images, filtered recall@1 and the expected calibration error.
Limits, against float32: recall@1 of single images and calibration error 0.01 worse, for each type that is listed by
--hold (int8 by default; "bit" is what is wanted, and misses). Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vpr_ros.base.errors import DriveError
from vpr_ros.base.image import preprocess, views
from vpr_ros.drives.drive import sample
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.record import Run, Tolerance, answer_from_estimate
from vpr_ros.evaluation.summary import assess, summarise_all
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places
from vpr_ros.maps.storage import DESCRIPTOR_TYPES, Storage

REAL = {  # reference, query, frames
    "gardens_point": ("day_right", "day_left", 3.0),
    "stromovka": ("season_00", "season_01", 1.0),
    "corridor": ("ref", "query", 2.0),
}
SPACING_M = 5.0
WORSE = 0.01


def described(
    path: Path, describer: Describer, count: int, numbered: bool, every_m: float = 0.0
) -> tuple[DescribedDrive, np.ndarray]:
    """A drive after the network, with images every_m metres apart, and descriptors (F, count, D) of their views."""
    drive = open_drive(path)
    frames = list(sample(NumberedDrive(drive) if numbered else drive, every_m))
    size = describer.manifest.preprocessing
    found = [
        describer.describe(np.stack([preprocess(view, size) for view in views(frame.read(), count)])).descriptors
        for frame in frames
    ]
    T = np.stack([frame.T_map_camera for frame in frames if frame.T_map_camera is not None])
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    whole = np.stack([one[0] for one in found])
    return DescribedDrive(path.name, stamps_ns, whole, T, [frame.T_odom_camera for frame in frames]), np.stack(found)


def places_of(drive: DescribedDrive, descriptors: np.ndarray) -> Places:
    """A map of a drive."""
    ids, names = np.arange(1, len(drive.stamps_ns) + 1), np.array([drive.name] * len(drive.stamps_ns))
    return Places(ids, names, drive.stamps_ns, drive.T_map_camera, descriptors)


def stored(places: Places, kind: str) -> Places:
    """The places as a map with this type of descriptors gives them back."""
    storage, dimension = Storage(kind), places.descriptors.shape[-1]
    return replace(places, descriptors=storage.decoded(storage.encoded(places.descriptors), dimension))


def figures(
    places: Places, queries: list[DescribedDrive], describer: Describer, tolerance: Tolerance
) -> dict[str, float]:
    """Over all queries."""
    assessments = []
    calibration = Calibration.of_model(describer.manifest.calibration)
    for query in queries:
        localizer = Localizer(places, describer, None, calibration)
        answers = tuple(
            answer_from_estimate(localizer.recognise(int(stamp), x, T_odom), row, T, 0.0)
            for row, (stamp, x, T_odom, T) in enumerate(
                zip(query.stamps_ns, query.descriptors, query.T_odom_camera, query.T_map_camera, strict=True)
            )
        )
        assessments.append(assess(Run(query.name, query.name, answers, places.T_map_camera, tolerance)))
    summary = summarise_all(assessments)
    return {"single": summary.single.at_n[1], "filtered": summary.filtered.at_n[1], "ece": summary.ece}


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"))
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--views", type=int, default=3, choices=(1, 3))
    parser.add_argument("--hold", nargs="*", default=["int8"], choices=DESCRIPTOR_TYPES)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    describer = open_describer()
    reference, of_views = described(given.bags / "overcast", describer, given.views, False, SPACING_M)
    queries = [described(given.bags / name, describer, 1, False)[0] for name in ("sun", "night")]
    sets = {"town": (places_of(reference, of_views), queries, Tolerance())}
    for name, (ref, query, frames) in REAL.items() if given.data else ():
        try:
            reference, of_views = described(given.data / name / ref, describer, given.views, True)
            tested = described(given.data / name / query, describer, 1, True)[0]
        except DriveError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        sets[name] = places_of(reference, of_views), [tested], Tolerance(frames, frames, frames)
    found = {
        kind: {
            name: figures(stored(places, kind), queries, describer, tolerance)
            for name, (places, queries, tolerance) in sets.items()
        }
        for kind in DESCRIPTOR_TYPES
    }
    table = Table("descriptors", *sets)
    for kind, of_sets in found.items():
        table.add_row(kind, *(", ".join(f"{value:.3f}" for value in values.values()) for values in of_sets.values()))
    Console(width=160).print(table)
    missed = [
        f"{kind} on {name}: {what}"
        for kind in given.hold
        for name, values in found[kind].items()
        for what, worse in (
            ("single", found["float32"][name]["single"] - values["single"]),
            ("ece", values["ece"] - found["float32"][name]["ece"]),
        )
        if worse > WORSE
    ]
    print("\n".join(f"MISSED {line}" for line in missed) or f"{', '.join(given.hold)}: within {WORSE} of float32")
    if given.json:
        given.json.write_text(json.dumps({**found, "missed": missed}, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
