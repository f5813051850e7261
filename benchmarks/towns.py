#!/usr/bin/env python3
"""How well the shipped model localises in towns it never saw, averaged over several.

    python benchmarks/towns.py [--seeds 9001 9002 9003] [-o runs/towns]

Each town: a map of an overcast drive (5 m), calibrated on a drive through changing weather, then sun, snow and night
drives with a detour that is not on the map, through the same localiser as the node's. Needs the simulator.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_lab.simulation.weather import ChangeableDrive
from vpr_ros.cli.common import progress_bar
from vpr_ros.evaluation.output import write_results
from vpr_ros.evaluation.study import run_drive
from vpr_ros.evaluation.summary import Assessment, assess, summarise_all
from vpr_ros.evaluation.table import tables
from vpr_ros.inference.models import find_model
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.calibrator import describe_drive, fit
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map

CONDITIONS = ("sun", "snow", "night")
WEATHER = ("rain", "sun", "night", "autumn", "snow", "dusk")


def assess_town(seed: int, model: str, folder: Path) -> list[Assessment]:
    """All of one town's query drives."""
    town = Town(seed)
    renderer = Renderer(town)
    motion = {"motion": Motion(every_m=5.0), "renderer": renderer}
    describer = open_describer(find_model(model))
    reference = SimulatedDrive(town, Condition.preset("overcast", 1), seed=1, motion=Motion(2.5), renderer=renderer)
    weather = [Condition.preset(name, 20 + k) for k, name in enumerate(WEATHER)]
    held_out = ChangeableDrive(town, weather, route="detour", seed=2, **motion)
    found = []
    with progress_bar(f"town {seed}: map") as progress:
        place_map = build_map(folder / f"{seed}.vprmap", [reference], describer, on_progress=progress)
    with progress_bar(f"town {seed}: calibration") as progress:
        described = describe_drive(held_out, place_map, describer, progress)
    calibration = fit(place_map.places, describer, [described])
    localizer = Localizer(place_map.places, describer, calibration=calibration)
    for k, name in enumerate(CONDITIONS):
        query = SimulatedDrive(town, Condition.preset(name, 30 + k), "detour", seed=10 + k, **motion)
        with progress_bar(f"town {seed}: {name}") as progress:
            run, _ = run_drive(localizer, place_map, query, name, on_progress=progress)
        found.append(assess(run))
    place_map.close()
    renderer.close()
    return found


def main() -> None:
    """Print a table for each condition over all towns, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9001, 9002, 9003])
    parser.add_argument("--model", default="demixvpr_mobilenet")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/towns"))
    options = parser.parse_args()
    by_condition: dict[str, list[Assessment]] = {name: [] for name in CONDITIONS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for assessment in assess_town(seed, options.model, Path(folder)):
                by_condition[assessment.run.condition].append(assessment)
                summary = assessment.summary
                single, filtered = summary.single.at_n[1], summary.filtered.at_n[1]
                print(f"town {seed} {summary.condition}: R@1 {single:.3f}, filtered {filtered:.3f}")

    summaries = [replace(summarise_all(runs), condition=name) for name, runs in by_condition.items()]
    everything = summarise_all([run for runs in by_condition.values() for run in runs])
    for table in tables([*summaries, everything]):
        Console().print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    write_results(options.output / "results.json", summaries, everything)
    print(json.dumps({"seeds": options.seeds, "written": str(options.output / "results.json")}))


if __name__ == "__main__":
    main()
