"""Drives after the network, for benchmarks that localise them many times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from vpr_ros.base.image import preprocess, views
from vpr_ros.base.records import DriveFrame
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.vocabulary import with_vocabulary
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.maps.places import Places

SECOND = 10**9


class Network:
    """Describes images, unless a folder has what it made of them."""

    def __init__(self, describer: Describer, cache: Path | None = None) -> None:
        self.describer, self._cache = describer, cache

    def descriptors(self, name: str, images_rgb: Iterable[np.ndarray], total: int, count: int = 1) -> np.ndarray:
        """(F, count, D) float32, count views of each of total images."""
        manifest, learning = self.describer.manifest, with_vocabulary(self.describer)
        words = "" if learning is None else f"-{learning.vocabulary.fingerprint[:8]}"
        file = f"{manifest.name}-{manifest.fingerprint[:8]}{words}-{name}-{count}.npy"
        path = self._cache / file if self._cache else None
        if path is not None and path.is_file():
            return np.asarray(np.load(path))
        size = manifest.preprocessing
        found = [
            self.describer.describe(np.stack([preprocess(view, size) for view in views(image, count)])).descriptors
            for image in track(images_rgb, f"describing {name}", total)
        ]
        descriptors = np.stack(found).astype(np.float32)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, descriptors)
        return descriptors


@dataclass(frozen=True, eq=False)
class Described:
    """A drive after the network. descriptors: (F, V, D), V views. T_odom_camera: as in its frames."""

    name: str
    stamps_ns: np.ndarray
    descriptors: np.ndarray
    T_map_camera: np.ndarray
    T_odom_camera: list[np.ndarray | None]

    @property
    def whole(self) -> DescribedDrive:
        """The same with the whole image of each frame alone."""
        return DescribedDrive(self.name, self.stamps_ns, self.descriptors[:, 0], self.T_map_camera, self.T_odom_camera)

    @property
    def seconds(self) -> float:
        """Duration."""
        return float(self.stamps_ns[-1] - self.stamps_ns[0]) / SECOND


def described(name: str, drive: Iterable[DriveFrame], count: int, network: Network) -> Described:
    """All images of a drive that have poses. count: views of each."""
    frames = [frame for frame in drive if frame.T_map_camera is not None]
    return Described(
        name,
        np.array([frame.stamp_ns for frame in frames]),
        network.descriptors(name, (frame.read() for frame in frames), len(frames), count),
        np.stack([frame.T_map_camera for frame in frames if frame.T_map_camera is not None]),
        [frame.T_odom_camera for frame in frames],
    )


def apart(T_map_camera: np.ndarray, least_m: float) -> list[int]:
    """Rows of those poses (F, 4, 4) that are so far from the one chosen before."""
    kept: list[int] = []
    for row, position in enumerate(T_map_camera[:, :3, 3]):
        if not kept or np.linalg.norm(position - T_map_camera[kept[-1], :3, 3]) >= least_m:
            kept.append(row)
    return kept


def places_of(drive: Described, spacing_m: float) -> Places:
    """A map of a drive."""
    kept = apart(drive.T_map_camera, spacing_m - 0.01)
    ids, names = np.arange(1, len(kept) + 1), np.array([drive.name] * len(kept))
    return Places(ids, names, drive.stamps_ns[kept], drive.T_map_camera[kept], drive.descriptors[kept])
