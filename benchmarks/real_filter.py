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
expected calibration error at most 0.05, poses of probability 0.9 and more right at least 0.97, off the map called so at
least 0.9. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real import Recording, all_recordings
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base.image import preprocess, views
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.metrics import reliability, share
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


@dataclass(frozen=True, eq=False)
class Told:
    """Answers of one drive on one map, an entry an image.

    on_map: whether the map shows its place. single, right: whether the most similar place and the pose are right.
    """

    on_map: np.ndarray
    single: np.ndarray
    right: np.ndarray
    off: np.ndarray
    confidence: np.ndarray

    def figures(self) -> dict[str, float]:
        on, off, posed = self.on_map, self.off, ~self.off
        correct = np.where(on, posed & self.right, off)
        sure = posed & (self.confidence >= 0.9)
        return {
            "single": share(self.single[on]),
            "filtered": share(correct[on]),
            "false off": share(off[on]),
            "detected": share(off[~on]),
            "ece": reliability(self.confidence, correct).expected_calibration_error,
            "sure right": share(correct[sure]),
            "sure": float(sure.sum()),
        }


def described(describer: Describer, folder: Path, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(stamps (F,), descriptors (F, count, D), poses (F, 4, 4)) of a drive whose positions are frame numbers."""
    stamps, descriptors, poses = [], [], []
    for frame in track(NumberedDrive(open_drive(folder)), f"describing {folder.name}", transient=True):
        inputs = [preprocess(view, describer.manifest.preprocessing) for view in views(frame.read(), count)]
        descriptors.append(np.concatenate([describer.describe(image[None]).descriptors for image in inputs]))
        stamps.append(frame.stamp_ns)
        poses.append(frame.T_map_camera)
    return np.array(stamps), np.stack(descriptors).astype(np.float32), np.stack(poses)


def drive_of(describer: Describer, recording: Recording) -> DescribedDrive:
    stamps_ns, descriptors, T = described(describer, recording.query, 1)
    return DescribedDrive(recording.name, stamps_ns, descriptors[:, 0], T, [None] * len(stamps_ns))


def told(
    places: Places, describer: Describer, drive: DescribedDrive, calibration: Calibration, reach: float, foreign: bool
) -> Told:
    """Localise a drive. reach: the largest error of a right pose, frames. foreign: none of its images is on the map."""
    localizer, rows = Localizer(places, describer, None, calibration), []
    for row, stamp_ns in enumerate(drive.stamps_ns):
        estimate = localizer.recognise(int(stamp_ns), drive.descriptors[row])
        number, best = drive.T_map_camera[row, 0, 3], estimate.best
        on_map = not foreign and np.abs(places.positions[:, 0] - number).min() <= reach
        single = abs(estimate.matches[0].T_map_camera[0, 3] - number) <= reach
        right = best is not None and abs(np.round(best.T_map_camera[0, 3] - number)) <= reach
        confidence = estimate.off_map_probability if best is None else best.probability
        rows.append((on_map, single, right, best is None, confidence))
    return Told(*(np.array(column) for column in zip(*rows, strict=True)))


def measure(describer: Describer, recordings: list[Recording]) -> Iterator[dict[str, Any]]:
    default = Calibration.of_model(describer.manifest.calibration)
    for recording in recordings:
        images = [frame.read() for frame in NumberedDrive(open_drive(recording.reference))]
        learn_from(describer, images)
        stamps_ns, descriptors, T = described(describer, recording.reference, 3)
        ids, names = np.arange(1, len(T) + 1), np.array([recording.name] * len(T))
        places = Places(ids, names, stamps_ns, T, descriptors)
        for other in recordings:
            drive = drive_of(describer, other)
            foreign = other is not recording
            answers = told(places, describer, drive, default, recording.tolerance, foreign)
            kind = f"other: {other.name}" if foreign else "own"
            yield {"map": recording.name, "kind": kind, **answers.figures()}
            if foreign:
                continue
            for name, rows in zip(("first half", "second half"), np.array_split(np.arange(len(T)), 2), strict=True):
                half = places.subset(rows)
                fitted = fit(half, describer, [drive], default=default).calibration
                answers = told(half, describer, drive, fitted, hypothesis_radius(0.0, half), False)
                yield {"map": recording.name, "kind": name, **answers.figures()}


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
    Console(width=140).print(out)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    faults = sum(bool(missed(row)) for row in rows)
    print(f"{len(rows)} rows, {faults} miss a limit")
    return int(bool(faults) or not rows)


if __name__ == "__main__":
    sys.exit(main())
