"""Which keyframes a robot sends: of passes it was sure of, if the map does not know what they show.

After Map++ (arXiv 2411.02553): what the map lacks is a small part of what a robot sees. Some keyframes that the map
knows go along, as anchors: they show a release whether the drive's poses are in the map's frame.

``Passes`` and ``News`` take one frame at a time: of a recorded drive (``outbox.collect``), or of a camera (the node).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.left_out import EMPTY, UNREADABLE
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.inference.batches import Batches
from vpr_ros.inference.describer import Describer
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.stages import describe, prepare
from vpr_ros.maps.stored_descriptors import all_cosines

UNSURE = "image(s) not sent: the robot was not sure where it was"
KNOWN = "keyframe(s) not sent: the map knows what they show"


@dataclass(frozen=True, eq=False)
class Passed:
    """A frame of a pass that the robot was sure of.

    T_map_camera: (4, 4). near: (K, V, D) descriptors of the map's places near it that have about its heading.
    """

    frame: DriveFrame
    T_map_camera: np.ndarray
    near: np.ndarray


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A keyframe to send. T_map_camera: (4, 4). descriptors: (V, D) float32. jpeg: its thumbnail."""

    stamp_ns: int
    T_map_camera: np.ndarray
    descriptors: np.ndarray
    jpeg: bytes

    def add_to(self, place_map: PlaceMap, drive: str) -> None:
        """Store it, in one transaction. Raises MapError."""
        place_map.add(drive, self.stamp_ns, self.T_map_camera, self.descriptors, self.jpeg)


class Passes:
    """Finds the passes of one camera that the robot was sure of, and takes a frame every few metres of them.

    It reads places of the map: call it from the localiser's thread. At most a few images wait until a pass is long
    enough.
    """

    def __init__(self, places: Places, tally: Tally, name: str) -> None:
        """tally: counts UNSURE. name: of the drive, its example."""
        self._places, self._tally, self._name = places, tally, name
        self._images = 0  # of the pass so far
        self._waiting: list[tuple[DriveFrame, np.ndarray]] = []
        self._last = self._passed = np.full(3, np.inf)  # positions of the last frames that wait and that passed

    def push(self, frame: DriveFrame, T_map_camera: np.ndarray | None) -> list[Passed]:
        """Take the next image; the frames that passed with it. T_map_camera: (4, 4); None if the robot is not sure."""
        if T_map_camera is None:
            self.end()
            self._tally.add(UNSURE, self._name)
            return []
        self._images += 1
        position = T_map_camera[:3, 3]
        if not np.linalg.norm(position - self._last) < OUTBOX.every_m:
            self._last = position
            self._waiting.append((frame, T_map_camera))
        if self._images < OUTBOX.least_pass:
            return []
        waiting, self._waiting, self._passed = self._waiting, [], self._last
        return [Passed(one, T, nearby(self._places, T, OUTBOX.reach_m)) for one, T in waiting]

    def end(self) -> None:
        """The pass is over: what waits is not sent."""
        if self._images < OUTBOX.least_pass:
            self._tally.add(UNSURE, self._name, self._images)
        self._images, self._waiting, self._last = 0, [], self._passed


class News:
    """Describes frames that passed, and leaves out those that the map knows, but for some anchors."""

    def __init__(self, describer: Describer, model: MapModel, tally: Tally, name: str) -> None:
        """model: of the map. tally: counts KNOWN, EMPTY and UNREADABLE. name: of the drive, their example."""
        self._preprocessing, self._views = describer.manifest.preprocessing, model.views
        self._batches, self._tally, self._name = Batches(describer), tally, name
        self._known, self._known_from = 0, lowered(OUTBOX.known, bool(model.vocabulary))

    def keyframe(self, passed: Passed) -> Keyframe | None:
        """The keyframe to send; None if the image cannot be read, or the map shows the same already."""
        frame = passed.frame
        described = describe(
            [prepare(frame, frame.read, self._preprocessing, self._views, keep_image=False)], self._batches, self._views
        )
        for problem in described.problems:
            self._tally.add(UNREADABLE, problem)
        if not described.ready:
            return None
        (item,), (descriptors,) = described.ready, described.descriptors
        if item.empty:
            self._tally.add(EMPTY, f"drive {self._name}")
            return None
        if _similar(passed.near, descriptors[0], self._known_from):
            self._known += 1
            if self._known % OUTBOX.anchor_every != 1:
                self._tally.add(KNOWN, self._name)
                return None
        return Keyframe(frame.stamp_ns, passed.T_map_camera, descriptors, item.jpeg)


def lowered(cosine: float, vocabulary: bool) -> float:
    """A cosine of ``constants`` for a map with a vocabulary of its own, or with none."""
    return cosine - OUTBOX.vocabulary * vocabulary


def looks_known(places: Places, T_map_camera: np.ndarray, descriptor: np.ndarray, reach_m: float, known: float) -> bool:
    """Whether a place near a pose, of about its heading, looks like an image: its descriptor (D,), the pose (4, 4).

    known: cosine from which on it does.
    """
    return _similar(nearby(places, T_map_camera, reach_m), descriptor, known)


def nearby(places: Places, T_map_camera: np.ndarray, reach_m: float) -> np.ndarray:
    """Descriptors (K, V, D) of the places near a pose (4, 4) that have about its heading."""
    rows = places.neighbours.within(T_map_camera[:2, 3], reach_m)
    turned = geometry.heading(T_map_camera[None])[0] - places.headings[rows]
    rows = places.readable(rows[np.cos(turned) >= np.cos(np.radians(OUTBOX.same_deg))])
    return np.asarray(places.descriptors[rows])


def _similar(descriptors: np.ndarray, descriptor: np.ndarray, known: float) -> bool:
    stored = descriptors.reshape(-1, descriptors.shape[-1])
    return bool(len(stored)) and float(all_cosines(stored, descriptor[None]).max()) >= known


def in_memory(stamp_ns: int, image_rgb: np.ndarray) -> DriveFrame:
    """A frame of an image (H, W, 3) uint8 that was read already."""
    return DriveFrame(stamp_ns, lambda: image_rgb)


def sure_pose(estimate: Estimate) -> np.ndarray | None:
    """The pose (4, 4) in the map of an image; None if the robot is not sure of it."""
    best = estimate.best
    return None if best is None or best.probability < OUTBOX.sure else best.T_map_camera
