#!/usr/bin/env python3
"""Recall, false positives and pose errors of loop closures in towns that were not trained on.

    python benchmarks/loop_closures.py [--seeds 9101 9102] [--identical 9201] [--model NAME] [--json FILE]

Each town has a drive of three laps that share streets: overcast, sun and night. Each drive closes loops on its own
past; sun and night also on the overcast session's map. A town of --identical has streets of identical houses. Images
of 320 x 240, a keyframe every 2 m of drifting odometry. Needs the simulator.

An opportunity is a keyframe with a keyframe of the map within 5 m and 45 degrees. Recall is the fraction of
opportunities with a verified closure. A closure is false if its pose error is above 3 m or 10 degrees. NEES is the
normalised squared pose error over its dimension, 6; it is 1 if covariances are right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.progress import track

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base import geometry
from vpr_ros.base.records import LoopClosure
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.loop_closer import LoopCloser

REACH_M, SAME_WAY = 5.0, np.radians(45.0)
FALSE_M, FALSE_RAD = 3.0, np.radians(10.0)


@dataclass
class Session:
    """Results of one drive: true poses (4, 4) of its keyframes by stamp, closures, milliseconds of each step."""

    truth: dict[int, np.ndarray] = field(default_factory=dict)
    closures: list[LoopClosure] = field(default_factory=list)
    timings_ms: list[dict[str, float]] = field(default_factory=list)


def drive_session(
    drive: SimulatedDrive, path: Path, earlier: list[Path], config: LoopCloserConfig, model: str
) -> Session:
    """Run a drive through a loop closer with maps on disk."""
    session = Session()
    closer = LoopCloser.open(path, earlier, model, config=config)
    for frame in track(drive, f"{drive.world}: {drive.name}"):
        observation = closer.observe(frame.load())
        if observation.keyframe_id is not None:
            assert frame.T_map_camera is not None
            session.truth[frame.stamp_ns] = frame.T_map_camera
            session.timings_ms.append(observation.timings_ms)
        session.closures += observation.closures
    closer.close()
    return session


def opportunities(query: Session, places: Session, recent_m: float) -> set[int]:
    """Stamps of the keyframes that could close a loop. recent_m: distance within which own keyframes do not count."""
    stamps = np.array(list(places.truth))
    T_places = np.array(list(places.truth.values()))
    own = query is places
    distances = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(T_places[:, :3, 3], axis=0), axis=1))])
    found = set()
    for number, (stamp_ns, T) in enumerate(query.truth.items()):
        near = np.linalg.norm(T_places[:, :3, 3] - T[:3, 3], axis=1) < REACH_M
        near &= np.abs(geometry.wrap_angle(geometry.heading(T_places) - geometry.heading(T))) < SAME_WAY
        if own:
            near &= (stamps < stamp_ns) & (distances[number] - distances > recent_m)
        if near.any():
            found.add(stamp_ns)
    return found


def judged(query: Session, places: Session, recent_m: float) -> dict[str, float]:
    """Figures of a session's closures on a map."""
    possible = opportunities(query, places, recent_m)
    metres, radians, squared = [], [], []
    for closure in query.closures:
        T_true = geometry.inverse(places.truth[closure.match_stamp_ns]) @ query.truth[closure.stamp_ns]
        assert closure.T_match_query is not None and closure.covariance is not None
        turn = geometry.vector_from_rotation(closure.T_match_query[:3, :3] @ T_true[:3, :3].T)
        error = np.concatenate([closure.T_match_query[:3, 3] - T_true[:3, 3], turn])
        metres.append(float(np.linalg.norm(error[:3])))
        radians.append(float(np.linalg.norm(turn)))
        squared.append(float(error @ np.linalg.solve(closure.covariance, error)) / 6)
    false = [m > FALSE_M or r > FALSE_RAD for m, r in zip(metres, radians, strict=True)]
    closed = {closure.stamp_ns for closure, wrong in zip(query.closures, false, strict=True) if not wrong}
    right = [k for k, wrong in enumerate(false) if not wrong]
    verify = [timings["verify"] for timings in query.timings_ms]
    figures = {
        "keyframes": len(query.truth),
        "opportunities": len(possible),
        "recall": len(closed & possible) / max(len(possible), 1),
        "closures": len(query.closures),
        "false": int(sum(false)),
        "verify_ms_p50": float(np.median(verify)),
    }
    if right:
        figures |= {
            "error_m_p50": float(np.median([metres[k] for k in right])),
            "error_m_p95": float(np.percentile([metres[k] for k in right], 95)),
            "error_deg_p50": float(np.degrees(np.median([radians[k] for k in right]))),
            "nees_over_6": float(np.mean([squared[k] for k in right])),
            "nees_over_6_median": float(np.median([squared[k] for k in right]) / (5.348 / 6)),
        }
    return {name: round(float(value), 3) for name, value in figures.items()}


def town_figures(town: Town, folder: Path, config: LoopCloserConfig, model: str) -> dict[str, dict[str, float]]:
    """Figures of all sessions of one town."""
    renderer = Renderer(town)
    figures: dict[str, dict[str, float]] = {}
    overcast: Session | None = None
    for number, name in enumerate(("overcast", "sun", "night")):
        motion = Motion(every_m=2.0, start_m=0.7 * number)
        preset = Condition.preset(name, 80 + number)
        drive = SimulatedDrive(town, preset, "loops", name=name, seed=80 + number, motion=motion, renderer=renderer)
        own = drive_session(drive, folder / f"{name}.vprmap", [], config, model)
        figures[f"{name} on its own past"] = judged(own, own, config.recent_distance)
        if overcast is None:
            overcast = own
            continue
        earlier, path = folder / "overcast.vprmap", folder / f"{name}_on_overcast.vprmap"
        later = drive_session(drive, path, [earlier], replace(config, own_past=False), model)
        figures[f"{name} on overcast"] = judged(later, overcast, config.recent_distance)
    renderer.close()
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[9101, 9102], help="towns")
    parser.add_argument("--identical", type=int, nargs="*", default=[9201], help="towns of identical streets")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--features", default=LoopCloserConfig().features, help="xfeat, sift or orb")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    config = LoopCloserConfig(features=arguments.features)
    figures = {}
    for seed, identical in [(s, False) for s in arguments.seeds] + [(s, True) for s in arguments.identical]:
        town = Town(seed, identical)
        with tempfile.TemporaryDirectory() as folder:
            figures[town.world] = town_figures(town, Path(folder), config, arguments.model)
        print(json.dumps({town.world: figures[town.world]}, indent=2), flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"model": arguments.model, "features": arguments.features, **figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
