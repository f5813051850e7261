#!/usr/bin/env python3
"""The filter on real recordings: on their own map, on maps of other places, and calibrated on half of a map.

    python benchmarks/real_filter.py --data FOLDER [MODEL] [--pair NAME=REFERENCE,QUERY,TOLERANCE] [--json FILE]

Recordings are those of ``real.py``: the one drive is the map, with three views of every image, the other is localised
image by image, without odometry. Nothing is trained on them. Every run is a look at them: count your looks.

- own: uncalibrated, on the drive's own map. Right is a pose within the recording's tolerance.
- other: uncalibrated, on a map of another recording: every image is off the map.
- half: one half of the map, calibrated with the very drive that is then localised, since there is no third one. Right
  is a pose within the radius of a hypothesis, 5 frames, which is what a calibration calls right.

Limits: own, filtered not below single - 0.01, called off falsely at most 0.05; other, called off at least 0.95; half,
expected calibration error at most 0.05, poses of probability 0.9 and more right at least 0.97, off-map frames detected
at least 0.9. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from described import Network, described, places_of
from real import Recording, all_recordings
from rich.table import Table
from verdict import verdict

from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.metrics import share
from vpr_ros.evaluation.record import Run, Tolerance, answer_from_estimate
from vpr_ros.evaluation.summary import assess
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import learn_from
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.hypotheses import hypothesis_radius
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

COLUMNS = ("single", "filtered", "false off", "detected", "ece", "sure right", "sure")
ELSEWHERE = 1e6  # frames from any map


def figures(
    places: Places, describer: Describer, drive: DescribedDrive, calibration: Calibration, reach: float
) -> dict[str, float]:
    """Localise a drive. reach: the largest error of a right pose, frames."""
    localizer = Localizer(places, describer, None, calibration)
    answers = tuple(
        answer_from_estimate(localizer.recognise(int(drive.stamps_ns[row]), drive.descriptors[row]), row, T, 0.0)
        for row, T in enumerate(drive.T_map_camera)
    )
    return figures_of(Run(drive.name, drive.name, answers, places.T_map_camera, Tolerance(reach, int(reach), reach)))


def figures_of(run: Run) -> dict[str, float]:
    """The columns of a table, by name."""
    assessment = assess(run)
    summary, scores = assessment.summary, assessment.scores
    sure = ~scores.called_off_map & (scores.confidence >= 0.9)
    return {
        "single": summary.single.at_n[1],
        "filtered": summary.filtered.at_n[1],
        "false off": summary.false_off_map,
        "detected": summary.off_map_detected,
        "ece": summary.ece,
        "sure right": share(scores.correct[sure]),
        "sure": float(sure.sum()),
    }


def drive_of(describer: Describer, recording: Recording, away: float = 0.0) -> DescribedDrive:
    """The query of a recording. away: frames that its positions are moved by."""
    query = described(recording.name, NumberedDrive(open_drive(recording.query)), 1, Network(describer))
    T = query.T_map_camera.copy()
    T[:, 0, 3] += away
    return replace(query, T_map_camera=T).whole


def measure(describer: Describer, recordings: list[Recording]) -> Iterator[dict[str, Any]]:
    """The rows of the table."""
    default = Calibration.of_model(describer.manifest.calibration)
    for recording in recordings:
        reference = NumberedDrive(open_drive(recording.reference))
        learn_from(describer, [frame.read() for frame in reference])
        places = places_of(described(recording.name, reference, 3, Network(describer)), 0.0)
        for other in recordings:
            if other is not recording:
                drive = drive_of(describer, other, ELSEWHERE)
                row = figures(places, describer, drive, default, recording.tolerance)
                yield {"map": recording.name, "kind": f"other: {other.name}", **row}
        drive = drive_of(describer, recording)
        row = figures(places, describer, drive, default, recording.tolerance)
        yield {"map": recording.name, "kind": "own", **row}
        for name, rows in zip(("first half", "second half"), np.array_split(np.arange(len(places)), 2), strict=True):
            half = places.subset(rows)
            fitted = fit(half, describer, [drive], default=default).calibration
            row = figures(half, describer, drive, fitted, hypothesis_radius(0.0, half))
            yield {"map": recording.name, "kind": name, **row}


def missed(row: dict[str, Any]) -> list[str]:
    """The limits that a row misses."""
    kind, faults = row["kind"], []
    if kind == "own":
        faults += ["filtered"] * (row["filtered"] < row["single"] - 0.01)
        faults += ["false off"] * (row["false off"] > 0.05)
    elif kind.startswith("other"):
        faults += ["detected"] * (row["detected"] < 0.95)
    else:
        faults += ["ece"] * (row["ece"] > 0.05)
        faults += ["sure right"] * (row["sure"] > 0 and row["sure right"] < 0.97)
        faults += ["detected"] * (row["detected"] < 0.9)
    return faults


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--pair", action="append", default=[], metavar="NAME=REFERENCE,QUERY,TOLERANCE")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    recordings = list(all_recordings(given.data, given.pair))
    out, rows = Table("map", "drive", *COLUMNS, "missed"), []
    for row in measure(open_describer(given.model), recordings):
        rows.append(row)
        shown = [f"{row[name]:.0f}" if name == "sure" else f"{row[name]:.3f}" for name in COLUMNS]
        out.add_row(row["map"], row["kind"], *shown, ", ".join(missed(row)))
    return verdict(out, rows, sum(bool(missed(row)) for row in rows), given.json)


if __name__ == "__main__":
    sys.exit(main())
