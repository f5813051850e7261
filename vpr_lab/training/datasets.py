"""From drives to batches: cache each drive at the network's size, find places seen by several drives, draw batches.

A cache is a folder ``<cache>/<world>/<drive>/`` of memory-mapped arrays: ``images.npy`` (N, H, W, 3) uint8,
``depth.npy`` (N, H/4, W/4) float16 metres (0 unknown, infinite for the sky), ``poses.npz`` with ``position`` (N, 3)
metres, ``heading`` (N,) radians and, if given, ``condition``, a word. A drive's folder appears whole or
not at all.
"""

from __future__ import annotations

import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vpr_lab.training.augment import Augmentation, augment
from vpr_lab.training.dense_depth import dense_depth
from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.files import written_whole
from vpr_ros.base.image import Preprocessing, preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, sample
from vpr_ros.drives.left_out import UNREADABLE

DEPTH_STRIDE = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shard:
    """One cached drive. condition: its appearance, such as "sun"; its name's last word if not given."""

    world: str
    name: str
    images: np.ndarray
    depth: np.ndarray
    position: np.ndarray
    heading: np.ndarray
    condition: str = ""

    def __post_init__(self) -> None:
        if not self.condition:
            object.__setattr__(self, "condition", self.name.replace("-", "_").split("_")[-1])

    @property
    def has_depth(self) -> bool:
        """Whether any of a few images has depth at any pixel."""
        return bool(np.any(self.depth[:: max(1, len(self) // 8)] > 0))

    @property
    def checksum(self) -> str:
        """Of its poses and some of its images: a cache can be made again under the same names."""
        some = self.images[:: max(1, len(self) // 8)].tobytes()
        return f"{len(self)} images, {zlib.crc32(some, zlib.crc32(self.position.tobytes())):08x}"

    def __len__(self) -> int:
        return len(self.position)


def cache_drive(
    drive: Drive,
    cache: Path,
    preprocessing: Preprocessing,
    every_m: float = 5.0,
    dense: bool = False,
    condition: str = "",
    sky: bool = False,
    tally: Tally | None = None,
) -> Path:
    """Write one drive into a cache and return its folder; an existing one is kept, but takes the condition.

    dense: fill the holes in depth, such as those between a lidar's scans. condition: see Shard. sky: pixels without
    depth are the sky. Frames without a true pose are left out; frames without depth get zeros. tally: counts images
    that cannot be read, which are left out. Raises DriveError if none is left, or the condition is not a word; OSError
    where there is no room.
    """
    if condition != _file_name(condition):
        raise DriveError(f"invalid condition '{condition}': use letters, digits, - _ and . only")
    folder = cache / _file_name(drive.world) / _file_name(drive.name)
    if folder.is_dir():
        height, width = np.load(folder / "images.npy", mmap_mode="r").shape[1:3]
        is_kept = f"takes the condition {condition}, and nothing else" if condition else "is kept"
        logger.warning(
            "%s is cached already, at %d x %d pixels, and %s: give another recording a name of its own with "
            "-d name=NAME", folder, width, height, is_kept,
        )  # fmt: skip
        if condition:
            with np.load(folder / "poses.npz") as poses:
                _save_poses(folder, poses["position"], poses["heading"], condition)
        return folder
    frames = [frame for frame in sample(drive, every_m) if frame.T_map_camera is not None]
    if not frames:
        raise DriveError(f"drive {drive.name} has no frame with a true pose: training needs positions")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        kept = _write_frames(part, frames, preprocessing, dense, sky, Tally() if tally is None else tally)
        if not kept:
            raise DriveError(f"no image of drive {drive.name} can be read")
        T = np.stack([frame.T_map_camera for frame in kept])  # type: ignore[misc]
        _save_poses(part, T[:, :3, 3], geometry.heading(T), condition)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def _write_frames(
    part: Path, frames: Sequence[DriveFrame], preprocessing: Preprocessing, dense: bool, sky: bool, tally: Tally
) -> list[DriveFrame]:
    """Write images and depth of frames; returns those that can be read."""
    height, width = preprocessing.height, preprocessing.width
    depth_shape = (len(frames), height // DEPTH_STRIDE, width // DEPTH_STRIDE)
    images = _reserved(part / "images.npy", np.uint8, (len(frames), height, width, 3))
    depth = _reserved(part / "depth.npy", np.float16, depth_shape)
    kept: list[DriveFrame] = []
    for frame in frames:
        row = len(kept)
        try:
            images[row] = preprocess(frame.read(), preprocessing)
            small = _small_depth(frame, depth_shape[1], depth_shape[2])
        except (ImageError, DriveError) as error:
            tally.add(UNREADABLE, str(error))
            continue
        depth[row] = dense_depth(small.astype(np.float32)) if dense else small
        if sky and frame.read_depth is not None:
            depth[row][depth[row] == 0] = np.inf
        kept.append(frame)
    for array, name in ((images, "images"), (depth, "depth")):
        array.flush()
        if 0 < len(kept) < len(frames):
            np.save(part / f"{name}_kept.npy", array[: len(kept)])
            (part / f"{name}_kept.npy").replace(part / f"{name}.npy")
    return kept


def _reserved(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new array in a file whose room is taken at once: a full disk would end the process later, without a word."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _save_poses(folder: Path, position: np.ndarray, heading: np.ndarray, condition: str) -> None:
    with written_whole(folder / "poses.npz") as part, part.open("wb") as file:
        np.savez(file, position=position, heading=heading, condition=np.array(condition))


def _small_depth(frame: DriveFrame, height: int, width: int) -> np.ndarray:
    """Depth at the decoder's size by picking pixels: an average of two surfaces is a third one that is not there."""
    if frame.read_depth is None:
        return np.zeros((height, width), np.float16)
    depth = frame.read_depth()
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise DriveError(f"depth is {depth.dtype} of shape {depth.shape}: give (H, W) floats, metres")
    rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(int)
    return depth[np.ix_(rows, columns)].astype(np.float16)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def load_shards(cache: Path, worlds: Sequence[str] | None = None) -> list[Shard]:
    """Open a cache, all of it or some worlds. Raises DriveError if there is nothing, or images of two sizes."""
    shards = []
    for poses_path in sorted(cache.glob("*/*/poses.npz")):
        folder = poses_path.parent
        if folder.name.endswith(".part") or (worlds is not None and folder.parent.name not in worlds):
            continue
        with np.load(poses_path) as poses:
            position, heading = poses["position"], poses["heading"]
            condition = str(poses["condition"]) if "condition" in poses else ""
        images, depth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "depth"))
        shards.append(Shard(folder.parent.name, folder.name, images, depth, position, heading, condition))
    if not shards:
        raise DriveError(
            f"no cached drives in {cache}: render towns with `vpr lab data -o FOLDER`, or `vpr train cache` your drives"
        )
    if len(sizes := {shard.images.shape[1:] for shard in shards}) > 1:
        found = " and ".join(sorted(f"{width} x {height}" for height, width, _ in sizes))
        raise DriveError(f"{cache} holds images of {found} pixels: cache all its drives at one size")
    return shards


@dataclass(frozen=True, eq=False)
class Place:
    """Frames of one world taken a few metres apart looking the same way. members: (shard, row) pairs."""

    world: str
    position: np.ndarray
    members: tuple[tuple[int, int], ...]


def find_places(
    shards: Sequence[Shard], spacing_m: float = 5.0, radius_m: float = 3.0, max_turn_rad: float = np.pi / 6
) -> list[Place]:
    """Group the frames of every world into places seen by at least two drives.

    Anchors are frames at least spacing_m from every earlier anchor that looks the same way; members lie within
    radius_m and max_turn_rad of the anchor.
    """
    places = []
    for world in sorted({shard.world for shard in shards}):
        numbers = [number for number, shard in enumerate(shards) if shard.world == world]
        rows = [(number, row) for number in numbers for row in range(len(shards[number]))]
        position = np.concatenate([shards[number].position for number in numbers])
        heading = np.concatenate([shards[number].heading for number in numbers])
        taken = np.zeros(len(rows), bool)
        for anchor in range(len(rows)):
            if taken[anchor]:
                continue
            distance = np.linalg.norm(position - position[anchor], axis=1)
            alike = np.abs(geometry.wrap_angle(heading - heading[anchor])) <= max_turn_rad
            taken |= alike & (distance < spacing_m)
            members = tuple(rows[i] for i in np.flatnonzero(alike & (distance <= radius_m)))
            if len({number for number, _ in members}) > 1:
                places.append(Place(world, position[anchor], members))
    return places


def read_batch(
    shards: Sequence[Shard],
    members: Sequence[tuple[int, int]],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Frames, (shard, row), augmented: images (B, H, W, 3) uint8, depth (B, h, w) float32 metres, drives (B,)."""
    pairs = [augment(shards[shard].images[row], shards[shard].depth[row], augmentation, rng) for shard, row in members]
    images, depths = zip(*pairs, strict=True)
    return {
        "images": torch.from_numpy(np.stack(images)),
        "depth": torch.from_numpy(np.stack(depths).astype(np.float32)),
        "drives": torch.tensor([shard for shard, _ in members]),
    }


class ImageBatches(Dataset[dict[str, torch.Tensor]]):
    """Any images with their depth, wherever they were taken; batch i is drawn from (seed, epoch, i) alone.

    most: maximum number of images to draw from, the same in every epoch; 0: all.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        augmentation: Augmentation,
        batches: int,
        batch_size: int,
        seed: int = 0,
        most: int = 1000,
    ) -> None:
        self.shards, self.augmentation = shards, augmentation
        self.batches, self.batch_size, self.seed = batches, batch_size, seed
        self.epoch = 0
        frames = [(number, row) for number, shard in enumerate(shards) for row in range(len(shard))]
        if not frames:
            raise DriveError("no training images: no cached drive has a condition of the recipe")
        self.frames = [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))[: most or None]]

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """See read_batch."""
        rng = np.random.default_rng((self.seed, self.epoch, number))
        members = [self.frames[i] for i in rng.integers(len(self.frames), size=self.batch_size)]
        return read_batch(self.shards, members, self.augmentation, rng)


class PlaceBatches(Dataset[dict[str, torch.Tensor]]):
    """Batch number i of an epoch: places x images, drawn from (seed, epoch, i) alone, so that a run resumes exactly.

    The places of a batch come from few worlds, so that negatives look alike, and no two of them lie within
    min_distance_m in one world, so that no place is taught to differ from its neighbour.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        places: Sequence[Place],
        augmentation: Augmentation,
        batches: int,
        places_per_batch: int = 24,
        images_per_place: int = 4,
        worlds_per_batch: int = 2,
        min_distance_m: float = 25.0,
        seed: int = 0,
    ) -> None:
        self.shards, self.places, self.augmentation = shards, places, augmentation
        self.batches, self.places_per_batch, self.images_per_place = batches, places_per_batch, images_per_place
        self.worlds_per_batch, self.min_distance_m, self.seed = worlds_per_batch, min_distance_m, seed
        self.epoch = 0
        self._by_world: dict[str, list[Place]] = {}
        for place in places:
            self._by_world.setdefault(place.world, []).append(place)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """images (P*K, H, W, 3) uint8, depth (P*K, h, w) float32 metres, labels (P*K,), drives (P*K,) shards."""
        members, labels = self.draw(number)
        rng = np.random.default_rng((self.seed, self.epoch, number, 1))
        return {**read_batch(self.shards, members, self.augmentation, rng), "labels": torch.tensor(labels)}

    def draw(self, number: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Which frames, (shard, row), batch number holds, and the number of the place each shows."""
        rng = np.random.default_rng((self.seed, self.epoch, number))
        members: list[tuple[int, int]] = []
        labels: list[int] = []
        for label, place in enumerate(self._draw_places(rng)):
            drawn = list(self._draw_members(place, rng))
            members += drawn
            labels += [label] * len(drawn)
        return members, labels

    def _draw_places(self, rng: np.random.Generator) -> list[Place]:
        """Places of a few random worlds, apart from each other; more worlds if the first ones are too small."""
        chosen: list[Place] = []
        worlds = list(self._by_world)
        share = -(-self.places_per_batch // self.worlds_per_batch)
        for world_number in rng.permutation(len(worlds)):
            places = self._by_world[worlds[world_number]]
            here: list[Place] = []
            for place_number in rng.permutation(len(places)):
                place = places[place_number]
                if all(np.linalg.norm(place.position - other.position) >= self.min_distance_m for other in here):
                    here.append(place)
                if len(here) == share or len(chosen) + len(here) == self.places_per_batch:
                    break
            chosen += here
            if len(chosen) == self.places_per_batch:
                break
        return chosen

    def _draw_members(self, place: Place, rng: np.random.Generator) -> Iterable[tuple[int, int]]:
        """Frames of as many different drives as there are, then again from the start."""
        order = [place.members[i] for i in rng.permutation(len(place.members))]
        first_of_drive: dict[int, tuple[int, int]] = {}
        for member in order:
            first_of_drive.setdefault(member[0], member)
        rest = [member for member in order if first_of_drive[member[0]] is not member]
        ranked = [*first_of_drive.values(), *rest]
        return [ranked[i % len(ranked)] for i in range(self.images_per_place)]
