"""Plays a bag through the node's own pipeline, without ROS, so that results match the live node.

Messages are processed in the order of the bag, by the code of the live node.
Unpaced, no image is dropped and a bag always gives the same answers. At a pace, the node's queue drops images if the
localiser is too slow.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError
from vpr_ros.base.image_messages import decode_message
from vpr_ros.base.messages import stamp_ns
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.bag import BagDrive, bag_topics
from vpr_ros.drives.bag_messages import IMAGE_TYPES
from vpr_ros.evaluation.record import answer_from_estimate, unanswered
from vpr_ros.evaluation.replay import Replayed
from vpr_ros.localize.localizer import Localizer
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.input.odometry import OdometryTrack
from vpr_ros.ros.input.priors import PriorTrack
from vpr_ros.ros.input.worker import Worker
from vpr_ros.ros.modes.mode import ImageSample, Reply
from vpr_ros.ros.params import NodeParams, pinhole
from vpr_ros.ros.pipeline import Arrival, Pipeline

logger = logging.getLogger(__name__)

_NOT_JUDGED = -1  # number of an image of a further camera
DROPPED = "dropped: the localiser was busy"


class _Offline:
    """Mode localize without outputs. It keeps the latest estimate."""

    needs_odometry = False
    queue_size = 1  # as in the live mode

    def __init__(self, localizer: Localizer, intrinsics: Callable[[int, int], Intrinsics | None]) -> None:
        """intrinsics: of images of this width and height in pixels."""
        self._localizer, self._intrinsics = localizer, intrinsics
        self.estimate: Estimate | None = None

    def answer(self, sample: ImageSample) -> Reply:
        """See Mode."""
        height, width = sample.image_rgb.shape[:2]
        self.estimate = estimate = self._localizer.localize(sample.frame(self._intrinsics(width, height)))
        return Reply("", time.monotonic_ns(), estimate.timings_ms)

    def leave_out(self, camera: str, why: str) -> None:
        """See Mode."""

    def forget(self) -> None:
        """See Mode."""
        self._localizer.reset()


class _Log:
    """The node's log offline: each message once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def info(self, message: str) -> None:
        """See Log."""
        self._log_once(logging.INFO, message)

    def warning(self, message: str, *, throttle_duration_sec: float = 0.0) -> None:
        """See Log."""
        self._log_once(logging.WARNING, message)

    def error(self, message: str, *, throttle_duration_sec: float = 0.0) -> None:
        """See Log."""
        self._log_once(logging.ERROR, message)

    def _log_once(self, level: int, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            logger.log(level, "%s", message)


class BagReplay:
    """Plays one bag. Iterate once; then ``tally`` has the node's counters."""

    def __init__(self, localizer: Localizer, drive: BagDrive, params: NodeParams, pace: float = 0.0) -> None:
        """params: of the node; topics are taken from the drive. pace: factor of real time; 0 is unpaced.

        Raises DriveError if the pace is negative.
        """
        if not 0 <= pace < float("inf"):
            raise DriveError(f"the pace is {pace}; set 0 for every image, 1 for real time, 2 for twice as fast")
        self._localizer = localizer
        self._drive = drive
        self._pace = pace
        self._health = Health()
        self._clock_ns = 0
        log = _Log()
        given = params.intrinsics
        self._mode = _Offline(localizer, lambda *size: pinhole(given, *size) if given else drive.intrinsics)
        mount = drive.options.mount
        base_frame = params.base_frame if mount is None else drive.base_frame
        self._mount = CameraMount(base_frame, params.T_base_camera if mount is None else mount)
        self._odometry: OdometryTrack | None = None
        if drive.odom_topic:
            self._odometry = OdometryTrack(drive.odom_topic, params.odom_gap, self._health, log)
        frame = params.map_frame or localizer.place_map.frame_id
        self._priors = PriorTrack(params.prior, lambda: localizer.place_map, lambda: frame, self._health, log)
        self._more_images = _further_cameras(drive, params)
        self._prior_topics = {topic: source for source, topic in params.prior.topics.items()}
        self._pipeline = Pipeline(
            self._mode, self._mount, self._odometry, self._health, log, lambda: self._clock_ns, self._priors
        )

    @property
    def tally(self) -> Tally:
        """The pipeline's counters, except for answered and unreadable images, which have answers of their own."""
        tally = Tally()
        for kind, count in self._health.counts.items():
            if kind not in ("images answered", "dropped (bad image)"):
                tally.add(kind, "", count)
        return tally

    def __iter__(self) -> Iterator[Replayed]:
        """(frame, answer, estimate) of each image but late ones and duplicates. True poses are in the map's frame."""
        self._localizer.reset()
        return self._paced() if self._pace else self._unpaced()

    def _unpaced(self) -> Iterator[Replayed]:
        for index, message, arrival in self._images():
            replayed = self._processed(index, message, arrival)
            if replayed is not None:
                yield replayed

    def _paced(self) -> Iterator[Replayed]:
        """Through the node's worker, in its thread."""
        done: SimpleQueue[tuple[int, Replayed | None] | Exception] = SimpleQueue()

        def work(item: tuple[int, Any, Arrival]) -> None:
            index, message, arrival = item
            replayed = self._processed(index, message, arrival)
            if index != _NOT_JUDGED:
                done.put((index, replayed))

        worker = Worker(work, done.put, self._mode.queue_size)
        waiting: dict[int, int] = {}  # images neither answered nor dropped yet: index -> stamp
        first_ns, started_ns = 0, time.monotonic_ns()
        try:
            for index, message, arrival in self._images():
                first_ns = first_ns or arrival.clock_ns
                due_ns = started_ns + (arrival.clock_ns - first_ns) / self._pace
                time.sleep(max(0.0, (due_ns - time.monotonic_ns()) * 1e-9))
                if index != _NOT_JUDGED:
                    waiting[index] = stamp_ns(message.header.stamp)
                worker.offer((index, message, replace(arrival, time_ns=time.monotonic_ns())), arrival.camera)
                yield from self._finished(done, waiting)
        finally:
            worker.stop(finish=True)
        yield from self._finished(done, waiting)
        yield from (self._dropped(index, stamp) for index, stamp in waiting.items())

    def _finished(self, done: SimpleQueue[Any], waiting: dict[int, int]) -> Iterator[Replayed]:
        """Images answered since the last call, and those dropped between them, in the order of the bag."""
        while not done.empty():
            item = done.get()
            if isinstance(item, Exception):
                raise item
            index, replayed = item
            for earlier in [number for number in waiting if number < index]:
                yield self._dropped(earlier, waiting.pop(earlier))
            waiting.pop(index)
            if replayed is not None:
                yield replayed

    def _dropped(self, index: int, stamp_ns: int) -> Replayed:
        frame = replace(self._frame(stamp_ns, None), read=_dropped_image)
        return frame, unanswered(frame, index, DROPPED), None

    def _images(self) -> Iterator[tuple[int, Any, Arrival]]:
        """(number, message, arrival) of each image; odometry and transforms in between are stored.

        Images of further cameras are answered too, for the belief. Only the drive's own images have a number and are
        judged.
        """
        own = self._drive.image_topic if self._more_images else ""
        numbers = itertools.count()
        for topic, log_ns, message in self._drive.messages([*self._prior_topics, *self._more_images]):
            self._clock_ns = log_ns
            if topic == self._drive.image_topic:
                yield next(numbers), message, _arrival(message, log_ns, own)
            elif topic in self._more_images:
                yield _NOT_JUDGED, message, _arrival(message, log_ns, topic)
            elif topic == self._drive.odom_topic:
                if self._odometry is not None:
                    self._odometry.store(message)
            elif topic in self._prior_topics:
                source = self._prior_topics[topic]
                self._priors.store_fix(message) if source == "fix" else self._priors.store_pose(message, source)
            elif topic.endswith("tf_static") or self._mount.needs_moving:
                self._mount.store(message, fixed=topic.endswith("tf_static"))

    def _processed(self, index: int, message: Any, arrival: Arrival) -> Replayed | None:
        """The result of an image; None if it was out of order, which ``tally`` counts, or is not judged."""
        self._mode.estimate = None
        outcome = self._pipeline.process(arrival)
        if index == _NOT_JUDGED:
            return None
        estimate = self._mode.estimate
        frame = self._frame(outcome.stamp_ns, message)
        if outcome.reply is None or estimate is None:
            return (frame, unanswered(frame, index, outcome.problem), None) if outcome.in_order else None
        latency_ms = (outcome.reply.sent_ns - arrival.time_ns) / 1e6
        return frame, answer_from_estimate(estimate, index, frame.T_map_camera, latency_ms), estimate

    def _frame(self, stamp_ns: int, message: Any) -> DriveFrame:
        """The image for the report, with its true pose in the map's frame."""
        truth = self._drive.true_pose(stamp_ns)
        T_map_camera = None if truth is None else self._localizer.place_map.map_pose(truth)
        return DriveFrame(stamp_ns, partial(decode_message, message), T_map_camera)


def _further_cameras(drive: BagDrive, params: NodeParams) -> tuple[str, ...]:
    """Image topics of further cameras in the bag. Raises DriveError if they cannot be used."""
    topics = tuple(topic for topic in params.more_images if topic != drive.image_topic)
    if topics and drive.options.mount is not None:
        raise DriveError("T_base_camera is of one camera, and more_images names others: their mountings come from TF")
    recorded = bag_topics(drive.path) if topics else {}
    for topic in topics:
        if topic not in recorded:
            images = [name for name, (kind, _) in recorded.items() if kind in IMAGE_TYPES]
            raise DriveError(
                f"the bag {drive.path} has no topic {topic} of more_images: its images are on {', '.join(images)}"
            )
    return topics


def _arrival(message: Any, log_ns: int, camera: str) -> Arrival:
    """A message that is read already, arriving now."""
    return Arrival(lambda: message, time.monotonic_ns(), log_ns, camera)


def _dropped_image() -> np.ndarray:
    raise DriveError("the image was dropped and is not kept")
