#!/usr/bin/env python3
"""Accuracy of a model's depth, in towns it was not trained on and on real recordings.

    python benchmarks/depth.py [--seeds 9001 9003] [--frames 25] [--fov 66] [--data FOLDER] [--json FILE]

Towns: every condition, frames spread over a lap, exact depth from the renderer. Needs the simulator.
--data: a folder with kitti/sequences/* and dgp_test_scene; either may be missing. For KITTI's stereo pairs the
reference is semi-global matching, which has no depth in the sky and little on bare walls. For dgp (TRI-ML's format) it
is lidar projected into every camera. The reference is used up to 80 m; means are over images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vpr_lab.comparison.depth import DepthScore, ImageDepth, depth_table, evaluate_depth
from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import PRESETS, Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.geometry import inverse, matrix_from_quat_xyzw, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.cli.common import progress_bar
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.files import read_image
from vpr_ros.drives.kitti import is_kitti
from vpr_ros.drives.lidar import depth_image
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer


class DgpDrive:
    """One camera of a dgp scene. Its depth is the lidar scan of the same sample, moved by the poses of both."""

    world = "dgp"

    def __init__(self, scene: Path, camera: str) -> None:
        self.name, self._scene, self._camera = f"dgp {scene.name[-2:]} {camera.lower()}", scene, camera

    @staticmethod
    def cameras(scene: Path) -> list[str]:
        """The cameras of a scene with images."""
        return sorted(folder.name for folder in (scene / "rgb").iterdir() if folder.is_dir())

    @cached_property
    def _samples(self) -> list[tuple[np.ndarray, dict[str, Any], dict[str, Any]]]:
        """(3, 3) intrinsics, the image's datum and the point cloud's, of every sample."""
        scene = json.loads(next(self._scene.glob("scene_*.json")).read_text())
        data = {datum["key"]: datum for datum in scene["data"]}
        found = []
        for sample in scene["samples"]:
            by_name = {data[key]["id"]["name"]: data[key]["datum"] for key in sample["datum_keys"]}
            calibration = json.loads((self._scene / "calibration" / f"{sample['calibration_key']}.json").read_text())
            of = calibration["intrinsics"][calibration["names"].index(self._camera)]
            K = np.array([[of["fx"], of["skew"], of["cx"]], [0.0, of["fy"], of["cy"]], [0.0, 0.0, 1.0]])
            found.append((K, by_name[self._camera]["image"], by_name["LIDAR"]["point_cloud"]))
        return found

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[DriveFrame]:
        for number, (K, image, cloud) in enumerate(self._samples):
            read = partial(read_image, self._scene / image["filename"])
            depth = partial(self._depth, K, image, cloud)
            lens = Intrinsics(image["width"], image["height"], K)
            yield DriveFrame(number, read, _pose(image), read_depth=depth, intrinsics=lens)

    def _depth(self, K: np.ndarray, image: dict[str, Any], cloud: dict[str, Any]) -> np.ndarray:
        with np.load(self._scene / cloud["filename"]) as stored:
            points = stored["data"][:, :3]
        T_camera_lidar = inverse(_pose(image)) @ _pose(cloud)
        moved = points @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]
        return depth_image(moved, K, (image["height"], image["width"]))


def _pose(datum: dict[str, Any]) -> np.ndarray:
    """(4, 4) T_world_sensor of a datum."""
    rotation, translation = datum["pose"]["rotation"], datum["pose"]["translation"]
    R = matrix_from_quat_xyzw(np.array([rotation[name] for name in ("qx", "qy", "qz", "qw")]))
    return transform(R, np.array([translation[name] for name in "xyz"]))


def towns(
    describer: Describer, seeds: list[int], conditions: list[str], frames: int, camera: Camera
) -> list[DepthScore]:
    """A score for each condition over all towns, then one over all conditions."""
    by_condition: dict[str, list[ImageDepth]] = {name: [] for name in conditions}
    for seed in seeds:
        town = Town(seed)
        renderer = Renderer(town, camera)
        motion = Motion(every_m=town.route("reference").length_m / frames)
        for number, name in enumerate(conditions):
            condition = Condition.preset(name, 50 + number)
            drive = SimulatedDrive(town, condition, seed=60 + number, motion=motion, renderer=renderer)
            with progress_bar(f"town {seed}: {name}") as progress:
                by_condition[name] += evaluate_depth(describer, drive, on_progress=progress)[0]
        renderer.close()
    scores = [DepthScore.of(name, images) for name, images in by_condition.items()]
    return [*scores, DepthScore.of("all towns", [image for images in by_condition.values() for image in images])]


def recordings(data: Path) -> Iterator[tuple[str, list[Drive]]]:
    """Names and drives of the recordings in the folder. All scenes of one dgp camera share a name."""
    for sequence in sorted((data / "kitti/sequences").glob("*")):
        if is_kitti(sequence):
            yield f"kitti {sequence.name}", [open_drive(sequence)]
    scenes = sorted((data / "dgp_test_scene").glob("scene_*/"))
    cameras = [(scene, camera) for scene in scenes for camera in DgpDrive.cameras(scene)]
    for name in sorted({camera for _, camera in cameras}):
        yield f"dgp {name.lower()}", [DgpDrive(scene, camera) for scene, camera in cameras if camera == name]


def main() -> None:
    """Print the tables; write the figures with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--seeds", type=int, nargs="*", default=[9001, 9003], help="towns; may be empty")
    parser.add_argument("--conditions", nargs="+", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--frames", type=int, default=25, help="frames of each town and condition")
    parser.add_argument("--fov", type=float, default=66.0, help="horizontal field of view in the towns, degrees")
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    describer = open_describer(given.model)
    report: dict[str, Any] = {"model": describer.manifest.name, "fingerprint": describer.manifest.fingerprint}
    if given.seeds:
        scores = towns(describer, given.seeds, given.conditions, given.frames, Camera(fov_deg=given.fov))
        Console().print(depth_table(scores))
        report |= {"seeds": given.seeds, "fov_deg": given.fov, "towns": [score.to_dict() for score in scores]}
    if given.data:
        scores = []
        for name, drives in recordings(given.data):
            found = [evaluate_depth(describer, drive) for drive in drives]
            images = [image for part, _ in found for image in part]
            scores.append(DepthScore.of(name, images, sum(left_out for _, left_out in found)))
        Console().print(depth_table(scores))
        report["real"] = [score.to_dict() for score in scores]
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
