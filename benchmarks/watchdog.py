#!/usr/bin/env python3
"""Does the watchdog report a localiser that was thrown off, and stay silent beside one that is right?

    python benchmarks/watchdog.py [--towns 9301 9302 9303] [--laps 3] [--bags demo/bags] [--cache DIR] [--json FILE]

The real localiser answers the images of simulated drives: sun, snow, night and changing weather of `make demo`, and
laps through other towns by sun, snow and night, rendered here: a detour off the map, an image every 5 m, 8 m/s.
The maps have a place every 5 m and the model's own calibration. The other localiser is simulated: the true pose, off by
smooth noise (0.1 to 0.3 m, 0.5 to 1.5 degrees, drawn for each drive), as poses at 20 Hz that come up to 0.8 s late.
Both go through the code of the adapter: ``PoseComparison``, with ``PoseTrack``.

True: every drive, with odometry and without; repeated with other noise if that is less than two hours. No image may
bring a false alarm. Thrown: at every fifth image, 10 m in a random direction, and half of them turned by up to 30
degrees as well; it then moves as the robot does. Of those with the robot on the map (within 25 m of a place) for the
next 10 s, 99.5 % must be reported within 10 s. Off the map for 5 s, the verdict must be "cannot tell". Exits with 1 if
a limit is missed. The thresholds were chosen on the demo's town and 9301.

Rendering needs the simulator and takes hours on a small machine; --cache keeps what the network made of the images, and
--laps 0 takes the demo's drives alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from described import SECOND, Described, Network, described, places_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vpr_ros.base import geometry
from vpr_ros.base.records import Estimate
from vpr_ros.base.track import PoseTrack, Track
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places
from vpr_ros.ros.outputs.comparison import Comparison, PoseComparison, Verdict

CONDITIONS = ("sun", "snow", "night")
BAGS = (*CONDITIONS, "changeable")
EVERY_M = 5.0
OFF_MAP_M = 25.0  # further from every place is off the map
DELAY_NS, GAP_NS = SECOND // 2, SECOND // 2  # the adapter's: of a comparison, and of TF
PERIOD_NS = SECOND // 20  # of the other's poses
TURN_RAD = np.radians(30.0)  # of the robot, within 20 m of a throw: it is turning
LIMITS = {"false alarms": 0, "hours": 2.0, "reported": 0.995, "cannot tell": 1.0, "agree": 0.85}


@dataclass(frozen=True, eq=False)
class Answered:
    """A drive with the localiser's answers.

    off_map_m: (F,) metres to the nearest place. spacing: metres between the map's places.
    """

    drive: Described
    odometry: bool
    answers: list[Estimate]
    off_map_m: np.ndarray
    spacing: float


def drives(given: argparse.Namespace) -> Iterator[tuple[Described, list[Described]]]:
    """(reference, queries) of the demo's town, then of each other one."""
    network = Network(open_describer(), given.cache)

    def load(name: str, drive: Any, count: int = 1) -> Described:
        return described(name, drive, count, network)

    bags = {name: open_drive(given.bags / name) for name in ("overcast", *BAGS)}
    yield load("bag-overcast", bags["overcast"], 3), [load(f"bag-{name}", bags[name]) for name in BAGS]
    for seed in given.towns if given.laps else ():
        from vpr_lab.simulation.conditions import Condition
        from vpr_lab.simulation.drives import Motion, SimulatedDrive
        from vpr_lab.simulation.renderer import Renderer
        from vpr_lab.simulation.town import Town

        town, motion = Town(seed), Motion(every_m=EVERY_M)
        renderer = Renderer(town)

        def drive(preset: tuple[str, int], route: str, number: int) -> Any:
            condition = Condition.preset(*preset)
            return SimulatedDrive(town, condition, route, seed=number, motion=motion, renderer=renderer)  # noqa: B023

        reference = load(f"{seed}-reference", drive(("overcast", 1), "reference", 1), 3)
        laps = [(lap, k, name) for lap in range(given.laps) for k, name in enumerate(CONDITIONS)]
        numbers = [3 * lap + k for lap, k, _ in laps]
        yield (
            reference,
            [
                load(f"{seed}-{name}-{lap}", drive((name, 30 + number), "detour", 10 + number))
                for number, (lap, _, name) in zip(numbers, laps, strict=True)
            ],
        )


def answered(places: Places, calibration: Calibration, drive: Described, odometry: bool) -> Answered:
    """The localiser's answers to a drive."""
    localizer = Localizer(places, None, None, calibration)  # type: ignore[arg-type]
    answers = [
        localizer.recognise(int(stamp_ns), descriptor[0], T_odom_camera if odometry else None)
        for stamp_ns, descriptor, T_odom_camera in zip(
            drive.stamps_ns, drive.descriptors, drive.T_odom_camera, strict=True
        )
    ]
    away = drive.T_map_camera[:, None, :2, 3] - places.positions[None, :, :2]
    return Answered(drive, odometry, answers, np.linalg.norm(away, axis=2).min(axis=1), places.spacing)


def smooth_noise(stamps_ns: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) Gaussian noise that forgets itself within 2 s, at ascending stamps (N,)."""
    out, value = np.empty(len(stamps_ns)), sigma * rng.standard_normal()
    for k, step_ns in enumerate(np.diff(stamps_ns, prepend=stamps_ns[0])):
        kept = np.exp(-step_ns / (2 * SECOND))
        value = kept * value + np.sqrt(1 - kept**2) * sigma * rng.standard_normal()
        out[k] = value
    return out


class Other:
    """Another localiser on a drive: its pose at each image, as the adapter has it half a second later."""

    def __init__(self, drive: Described, rng: np.random.Generator) -> None:
        stamps_ns = np.arange(drive.stamps_ns[0], drive.stamps_ns[-1] + 2 * SECOND, PERIOD_NS)
        truth = Track.of(drive.stamps_ns, drive.T_map_camera, 2**62)
        T = np.stack([truth.at(min(int(stamp), int(drive.stamps_ns[-1]))) for stamp in stamps_ns])
        metres, degrees = rng.uniform(0.1, 0.3), rng.uniform(0.5, 1.5)
        x, y = (smooth_noise(stamps_ns, metres, rng) for _ in range(2))
        yaw = smooth_noise(stamps_ns, np.radians(degrees), rng)
        T = np.stack([moved(one, *by) for one, *by in zip(T, x, y, yaw, strict=True)])
        late_ns = int(rng.uniform(0.0, 0.8) * SECOND)
        self.T_map_other: list[np.ndarray | None] = []
        poses, following = PoseTrack(GAP_NS), 0
        for stamp_ns in drive.stamps_ns:
            while following < len(T) and stamps_ns[following] <= stamp_ns + DELAY_NS - late_ns:
                poses.add(int(stamps_ns[following]), T[following])
                following += 1
            self.T_map_other.append(poses.at(int(stamp_ns)))


def moved(T: np.ndarray, x: float, y: float, yaw: float) -> np.ndarray:
    """A pose (4, 4) displaced in the plane and turned about the vertical."""
    out = geometry.transform(geometry.matrix_from_rpy(0.0, 0.0, yaw) @ T[:3, :3], T[:3, 3])
    out[:2, 3] += x, y
    return out


def beside_a_true_one(run: Answered, other: Other) -> tuple[list[PoseComparison], list[Comparison]]:
    """The comparison's state before each image, and its result after it."""
    comparison, states, results = PoseComparison(), [], []
    for estimate, T in zip(run.answers, other.T_map_other, strict=True):
        states.append(copy.copy(comparison))
        comparison.take(estimate, np.eye(4), run.spacing, T, "late")
        results.append(comparison.result)
    return states, results


def throw(
    run: Answered, other: Other, state: PoseComparison, row: int, metres: float, rng: np.random.Generator
) -> dict[str, Any] | None:
    """A localiser is thrown off just before an image: seconds until it is reported, or None if the drive ends first.

    Its pose is turned and displaced in the map, and it moves as the robot does from there.
    """
    stamps_ns, limit_ns = run.drive.stamps_ns, 60 * SECOND
    if stamps_ns[-1] - stamps_ns[row] < 10 * SECOND or (start := other.T_map_other[row]) is None:
        return None
    direction, turn = rng.uniform(-np.pi, np.pi), rng.choice([0.0, rng.uniform(-np.radians(30), np.radians(30))])
    T_thrown = moved(start, metres * np.cos(direction), metres * np.sin(direction), turn) @ geometry.inverse(start)
    comparison, reported = copy.copy(state), None
    for k in range(row, len(stamps_ns)):
        if stamps_ns[k] - stamps_ns[row] > limit_ns:
            break
        T = other.T_map_other[k]
        comparison.take(run.answers[k], np.eye(4), run.spacing, None if T is None else T_thrown @ T, "late")
        result = comparison.result
        if result.verdict == Verdict.DISAGREE:
            # The throw is seen by the image after it, at most one image's time earlier than its stamp.
            before_ns = stamps_ns[row] - stamps_ns[row - 1] if row else 0
            reported = float(stamps_ns[k] - stamps_ns[row] + before_ns + DELAY_NS) / SECOND
            break
    within = (stamps_ns >= stamps_ns[row]) & (stamps_ns <= stamps_ns[row] + 10 * SECOND)
    around = np.linalg.norm(run.drive.T_map_camera[:, :2, 3] - run.drive.T_map_camera[row, :2, 3], axis=1) < 20
    around &= np.abs(np.arange(len(stamps_ns)) - row) <= 5
    headings = geometry.wrap_angle(
        geometry.heading(run.drive.T_map_camera[around]) - geometry.heading(run.drive.T_map_camera[row])
    )
    return {
        "drive": run.drive.name,
        "odometry": run.odometry,
        "row": row,
        "stays on the map": bool((run.off_map_m[within] < OFF_MAP_M).all()),
        "off the map": bool((run.off_map_m[within] >= OFF_MAP_M).all()),
        "turning": bool(np.ptp(headings) > TURN_RAD),
        "seconds": reported,
        "distance": result.distance if reported is not None else None,
    }


def off_for_a_while(run: Answered) -> np.ndarray:
    """(F,) whether the robot has been off the map for 5 s at least."""
    off, stamps_ns = run.off_map_m >= OFF_MAP_M, run.drive.stamps_ns
    return np.array(
        [off[(stamps_ns >= stamp_ns - 5 * SECOND) & (stamps_ns <= stamp_ns)].all() for stamp_ns in stamps_ns]
    )


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of throws with the robot on the map."""
    seconds = np.array([np.inf if row["seconds"] is None else row["seconds"] for row in rows])
    return {
        "throws": len(rows),
        "reported": float(np.mean(seconds <= 10.0)) if rows else 1.0,
        "median s": float(np.median(seconds)) if rows else 0.0,
        "p95 s": float(np.percentile(seconds, 95, method="higher")) if rows else 0.0,
        "longest s": float(seconds.max(initial=0.0)),
    }


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towns", type=int, nargs="*", default=[9301, 9302, 9303], help="seeds of other towns")
    parser.add_argument("--laps", type=int, default=3, help="laps of each condition in each of them")
    parser.add_argument("--spacing", type=float, default=5.0, help="metres between the map's places")
    parser.add_argument("--throw", type=float, default=10.0, help="metres")
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"))
    parser.add_argument("--cache", type=Path, default=None, help="folder for descriptors")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    calibration = Calibration.from_dict(open_describer().manifest.calibration)
    runs, images, distinct_s = [], 0, 0.0
    for reference, queries in drives(given):
        places = places_of(reference, given.spacing)
        images += sum(len(query.stamps_ns) for query in queries)
        distinct_s += sum(query.seconds for query in queries)
        runs += [answered(places, calibration, query, odometry) for query in queries for odometry in (True, False)]

    draws = int(np.ceil(LIMITS["hours"] * 3600 / sum(run.drive.seconds for run in runs)))
    alarms, judged, highest, told, agreeing, throws = 0, 0.0, 0.0, [], [], []
    for run in track(runs, "comparing"):
        off = off_for_a_while(run)
        for draw in range(draws):
            other = Other(run.drive, rng)
            states, results = beside_a_true_one(run, other)
            verdicts = [result.verdict for result in results]
            highest = max(highest, *(result.probability for result in results))
            judged += run.drive.seconds
            disagree = np.array([verdict == Verdict.DISAGREE for verdict in verdicts])
            alarms += int((disagree & ~np.append(False, disagree[:-1])).sum())
            told += [verdict == Verdict.CANNOT_TELL for verdict, away in zip(verdicts, off, strict=True) if away]
            on = run.off_map_m < OFF_MAP_M
            agreeing += [verdict == Verdict.AGREE for verdict, near in zip(verdicts, on, strict=True) if near]
            if draw == 0:
                found = [throw(run, other, states[row], row, given.throw, rng) for row in range(0, len(states), 5)]
                throws += [one for one in found if one is not None]

    on_map = [row for row in throws if row["stays on the map"]]
    groups = {"all": on_map}
    groups |= {name: [row for row in on_map if name in row["drive"]] for name in BAGS}
    groups |= {"with odometry": [row for row in on_map if row["odometry"]]}
    groups |= {"without": [row for row in on_map if not row["odometry"]]}
    groups |= {"turning": [row for row in on_map if row["turning"]]}
    table = {name: figures(rows) for name, rows in groups.items()}
    off_map = [row for row in throws if row["off the map"]]
    report = {
        "images": images,
        "hours of images": distinct_s / 3600,
        "hours": judged / 3600,
        "noise draws": draws,
        "false alarms": alarms,
        "highest probability of disagreement": highest,
        "cannot tell": float(np.mean(told)),
        "agree": float(np.mean(agreeing)),
        "reported": table["all"]["reported"],
        "throws": len(throws),
        "leaving or entering the map within 10 s": len(throws) - len(on_map) - len(off_map),
        "thrown off the map": len(off_map),
        "of these reported there": sum(row["seconds"] is not None and row["seconds"] <= 10.0 for row in off_map),
        "thrown": table,
    }
    missed = [name for name in ("reported", "cannot tell", "agree", "hours") if report[name] < LIMITS[name]]
    missed += ["false alarms"] if alarms > LIMITS["false alarms"] else []
    missed += ["of these reported there"] if report["of these reported there"] else []
    shown = Table(f"thrown {given.throw:g} m, on the map", *table["all"])
    for name, row in table.items():
        shown.add_row(name, *(str(value) if isinstance(value, int) else f"{value:.3f}" for value in row.values()))
    Console(width=120).print(shown)
    print(json.dumps({key: value for key, value in report.items() if key != "thrown"}, indent=2))
    print(f"missed: {', '.join(missed) or 'nothing'}")
    if given.json:
        given.json.write_text(json.dumps({**report, "missed": missed, "each throw": throws}, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
