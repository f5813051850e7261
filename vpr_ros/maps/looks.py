"""Which looks of each place a map keeps: a look is one drive's images of a stretch of road, in one direction.

A drive shows a place in one condition: its light, weather and season. Conditions are not given, they show in the
descriptors. An image that is dropped is represented by the most similar one that is kept near it; looks are chosen one
after the other so that this similarity grows the most (greedy facility location; Nemhauser, Wolsey, Fisher, 1978). A
whole look is kept or dropped, so that the images of a drive still follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.maps.constants import LOOKS
from vpr_ros.maps.places import Neighbours, Places

Read = Callable[[np.ndarray], np.ndarray]  # rows (K,) of places -> their descriptors (K, V, D)
Progress = Callable[[int, int], None]  # places decided so far, places of the map


@dataclass(frozen=True, eq=False)
class Choice:
    """The places that stay.

    kept: (N,) bool. represented: (N,) bool, whether an image that is kept near it is as similar as the next one of its
    own drive.
    """

    kept: np.ndarray
    represented: np.ndarray

    @property
    def alike(self) -> int:
        """Number of places that are dropped because one that is kept looks alike."""
        return int(np.sum(~self.kept & self.represented))

    @property
    def beyond(self) -> int:
        """Number of places that are dropped because there are enough looks, although none is like theirs."""
        return int(np.sum(~self.kept & ~self.represented))


def choose_looks(
    places: Places, newer: np.ndarray, read: Read, looks: int, on_progress: Progress | None = None
) -> Choice:
    """Choose at most this many looks of each place. Every place that is dropped has one near it that is kept.

    places: of a map, without descriptors. newer: (N,) numbers, larger for newer images; of looks that serve as well the
    newest is kept. read: reads descriptors, of one stretch at a time.
    """
    kept, represented = np.zeros(len(places), bool), np.ones(len(places), bool)
    if not len(places):
        return Choice(kept, represented)
    drives = np.unique(places.drives, return_inverse=True)[1]
    order = np.lexsort((places.stamps_ns, drives))
    order = order[_apart(places, drives, order)]
    number = np.full(len(places), -1)  # in the order of the drives
    number[order] = np.arange(len(order))
    around = Neighbours(places.positions, LOOKS.near_spacings * places.spacing, places.has_levels)
    done = len(places) - len(order)
    for rows in _stretches(places, np.sort(order)):
        member, other, _ = around.near(places.positions[rows])
        turn = np.abs(geometry.wrap_angle(places.headings[rows[member]] - places.headings[other]))
        counts = (np.isin(other, rows) | kept[other]) & (turn < LOOKS.heading)
        stretch = _Stretch(rows, member[counts], other[counts], drives, number, read)
        chosen, represented[rows] = stretch.chosen(looks, newer[rows])
        kept[chosen] = True
        done += len(rows)
        if on_progress:
            on_progress(done, len(places))
    return Choice(kept, represented)


def _apart(places: Places, drives: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Which of the places at rows (N,), drive by drive, to consider (N,): not those of a camera that hardly moved."""
    apart, last = np.ones(len(order), bool), -1
    drives, positions, headings = (array[order] for array in (drives, places.positions, places.headings))
    least = LOOKS.closest_spacings * places.spacing
    for row in range(len(order)):
        same = last >= 0 and drives[row] == drives[last]
        turn = abs(geometry.wrap_angle(headings[row] - headings[last]))
        if same and turn < LOOKS.heading and np.linalg.norm(positions[row] - positions[last]) < least:
            apart[row] = False
        else:
            last = row
    return apart


def _stretches(places: Places, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows (N,) of the places of one square and direction after the other."""
    cells = np.floor(places.positions[rows, :2] / (LOOKS.stretch_spacings * places.spacing)).astype(np.int64)
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    starts = np.flatnonzero(np.any(np.diff(cells[order], axis=0), axis=1)) + 1
    for left in np.split(rows[order], starts) if len(rows) else []:
        while len(left):
            turns = np.abs(geometry.wrap_angle(places.headings[left] - places.headings[left[0]]))
            yield np.sort(left[turns < LOOKS.heading])
            left = left[turns >= LOOKS.heading]


class _Stretch:
    """The images of one stretch, and kept ones just beyond its ends."""

    def __init__(
        self,
        rows: np.ndarray,
        member: np.ndarray,
        other: np.ndarray,
        drives: np.ndarray,
        number: np.ndarray,
        read: Read,
    ) -> None:
        """rows: (M,) of its images. member, other: (P,) pairs of an image, 0 to M - 1, and the row of a place near it.

        drives, number: (N,) of each place of the map: its drive, and its number in the order of the drives.
        """
        self._rows = rows
        everything = np.concatenate([rows, np.setdiff1d(other, rows)])
        order = np.argsort(everything)
        self._near = np.zeros((len(rows), len(everything)), bool)
        self._near[member, order[np.searchsorted(everything, other, sorter=order)]] = True
        descriptors = np.asarray(read(everything), np.float32)
        queries = descriptors[: len(rows), 0]  # a robot's image has one view
        similarity = np.max([queries @ descriptors[:, view].T for view in range(descriptors.shape[1])], axis=0)
        # Above zero if near: a place that is not near any other one is worth keeping, whatever it shows.
        self._similarity = np.where(self._near, np.maximum(similarity, LOOKS.least), 0.0)
        self._look = _passes(drives[everything], number[everything])
        own = self._look[: len(rows), None] == self._look
        itself = np.arange(len(rows))
        own[itself, itself] = False
        to_next = np.where(own, self._similarity, 0.0).max(axis=1)
        self._enough = np.where(to_next > 0, to_next, LOOKS.alike)
        # A robot's image is not this one again: it will be as similar as the next of the drive. That one is no other
        # look, so it does not stand for this one.
        self._similarity[own] = 0.0
        self._similarity[itself, itself] = self._enough

    def chosen(self, looks: int, newer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (K,) of the places to keep, and whether each image (M,) is represented by those near it.

        newer: (M,) of the images.
        """
        count = len(self._rows)
        kept = np.arange(len(self._look)) >= count
        represented = self._best(kept)
        left = {look: np.flatnonzero(self._look[:count] == look) for look in np.unique(self._look[:count]).tolist()}
        while left and (represented < self._enough).any():
            offered = {look: self._with_room(images, look, kept, looks) for look, images in left.items()}
            gains = {look: self._gain(images, represented) for look, images in offered.items()}
            most = max(gains.values())
            if most <= 0:
                break
            alike = [look for look in left if 0 < gains[look] >= most - LOOKS.newer_gain * count]
            best = max(alike, key=lambda look: newer[left[look]].max())
            kept[offered[best]] = True
            represented = self._best(kept)
            del left[best]
        kept[:count] |= represented == 0  # nothing near it is kept
        return self._rows[kept[:count]], represented >= self._enough

    def _with_room(self, images: np.ndarray, look: int, kept: np.ndarray, looks: int) -> np.ndarray:
        """Those of a look's images (K,) that have fewer other looks near them than allowed."""
        others = [other for other in np.unique(self._look[kept]) if other != look]
        near = [self._near[images][:, kept & (self._look == other)].any(axis=1) for other in others]
        return images[np.sum(near, axis=0) < looks] if near else images

    def _best(self, kept: np.ndarray) -> np.ndarray:
        return np.asarray(self._similarity[:, kept].max(axis=1, initial=0.0))

    def _gain(self, images: np.ndarray, represented: np.ndarray) -> float:
        """How much better all images are represented if these are kept too."""
        better = self._similarity[:, images].max(axis=1, initial=0.0) - represented
        return float(np.maximum(better, 0.0).sum())


def _passes(drives: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The pass of a drive that each image (K,) belongs to, numbered: a drive that comes back passes again."""
    order = np.argsort(number)
    new = (drives[order][1:] != drives[order][:-1]) | (np.diff(number[order]) > LOOKS.away)
    passes = np.zeros(len(order), np.int64)
    passes[order[1:]] = np.cumsum(new)
    return passes
