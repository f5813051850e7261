"""How fast the simulator renders: frames a second with depth read back, with and without the sensor model.

Usage: python benchmarks/simulator.py [--seed 3] [--frames 100] [--samples 1]
"""

from __future__ import annotations

import argparse
import time

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import PRESETS, Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town


def main() -> None:
    """Print a line for every condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3, help="which town")
    parser.add_argument("--frames", type=int, default=100, help="of each condition")
    parser.add_argument("--samples", type=int, default=1, help="4 smooths edges")
    given = parser.parse_args()
    started = time.perf_counter()
    town = Town(given.seed)
    made = time.perf_counter()
    renderer = Renderer(town, Camera(), samples=given.samples)
    print(f"town {made - started:.1f} s, renderer {time.perf_counter() - made:.1f} s")
    for name in PRESETS:
        drive = SimulatedDrive(town, Condition.preset(name, 1), motion=Motion(every_m=5.0), renderer=renderer)
        poses = [drive.T_map_camera[i % len(drive)] for i in range(given.frames)]
        renderer.render(poses[0], drive.condition)
        rates = []
        for noisy in (False, True):
            started, busy = time.perf_counter(), time.process_time()
            for index, T_map_camera in enumerate(poses):
                renderer.render(T_map_camera, drive.condition, noise_seed=index if noisy else None)
            rates.append(given.frames / (time.perf_counter() - started))
            rates.append(1000 * (time.process_time() - busy) / given.frames)
        print(
            f"{name:9s} {rates[0]:6.1f} frames/s ({rates[1]:.1f} ms of CPU), "
            f"with sensor {rates[2]:6.1f} frames/s ({rates[3]:.1f} ms of CPU)"
        )
    renderer.close()


if __name__ == "__main__":
    main()
