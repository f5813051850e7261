"""A drive format that is registered from outside the repository: one .npz file with images, stamps and poses.

    pip install ./examples/drive_format
    vpr map build recording.npz -o town.vprmap

The file holds images (N, H, W, 3) uint8, stamps_ns (N,) and T_map_camera (N, 4, 4), camera: x right, y down, z ahead.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.formats import Format
from vpr_ros.drives.options import DriveOptions


class NpzDrive:
    """See vpr_ros.drives.drive.Drive: a name, a world, a length, and frames in order of time."""

    def __init__(self, path: Path, options: DriveOptions) -> None:
        self.path, self.name = path, path.stem
        self.world = "local"  # drives of one world can share a map; -d world=NAME gives another
        try:
            with np.load(path) as arrays:
                self._images, self._stamps_ns, self._poses = (
                    arrays[name] for name in ("images", "stamps_ns", "T_map_camera")
                )
        except (OSError, ValueError, KeyError) as error:
            raise DriveError(f"{path} does not hold images, stamps_ns and T_map_camera: {error}") from error

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def __iter__(self) -> Iterator[DriveFrame]:
        for number in np.argsort(self._stamps_ns):
            yield DriveFrame(int(self._stamps_ns[number]), partial(self._image, number), self._poses[number])

    def _image(self, number: int) -> np.ndarray:
        """Images are decoded only when asked for: a map takes one in five metres."""
        image_rgb: np.ndarray = self._images[number]
        return image_rgb


FORMAT = Format("an .npz recording", lambda path: path.suffix == ".npz", NpzDrive)
