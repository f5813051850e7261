#!/usr/bin/env python3
"""What does a rear camera give? A map of one camera, driven back and forth by a robot with two.

    python benchmarks/cameras.py [--bags demo/bags] [--data FOLDER] [--json FILE]

The map is of one drive that looks ahead. "back": the robot drives the other way, so that its rear camera sees what the
map shows and its front camera does not. "forth": the other way round. What a camera sees that the map does not show is
not recorded: images of the other half of the drive stand for it, upside down. The town of the demo, night on overcast,
and with --data the real corridor (a frame is a metre). Of the images on the map, of the camera that knows the way:
share whose pose of the base is right, within 25 m and 2 frames. Exits with 1 if two cameras are more than 0.02 below
the one that knows the way.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base import geometry
from vpr_ros.base.image import preprocess
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

LARGEST_LOSS = 0.02
BACKWARDS = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi), np.zeros(3))
MOUNTS = {"front": geometry.T_BODY_OPTICAL, "rear": BACKWARDS @ geometry.T_BODY_OPTICAL}


@dataclass(frozen=True, eq=False)
class Seen:
    """A drive's frames: stamps (F,), poses (F, 4, 4), descriptors (F, D) of what the map shows there, and of others."""

    stamps_ns: np.ndarray
    T_map_camera: np.ndarray
    known: np.ndarray
    unknown: np.ndarray


def describe(drive: Drive) -> Seen:
    """Describe all images of a drive, twice."""
    describer = open_describer()
    size = describer.manifest.preprocessing
    rows = []
    for frame in track(drive, f"describing {drive.name}"):
        image = frame.read()
        both = np.stack([preprocess(view, size) for view in (image, np.ascontiguousarray(image[::-1]))])
        known, unknown = describer.describe(both).descriptors
        rows.append((frame.stamp_ns, frame.T_map_camera, known, unknown))
    stamps_ns, T_map_camera, known, unknown = (np.array(column) for column in zip(*rows, strict=True))
    return Seen(stamps_ns, T_map_camera, known, np.roll(unknown, len(unknown) // 2, axis=0))


def map_of(seen: Seen, spacing_m: float) -> Places:
    """A map of a drive, a place every so many metres."""
    kept = [0]
    for row, T in enumerate(seen.T_map_camera):
        if np.linalg.norm((T - seen.T_map_camera[kept[-1]])[:3, 3]) >= spacing_m:
            kept.append(row)
    ids, drives = np.arange(1, len(kept) + 1), np.repeat("reference", len(kept))
    return Places(ids, drives, seen.stamps_ns[kept], seen.T_map_camera[kept], seen.known[kept, None])


def right(places: Places, query: Seen, way: str, cameras: list[str], odometry: bool, tolerance_m: float) -> float:
    """Share of the images of the camera that knows the way, or of the only camera, that give the right pose."""
    describer = open_describer()
    localizer = Localizer(places, describer, None, Calibration.of_model(describer.manifest.calibration))
    knows = "rear" if way == "back" else "front"
    rows = range(len(query.known))
    found = []
    for row in reversed(rows) if way == "back" else rows:
        T_map_base = query.T_map_camera[row] @ geometry.inverse(MOUNTS[knows])
        stamp_ns = int(abs(query.stamps_ns[row] - query.stamps_ns[-1 if way == "back" else 0]))
        for camera in cameras:
            descriptor = (query.known if camera == knows else query.unknown)[row]
            T_odom = T_map_base @ MOUNTS[camera] if odometry else None
            estimate = localizer.recognise(
                stamp_ns + (camera == "rear"), descriptor, T_odom, camera=camera, T_base_camera=MOUNTS[camera]
            )
            best = estimate.best
            if best is not None:
                away = geometry.inverse(T_map_base) @ best.T_map_camera @ geometry.inverse(MOUNTS[camera])
            away_m = np.linalg.norm(places.positions - query.T_map_camera[row, :3, 3], axis=1)
            if (camera == knows or len(cameras) == 1) and away_m.min() <= tolerance_m:
                near = best is not None and np.linalg.norm(away[:3, 3]) <= tolerance_m
                found.append(bool(near and geometry.angle_of(away[:3, :3]) < 1.0))
    return float(np.mean(found))


def main() -> int:
    """Returns 1 if the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"))
    parser.add_argument("--data", type=Path, default=None, help="folder of real recordings")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    sets = {"town, night": (*(open_drive(given.bags / name) for name in ("overcast", "night")), 5.0, 25.0)}
    if given.data is not None:
        corridor = [NumberedDrive(open_drive(given.data / "corridor" / name)) for name in ("ref", "query")]
        sets["corridor"] = (*corridor, 0.5, 2.5)
    report, missed = [], False
    table = Table("set", "driven", "odometry", "front alone", "rear alone", "both")
    for name, (reference, query, spacing_m, tolerance_m) in sets.items():
        places, seen = map_of(describe(reference), spacing_m), describe(query)
        for way in ("forth", "back"):
            for odometry in (True, False):
                front, rear, both = (
                    right(places, seen, way, cameras, odometry, tolerance_m)
                    for cameras in (["front"], ["rear"], ["front", "rear"])
                )
                table.add_row(name, way, "yes" if odometry else "no", f"{front:.3f}", f"{rear:.3f}", f"{both:.3f}")
                row = {"set": name, "way": way, "odometry": odometry, "front": front, "rear": rear, "both": both}
                report.append(row)
                missed |= both < max(front, rear) - LARGEST_LOSS
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(report, indent=2))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
