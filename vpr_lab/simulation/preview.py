"""A contact sheet of a town: `python -m vpr_lab.simulation.preview --seed 3 -o preview.png`.

Places in rows; conditions in columns, the last one depth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import PRESETS, Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base.errors import VprError
from vpr_ros.base.records import DriveFrame


def contact_sheet(seed: int, conditions: Sequence[str] = PRESETS, places: int = 5, width: int = 320) -> np.ndarray:
    """(H, W, 3) uint8 RGB: places along the reference loop, each in every condition, and its depth (near is bright)."""
    town = Town(seed)
    renderer = Renderer(town, Camera(width=width, height=width * 3 // 4))
    drives = [
        SimulatedDrive(town, Condition.preset(name, seed), seed=number, motion=Motion(every_m=1.0), renderer=renderer)
        for number, name in enumerate(conditions)
    ]
    rows = []
    for index in np.linspace(0, len(drives[0]), places, endpoint=False).astype(int) + 20:
        frames = [drive[index] for drive in drives]
        rows.append(np.concatenate([*[frame.read() for frame in frames], _shown(frames[0])], axis=1))
    renderer.close()
    return np.concatenate(rows)


def _shown(frame: DriveFrame) -> np.ndarray:
    assert frame.read_depth is not None  # simulated frames have depth
    depth = frame.read_depth()
    bright = np.where(depth > 0, 255 * np.clip(3.0 / np.maximum(depth, 3.0), 0, 1) ** 0.5, 0).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(bright, cv2.COLORMAP_TURBO)[..., ::-1])


def main() -> None:
    """Parse, draw, save."""
    parser = argparse.ArgumentParser(description="Draw a contact sheet of a simulated town.")
    parser.add_argument("--seed", type=int, default=3, help="which town")
    parser.add_argument("--places", type=int, default=5, help="rows")
    parser.add_argument("--width", type=int, default=320, help="of one picture, pixels")
    parser.add_argument("--conditions", default=",".join(PRESETS), help="columns, comma separated")
    parser.add_argument("-o", "--output", default="preview.png", help="picture to write")
    given = parser.parse_args()
    try:
        sheet = contact_sheet(given.seed, given.conditions.split(","), given.places, given.width)
    except VprError as error:
        sys.exit(str(error))
    cv2.imwrite(given.output, sheet[..., ::-1])
    print(f"wrote {given.output}: {sheet.shape[1]} x {sheet.shape[0]}")


if __name__ == "__main__":
    main()
