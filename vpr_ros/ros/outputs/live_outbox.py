"""Fills an outbox with keyframes for the fleet's lake while the robot drives. No ROS here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import VprError
from vpr_ros.base.records import Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.left_out import EMPTY
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.keyframes import KNOWN, UNSURE, News, Passed, Passes, in_memory, sure_pose
from vpr_ros.fleet.outbox import GrowingOutbox, new_name
from vpr_ros.inference.describer import Describer
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.ros.health.condition import Log
from vpr_ros.ros.input.worker import Worker

_KEYFRAME, _TIMER = "keyframe", "timer"  # what waits for the thread; each has its own place in the queue


class LiveOutbox:
    """Chooses keyframes from the images that are localised, and stores them in a thread of its own.

    ``take`` and ``forget`` are called by whoever uses the localiser, and wait for nothing. If the thread is busy, the
    oldest image that waits is dropped and counted.
    """

    def __init__(
        self, folder: Path, most_mb: float, place_map: PlaceMap, places: Places, describer: Describer, log: Log
    ) -> None:
        """places: of the map, as the localiser has them. describer: for this object alone, ready for the map.

        most_mb: of the folder. Raises MapError; see ``GrowingOutbox``.
        """
        self._places, self._log = places, log
        self._no_room = (
            f"the outbox {folder} has no room for more (outbox.most_mb {most_mb:g}): send it with vpr fleet push; "
            "keyframes are dropped until then"
        )
        self._problem = ""
        self._outbox = GrowingOutbox(folder, place_map, 1e6 * most_mb)
        self._seen, self._described = Tally(), Tally()  # of the two threads
        self._news = News(describer, place_map.model, self._described, "")
        self._passes: dict[str, Passes] = {}  # of each camera
        self._drive = new_name()
        self._added = self._full = self._failed = 0
        self._timer_waits = False
        self._worker: Worker[partial[None]] = Worker(
            lambda work: work(), self._report, queue_size=OUTBOX.queue_size, name="outbox"
        )

    def take(self, stamp_ns: int, image_rgb: np.ndarray, camera: str, estimate: Estimate) -> None:
        """Take an image (H, W, 3) with its estimate. camera: its name, where there are several."""
        passes = self._passes.get(camera)
        if passes is None:
            passes = self._passes[camera] = Passes(self._places, self._seen, "")
        drive = f"{self._drive}/{camera.strip('/')}" if camera else self._drive
        try:
            for passed in passes.push(in_memory(stamp_ns, image_rgb), sure_pose(estimate)):
                self._worker.offer(partial(self._store, passed, drive), _KEYFRAME)
        except VprError as error:  # a tile cannot be read
            self._report(error)

    def forget(self) -> None:
        """The clock jumped back, or the filter starts again: what comes now is another drive."""
        for passes in self._passes.values():
            passes.end()
        self._passes, self._drive = {}, new_name()

    def on_timer(self) -> None:
        """Call once a second: keyframes are ready to be sent when none came for a while."""
        if not self._timer_waits:
            self._timer_waits = True
            self._worker.offer(partial(self._rest), _TIMER)

    @property
    def problem(self) -> str:
        """Why keyframes are not stored at present, one sentence; empty if they are."""
        return self._problem

    def values(self) -> dict[str, str]:
        """Names and values for diagnostics."""
        counts = {
            "outbox: images not sure of": self._seen.count(UNSURE),
            "outbox: keyframes known": self._described.count(KNOWN),
            "outbox: images that show nothing": self._described.count(EMPTY),
            "outbox: keyframes stored": self._added,
            "outbox: dropped (busy)": self._worker.dropped,
            "outbox: dropped (full)": self._full,
            "outbox: dropped (error)": self._failed,
        }
        return {name: str(value) for name, value in counts.items()}

    def close(self) -> None:
        """Store what is being described, and make the keyframes ready to be sent."""
        self._worker.stop()
        self._outbox.close()

    def _rest(self) -> None:
        self._timer_waits = False
        self._outbox.on_timer()
        if self._problem == self._no_room and self._outbox.has_room:
            self._problem = ""

    def _store(self, passed: Passed, drive: str) -> None:
        keyframe = self._news.keyframe(passed)
        if keyframe is None:
            return
        if self._outbox.add(keyframe, drive):
            self._added += 1
            self._problem = ""
            return
        self._full += 1
        self._problem = self._no_room
        self._log.warning(self._no_room, throttle_duration_sec=600.0)

    def _report(self, error: Exception) -> None:
        self._failed += 1
        self._problem = f"a keyframe is not stored: {error}"
        self._log.error(self._problem, throttle_duration_sec=30.0)
