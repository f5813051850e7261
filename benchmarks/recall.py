#!/usr/bin/env python3
"""Recall@1 of single images in test towns: sun, snow, night and the opposite lane, on an overcast drive.

    python benchmarks/recall.py [MODEL] [--seeds 9101 9102 9103] [--json FILE]

The network alone, without filter or calibration: a query counts if the most similar reference image is within 25 m.
All drives take the whole reference route, with an image every 5 m. Queries with no reference image within 25 m are
skipped. Needs the simulator. Seeds from 9000 on were not used for training or validation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base.image import preprocess, views
from vpr_ros.evaluation.recall import right_at_1
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import learn_from

OTHER_SIDE_M = 3.4  # between the centres of both lanes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--seeds", type=int, nargs="+", default=[9101, 9102, 9103], help="towns")
    parser.add_argument("--views", type=int, default=3, help="views of each reference image (default 3)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    describer = open_describer(arguments.model)
    right: dict[str, list[bool]] = {}
    for seed in arguments.seeds:
        drives = list(drives_of(Town(seed)))
        learn_from(describer, [frame.read() for frame in drives[0]])
        drives = track(drives, f"town {seed}")
        described = [
            (drive.name, *describe(describer, drive, arguments.views if number == 0 else 1))
            for number, drive in enumerate(drives)
        ]
        _, descriptors, positions = described[0]
        for name, query, truth in described[1:]:
            found = right_at_1(query[:, 0], truth, descriptors, positions)
            right.setdefault(name, []).extend(found.tolist())
    figures = {name: {"recall@1": float(np.mean(found)), "images": len(found)} for name, found in right.items()}
    report = json.dumps(
        {"model": describer.manifest.name, "seeds": arguments.seeds, "views": arguments.views, **figures}, indent=2
    )
    print(report)
    if arguments.json:
        arguments.json.write_text(report + "\n")


def drives_of(town: Town) -> Iterator[SimulatedDrive]:
    """The reference, then the queries. Each query starts at another offset between two reference images."""
    renderer = Renderer(town)
    left = -1.0 if town.style.left_hand_traffic else 1.0
    kinds = [("overcast", "overcast", 0.0), ("sun", "sun", 0.0), ("snow", "snow", 0.0), ("night", "night", 0.0)]
    kinds.append(("opposite side, sun", "sun", left * OTHER_SIDE_M))
    for number, (name, condition, offset_m) in enumerate(kinds):
        motion = Motion(every_m=5.0, start_m=1.3 * number, offset_m=offset_m)
        preset = Condition.preset(condition, 50 + number)
        yield SimulatedDrive(town, preset, name=name, seed=number + 1, motion=motion, renderer=renderer)


def describe(describer: Describer, drive: SimulatedDrive, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors (N, count, D) of count views, and positions (N, 3), of all images of a drive."""
    descriptors, positions = [], []
    for frame in drive:
        assert frame.T_map_camera is not None
        inputs = [preprocess(view, describer.manifest.preprocessing) for view in views(frame.read(), count)]
        descriptors.append(np.concatenate([describer.describe(image[None]).descriptors for image in inputs]))
        positions.append(frame.T_map_camera[:3, 3])
    return np.stack(descriptors), np.stack(positions)


if __name__ == "__main__":
    main()
