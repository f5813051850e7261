"""The outbox: a folder of keyframes, as maps, that wait to be sent to the lake.

``collect`` fills it from a recorded drive, ``GrowingOutbox`` while a robot drives, and ``send`` empties it. Only
``send`` needs LanceDB.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, MapError, brief
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, tally_of
from vpr_ros.drives.left_out import UNREADABLE
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.keyframes import Keyframe, News, Passes, in_memory, sure_pose
from vpr_ros.fleet.lake import Head, Lake
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps import map_file
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.stages import Progress, has_pose

logger = logging.getLogger(__name__)

_GROWING = "growing"  # the file that keyframes are added to


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
    path = outbox / f"{_identity(drive)}.vprmap"
    if path.exists():
        with PlaceMap.open(path) as there:
            return len(there)
    counted, name = Tally(), f"drive {drive.name}"
    passes = Passes(localizer.places, counted, name)
    news = News(localizer.describer, place_map.model, counted, name)
    localizer.reset()
    with map_file.new_file(path) as part, PlaceMap.create(part, **_empty_like(place_map)) as made:
        for number, frame in enumerate(drive, 1):
            if on_progress is not None:
                on_progress(number, len(drive))
            try:
                loaded = frame.load()
            except (ImageError, DriveError) as error:
                counted.add(UNREADABLE, str(error))
                continue
            pose = _pose(localizer, frame, localizer.localize(loaded))
            for passed in passes.push(in_memory(frame.stamp_ns, loaded.image_rgb), pose):
                if (keyframe := news.keyframe(passed)) is not None:
                    keyframe.add_to(made, drive.name)
        passes.end()
        count = len(made)
    if not count:
        map_file.remove(path)
    if tally is not None:
        tally.update(tally_of(drive))
        tally.update(counted)
    return count


def _identity(drive: Drive) -> str:
    """A name for a drive, by its name, its stamps and some of its images: robots call drives alike."""
    stamps, some = [], {0, len(drive) // 2, len(drive) - 1}
    digest = hashlib.sha256(drive.name.encode())
    for number, frame in enumerate(drive):
        stamps.append(frame.stamp_ns)
        if number in some:
            with suppress(ImageError, DriveError):
                digest.update(frame.read().tobytes())
    digest.update(json.dumps(stamps).encode())
    return digest.hexdigest()[:16]


class GrowingOutbox:
    """Adds the keyframes of a robot that drives to an outbox. One thread calls it at a time.

    They go into one file, a transaction each. It is a map that is sent once it is large enough, once nothing came for a
    while, and on ``close``. What a killed process left is finished by the next one, and by ``send``.
    """

    def __init__(self, outbox: Path, place_map: PlaceMap, most_bytes: float) -> None:
        """place_map: of the keyframes' poses. most_bytes: of all files in the outbox.

        Raises MapError if the map's poses are raw odometry, if the folder cannot be written, or if another process
        fills it.
        """
        Head.of(place_map)  # a lake would refuse them
        self._outbox, self._most_bytes, self._empty = outbox, most_bytes, _empty_like(place_map)
        self._map: PlaceMap | None = None
        self._count, self._latest_s = 0, 0.0
        if (lock := _locked(outbox, _GROWING)) is None:
            raise MapError(f"another process fills the outbox {outbox}: give each node a folder of its own")
        self._lock = lock
        _finish(outbox)

    @property
    def size_bytes(self) -> int:
        """Of all files in the outbox."""
        with suppress(FileNotFoundError):  # somebody may have removed it
            return sum(_size(path) for path in self._outbox.iterdir())
        return 0

    @property
    def has_room(self) -> bool:
        """Whether a keyframe would be stored."""
        return self.size_bytes < self._most_bytes

    def add(self, keyframe: Keyframe, drive: str) -> bool:
        """Store a keyframe of a drive; False if the outbox has no room. Raises MapError if it cannot be written."""
        if not self.has_room:
            return False
        if self._map is None:
            self._lock_again()
            _finish(self._outbox)  # what could not be finished before
            self._map, self._count = PlaceMap.create(self._outbox / _GROWING, **self._empty), 0
        try:
            keyframe.add_to(self._map, drive)
        except MapError:
            self._abandon()  # so that the next one begins another file
            raise
        self._count, self._latest_s = self._count + 1, time.monotonic()
        if self._count >= OUTBOX.together:
            self.finish()
        return True

    def _lock_again(self) -> None:
        """Make the folder and its lock again, where somebody has removed them. Raises MapError."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._lock.fileno()), os.stat(self._lock.name)):
                return
        if (lock := _locked(self._outbox, _GROWING)) is None:
            raise MapError(f"another process fills the outbox {self._outbox}: give each node a folder of its own")
        self._lock.close()
        self._lock = lock

    def _abandon(self) -> None:
        made, self._map = self._map, None
        with suppress(MapError):
            if made is not None:
                made.close()

    def on_timer(self) -> None:
        """Finish the file if nothing came for a while."""
        if self._map is not None and time.monotonic() - self._latest_s > OUTBOX.rest_s:
            self.finish()

    def finish(self) -> None:
        """Make a map to be sent of what was added so far."""
        if self._map is not None:
            self._map.close()
            self._map = None
            _finish(self._outbox)

    def close(self) -> None:
        """Finish the file, and let another process fill the outbox."""
        self.finish()
        self._lock.close()


def send(lake: Lake, outbox: Path, robot: str) -> int:
    """Send all that an outbox has; the number of keyframes sent. What is sent is deleted, the rest stays.

    A node may fill the outbox meanwhile; its unfinished file stays. The process may be killed at any moment: what had
    arrived is not sent twice. Raises MapError if the lake cannot be written, or another process sends from this outbox.
    """
    if not outbox.is_dir():
        raise MapError(f"there is no outbox {outbox}: give a drive to fill it, or --outbox")
    if (lock := _locked(outbox, "sending")) is None:
        raise MapError(f"another process sends from {outbox}: wait for it")
    with lock:
        if (grown := _locked(outbox, _GROWING)) is not None:
            with grown:
                _finish(outbox)
        sent = 0
        for path in sorted(outbox.glob("*.vprmap")):
            sent += lake.push(path, robot)
            map_file.remove(path)
        return sent


def _empty_like(place_map: PlaceMap) -> dict[str, Any]:
    """Arguments of ``PlaceMap.create`` for a map of keyframes that can join this one. Its vocabulary stays at home."""
    return {
        "model": place_map.model,
        "world": place_map.world,
        "origin": place_map.origin,
        "calibration": place_map.calibration,
        "storage": place_map.storage,
    }


def _locked(outbox: Path, name: str) -> IO[str] | None:
    """A lock of an outbox, which is made if need be, until the file is closed; None if another process has it.

    Raises MapError if the folder cannot be written.
    """
    try:
        outbox.mkdir(parents=True, exist_ok=True)
        file = (outbox / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
    except OSError as error:
        raise MapError(f"the outbox {outbox} cannot be written ({error.strerror}): give another folder") from error
    return file


def _finish(outbox: Path) -> None:
    """Make a map to be sent of the file that grew; call it while no process adds to that. Without keyframes it goes."""
    growing = outbox / _GROWING
    if not growing.exists():
        return
    try:
        with PlaceMap.open(growing, writable=True) as made:  # what a kill left of a transaction is rolled back
            count = len(made)
    except MapError as error:
        logger.warning("%s is left out (%s)", growing.replace(outbox / "damaged"), brief(error))
        return
    if count:
        growing.replace(outbox / f"{new_name()}.vprmap")
    else:
        map_file.remove(growing)


def new_name() -> str:
    """A name that no other file or drive has: the time, and a random part."""
    return f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}_{uuid.uuid4().hex[:8]}"


def _size(path: Path) -> int:
    with suppress(OSError):  # it was sent meanwhile
        return path.stat().st_size
    return 0


def _pose(localizer: Localizer, frame: DriveFrame, estimate: Estimate) -> np.ndarray | None:
    """The pose (4, 4) of a drive's frame in the map, its own if it has one; None if the robot is not sure of it."""
    pose = sure_pose(estimate)
    if pose is not None and has_pose(frame):
        assert frame.T_map_camera is not None
        return localizer.place_map.map_pose(frame.T_map_camera)
    return pose
