"""What a robot sends to the lake: keyframes of passes it was sure of, if the map does not know what they show.

After Map++ (arXiv 2411.02553): what the map lacks is a small part of what a robot sees. Some keyframes that the map
knows go along, as anchors: they show a release whether the drive's poses are in the map's frame.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, ImageError, MapError
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, tally_of
from vpr_ros.drives.left_out import UNREADABLE
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.lake import Lake
from vpr_ros.inference.batches import Batches
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps import map_file
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.stages import Prepared, Progress, describe, prepare

UNSURE = "image(s) not sent: the robot was not sure where it was"
KNOWN = "keyframe(s) not sent: the map knows what they show"


def collect(
    localizer: Localizer,
    drive: Drive,
    outbox: Path,
    tally: Tally | None = None,
    on_progress: Progress | None = None,
) -> int:
    """Localise a drive, and put what is to be sent of it into a folder, as a map; the number of keyframes.

    A keyframe's pose is the drive's own, if it has poses, and else the localiser's. A drive that is there already is
    not done again. tally: counts what is not sent. Raises DriveError if the drive lies in another world than the map.
    """
    place_map = localizer.place_map
    place_map.check_world(drive.name, drive.world)
    outbox.mkdir(parents=True, exist_ok=True)
    stamps = json.dumps([drive.name, [frame.stamp_ns for frame in drive]])
    path = outbox / f"{hashlib.sha256(stamps.encode()).hexdigest()[:16]}.vprmap"
    if path.exists():
        with PlaceMap.open(path) as there:
            return len(there)
    counted = Tally()
    with (
        map_file.new_file(path) as part,
        PlaceMap.create(
            part,
            place_map.model,
            place_map.world,
            place_map.origin,
            place_map.calibration,
            vocabulary=place_map.vocabulary,
            storage=place_map.storage,
        ) as made,
    ):
        for item, descriptors in _unknown(localizer, drive, counted, on_progress):
            assert item.frame.T_map_camera is not None
            made.add(drive.name, item.frame.stamp_ns, item.frame.T_map_camera, descriptors, item.jpeg)
        count = len(made)
    if not count:
        map_file.remove(path)
    if tally is not None:
        tally.update(tally_of(drive))
        tally.update(counted)
    return count


def send(lake: Lake, outbox: Path, robot: str) -> int:
    """Send all that an outbox has; the number of keyframes sent. What is sent is deleted, the rest stays.

    It may be killed at any moment: what had arrived is not sent twice. Raises MapError if the lake cannot be written,
    or another process sends from this outbox.
    """
    if not outbox.is_dir():
        raise MapError(f"there is no outbox {outbox}: give a drive to fill it, or --outbox")
    with (outbox / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MapError(f"another process sends from {outbox}: wait for it") from error
        sent = 0
        for path in sorted(outbox.glob("*.vprmap")):
            sent += lake.push(path, robot)
            map_file.remove(path)
        return sent


def looks_known(places: Places, T_map_camera: np.ndarray, descriptor: np.ndarray, reach_m: float) -> bool:
    """Whether a place near a pose, of about its heading, looks like an image: its descriptor (D,), the pose (4, 4)."""
    rows = places.neighbours.within(T_map_camera[:2, 3], reach_m)
    turned = geometry.heading(T_map_camera[None])[0] - places.headings[rows]
    rows = rows[np.cos(turned) >= np.cos(np.radians(OUTBOX.same_deg))]
    return bool(len(rows)) and float((places.descriptors[rows] @ descriptor).max()) >= OUTBOX.known


def _unknown(
    localizer: Localizer, drive: Drive, tally: Tally, on_progress: Progress | None
) -> Iterator[tuple[Prepared, np.ndarray]]:
    """The keyframes to send, with descriptors (V, D) and poses in the map."""
    manifest, views_each = localizer.describer.manifest, localizer.place_map.model.views
    batches, last, known = Batches(localizer.describer), np.full(3, np.inf), 0
    for frame in _sure(localizer, drive, tally, on_progress):
        assert frame.T_map_camera is not None
        if np.linalg.norm(frame.T_map_camera[:3, 3] - last) < OUTBOX.every_m:
            continue
        last = frame.T_map_camera[:3, 3]
        described = describe(
            [prepare(frame, frame.read, manifest.preprocessing, views_each, keep_image=False)], batches, views_each
        )
        for item, descriptors in zip(described.ready, described.descriptors, strict=True):
            if looks_known(localizer.places, frame.T_map_camera, descriptors[0], OUTBOX.reach_m):
                known += 1
                if known % OUTBOX.anchor_every != 1:
                    tally.add(KNOWN, f"drive {drive.name}")
                    continue
            yield item, descriptors


def _sure(localizer: Localizer, drive: Drive, tally: Tally, on_progress: Progress | None) -> Iterator[DriveFrame]:
    """Frames of the passes that the robot was sure of, with their poses in the map; the images are in memory."""
    localizer.reset()
    waiting: list[DriveFrame] = []
    run = 0
    for count, frame in enumerate(drive, 1):
        if on_progress is not None:
            on_progress(count, len(drive))
        try:
            loaded = frame.load()
        except (ImageError, DriveError) as error:
            tally.add(UNREADABLE, str(error))
            continue
        T_map_camera = _pose(localizer, frame, localizer.localize(loaded))
        if T_map_camera is None:
            tally.add(UNSURE, f"drive {drive.name}", 1 + len(waiting))
            waiting, run = [], 0
            continue
        run += 1
        image_rgb = loaded.image_rgb
        waiting.append(DriveFrame(frame.stamp_ns, lambda image_rgb=image_rgb: image_rgb, T_map_camera))  # type: ignore[misc]
        if run >= OUTBOX.least_pass:
            yield from waiting
            waiting = []
    tally.add(UNSURE, f"drive {drive.name}", len(waiting))


def _pose(localizer: Localizer, frame: DriveFrame, estimate: Estimate) -> np.ndarray | None:
    """The pose (4, 4) of a frame in the map; None if the robot is not sure of it."""
    best = estimate.best
    if best is None or best.probability < OUTBOX.sure:
        return None
    if frame.T_map_camera is not None and np.isfinite(frame.T_map_camera).all():
        return localizer.place_map.map_pose(frame.T_map_camera)
    return best.T_map_camera
