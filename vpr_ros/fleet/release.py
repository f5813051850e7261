"""A release of the fleet's map: what robots pushed is checked, aligned and thinned, and the whole is tested.

A batch whose poses do not agree with the map is set aside, with the reason. The candidate is calibrated and compared
with the last release on held-out drives: one that recognises fewer of their images is not made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import MapError
from vpr_ros.evaluation.recall import judged_at_1
from vpr_ros.fleet.constants import OUTBOX, RELEASE
from vpr_ros.fleet.keyframes import looks_known, lowered
from vpr_ros.fleet.lake import Head, Lake, Release, Rows, rows_of
from vpr_ros.localize.held_out import DescribedDrive, check_held_out
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places
from vpr_ros.maps.stored_descriptors import all_cosines

Calibrate = Callable[[Places], Calibration]
_PIECE = 64  # keyframes compared with all places at a time


@dataclass(frozen=True)
class Made:
    """The result.

    added: keyframes. before, after: Recall@1 of the held-out images that the last release covers, NaN if there are
    none. new_streets: of those that only this one covers, and new_images: their number. left_out: of pushes that are in
    it, each with a sentence about keyframes that are not.
    """

    release: Release
    added: int
    before: float
    after: float
    new_streets: float
    new_images: int
    left_out: tuple[tuple[str, str], ...]


def first_release(lake: Lake, path: Path) -> Release:
    """Make a map the first release of a lake, and the lake itself. Raises MapError if it has releases."""
    with PlaceMap.open(path) as place_map:
        head, rows, vocabulary = Head.of(place_map), rows_of(place_map), place_map.vocabulary
        calibration = place_map.calibration
    lake.create()
    if lake.releases():
        raise MapError(f"the lake {lake.uri} has releases already: push to it, and leave out --first")
    release = Release(
        number=1,
        parts=(lake.add_part(rows, head),),
        batches=(),
        set_aside=(),
        head=head,
        calibration=calibration.to_dict(),
        vocabulary=vocabulary.to_bytes() if vocabulary else b"",
        places=len(rows),
        recall=float("nan"),
        note=f"from {path.name}",
        time_s=time.time(),
    )
    lake.publish(release)
    return release


def pushed_since(lake: Lake, last: Release) -> list[str]:
    """What was pushed since the last release. Raises MapError if that is nothing."""
    released = set(last.batches)
    if pending := [batch for batch in lake.batches() if batch not in released]:
        return pending
    raise MapError(f"nothing was pushed to {lake.uri} since release {last.number}")


def next_release(lake: Lake, held_out: Sequence[DescribedDrive], calibrate: Calibrate) -> Made:
    """Make a release of the last one and of all that was pushed since.

    held_out: drives that no robot pushed, with true poses in the world. calibrate: fits the probabilities. If the
    candidate is worse than the last release, the pushes that make it so are set aside. Raises MapError if nothing was
    pushed, if a held-out drive was, and if all pushes make it worse: nothing is changed then.
    """
    last = lake.release()
    pending = pushed_since(lake, last)
    seen, known = (lowered(cosine, bool(last.vocabulary)) for cosine in (RELEASE.seen, OUTBOX.known))
    old = joined(list(lake.rows(last)))
    new, set_aside, left_out = _checked(lake, pending, last.head, old, seen)
    test = _Test(old, held_out)
    added, candidate = _with(old, list(new.values()), known)
    remedy = "give a drive that is not in the lake; nothing is changed"
    check_held_out(held_out, candidate.places, "the release would have", remedy)
    found = test.of(candidate)
    if test.is_worse(found):
        losing = _losing(old, new, known, test)
        if len(losing) == len(new):
            raise MapError(
                f"the candidate recognises {100 * found.again:.1f} % of the held-out images and release "
                f"{last.number} {100 * test.before:.1f} %, so it is not released: nothing is changed; look at what was "
                f"pushed since: {', '.join(lake.pushed_by(batch) for batch in losing)}"
            )
        set_aside += losing.items()
        new = {batch: rows for batch, rows in new.items() if batch not in losing}
        added, candidate = _with(old, list(new.values()), known)
        found = test.of(candidate)
    calibration = calibrate(candidate.places).to_dict()  # before the lake gets places: it may fail
    release = replace(
        last,
        number=last.number + 1,
        parts=last.parts if added is None else (*last.parts, lake.add_part(added, last.head)),
        batches=(*last.batches, *pending),
        set_aside=(*last.set_aside, *set_aside),
        calibration=calibration,
        places=len(candidate),
        recall=found.on_map,
        note=f"{len(new)} of {len(pending)} pushes",
        time_s=time.time(),
    )
    lake.publish(release)
    lake.compact()
    return Made(
        release,
        0 if added is None else len(added),
        test.before,
        found.again,
        found.new_streets,
        found.new_images,
        tuple((batch, why) for batch, why in left_out if batch in new),
    )


def _checked(
    lake: Lake, pending: Sequence[str], head: Head, old: Rows, seen: float
) -> tuple[dict[str, Rows], list[tuple[str, str]], list[tuple[str, str]]]:
    """Pushes by batch, moved to agree with the old places; those set aside and why; what is left out of the others.

    seen: least cosine of what looks alike.
    """
    taken = set(_keys(old))
    new: dict[str, Rows] = {}
    set_aside: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    for batch in pending:
        own, rows = lake.batch(batch)
        fits = (own.model, own.world) == (head.model, head.world)
        moved = _aligned(old.places, rows, seen) if fits else "it is of another model or another world"
        if isinstance(moved, str):
            set_aside.append((batch, moved))
            continue
        if not head.storage["thumbnails"]:
            moved = replace(moved, thumbnails=[None] * len(moved))
        new[batch] = _with_own_names(taken, moved, batch)
        taken.update(_keys(new[batch]))
        if gone := len(rows) - len(moved):
            left_out.append(
                (batch, f"{gone} of {len(rows)} keyframes are far from where they look like, or from all others")
            )
    return new, set_aside, left_out


@dataclass(frozen=True)
class _Recalled:
    """Recall@1 of held-out images; NaN without any.

    on_map: that some places cover. again: of these, those that the last release covers. new_streets: the others.
    new_images: number of the others.
    """

    on_map: float
    again: float
    new_streets: float
    new_images: int


class _Test:
    """Held-out drives, judged on the images that the last release covers: others are no loss."""

    def __init__(self, old: Rows, held_out: Sequence[DescribedDrive]) -> None:
        self._held_out = held_out
        self._covered, right = self._judged(old)
        self.before = _mean(right[self._covered])

    def of(self, rows: Rows) -> _Recalled:
        """What some places recall. It compares all images with all of them."""
        on_map, right = self._judged(rows)
        new = on_map & ~self._covered
        return _Recalled(_mean(right[on_map]), _mean(right[self._covered]), _mean(right[new]), int(new.sum()))

    def is_worse(self, found: _Recalled) -> bool:
        """Whether fewer images are recognised than by the last release."""
        return found.again < self.before - RELEASE.worse

    def _judged(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        stored = np.asarray(rows.places.descriptors, np.float32)
        positions = rows.places.positions
        found = [judged_at_1(d.descriptors, d.T_map_camera[:, :3, 3], stored, positions) for d in self._held_out]
        none = np.zeros(0, bool)
        return np.concatenate([none, *(on for on, _ in found)]), np.concatenate([none, *(right for _, right in found)])


def _mean(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _losing(old: Rows, new: dict[str, Rows], known: float, test: _Test) -> dict[str, str]:
    """The pushes with which fewer held-out images are recognised, taken one after the other, and why."""
    kept: list[Rows] = []
    losing: dict[str, str] = {}
    for batch, rows in new.items():
        found = test.of(_with(old, [*kept, rows], known)[1])
        if test.is_worse(found):
            shares = (
                f"{100 * found.again:.1f} % of the held-out images are recognised, {100 * test.before:.1f} % without"
            )
            losing[batch] = f"with it {shares}"
        else:
            kept.append(rows)
    return losing


def _keys(rows: Rows) -> list[tuple[str, int]]:
    """Drive and stamp of each row: no two places of a map have both."""
    return list(zip(rows.places.drives.tolist(), rows.places.stamps_ns.tolist(), strict=True))


def _with_own_names(taken: set[tuple[str, int]], rows: Rows, batch: str) -> Rows:
    """Rows whose drives have a name of their own where an earlier drive of that name has the same stamps.

    Robots call drives alike, and stamps may begin with each recording. taken: ``_keys`` of the earlier ones.
    """
    twice = {drive for drive, _ in taken.intersection(_keys(rows))}
    if not twice:
        return rows
    drives = rows.places.drives.tolist()
    own = np.array([f"{drive} ({batch[:8]})" if drive in twice else drive for drive in drives])
    return Rows(replace(rows.places, drives=own), rows.thumbnails, rows.features)


def roll_back(lake: Lake, number: int) -> Release:
    """Make an earlier release the last one again, as a new release. What was pushed since then stays out."""
    last, earlier = lake.release(), lake.release(number)
    since = tuple(batch for batch in last.batches if batch not in earlier.batches)
    release = replace(
        earlier,
        number=last.number + 1,
        batches=last.batches,
        set_aside=(*earlier.set_aside, *((batch, f"rolled back to release {number}") for batch in since)),
        note=f"release {number} again",
        time_s=time.time(),
    )
    lake.publish(release)
    return release


def joined(rows: Sequence[Rows]) -> Rows:
    """Rows one after the other."""
    names = ("drives", "stamps_ns", "T_map_camera", "descriptors")
    drives, stamps_ns, T_world_camera, descriptors = (
        np.concatenate([getattr(some.places, name) for some in rows]) for name in names
    )
    places = Places(np.arange(1, len(drives) + 1), drives, stamps_ns, T_world_camera, descriptors)
    return Rows(
        places, [one for some in rows for one in some.thumbnails], [one for some in rows for one in some.features]
    )


def _aligned(places: Places, rows: Rows, seen_from: float) -> Rows | str:
    """Keyframes moved so that they agree with the map, without those that do not; a sentence if they cannot.

    What looks like a place of the map, wherever it is, must be near it: then their poses are of the map's frame. The
    median of what they are off is subtracted, such as the error of one day's satellites. seen_from: least cosine of
    what looks alike.
    """
    positions = rows.places.positions
    if not np.isfinite(positions).all() or not any(
        len(places.neighbours.within(point[:2], OUTBOX.reach_m)) for point in positions
    ):
        return "none of its keyframes is near the map"
    best, similar = _most_similar(places.descriptors, rows.places.descriptors[:, 0])
    seen = similar >= seen_from
    if seen.sum() < RELEASE.least_seen:
        return f"{seen.sum()} of its keyframes look like a place of the map, too few to check its poses"
    off = places.positions[best[seen]] - positions[seen]
    agree = np.linalg.norm(off[:, :2], axis=1) <= RELEASE.near_m
    if agree.mean() < RELEASE.agree:
        return f"the poses of {(~agree).sum()} of {len(agree)} keyframes that look like a place disagree with it"
    moved = rows.places.T_map_camera.copy()
    moved[:, :2, 3] += np.median(off[agree, :2], axis=0)
    right = _connected(places, moved[:, :2, 3])
    right[np.flatnonzero(seen)[~agree]] = False
    whole = Rows(replace(rows.places, T_map_camera=moved), rows.thumbnails, rows.features)
    return whole.subset(np.flatnonzero(right))


def _most_similar(stored: np.ndarray, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the most similar of stored descriptors (N, V, D) for each of descriptors (K, D), and the cosine: (K,)."""
    views, best, similar = stored.reshape(-1, stored.shape[-1]), [], []
    for start in range(0, len(descriptors), _PIECE):
        cosines = all_cosines(descriptors[start : start + _PIECE], views)
        best.append(cosines.argmax(axis=1) // stored.shape[1])
        similar.append(cosines.max(axis=1))
    return np.concatenate(best), np.concatenate(similar)


def _connected(places: Places, positions: np.ndarray) -> np.ndarray:
    """Whether positions (N, 2) lie near the map, or near others that do, (N,): a robot that is sure jumps nowhere."""
    reached = np.array([len(places.neighbours.within(point, RELEASE.apart_m)) > 0 for point in positions])
    waiting = list(np.flatnonzero(reached))
    while waiting:
        away = np.linalg.norm(positions - positions[waiting.pop()], axis=1)
        fresh = np.flatnonzero((away < RELEASE.apart_m) & ~reached)
        reached[fresh] = True
        waiting += fresh.tolist()
    return reached


def _with(old: Rows, batches: Sequence[Rows], known: float) -> tuple[Rows | None, Rows]:
    """What is new of some batches, None if nothing is, and the old places with it. known: see ``looks_known``."""
    added = _thinned(old.places, batches, known)
    return added, old if added is None else joined([old, added])


def _thinned(places: Places, batches: Sequence[Rows], known: float) -> Rows | None:
    """The keyframes that show what neither the map nor an earlier one does; None if there are none.

    known: see ``looks_known``.
    """
    kept: list[Rows] = []
    for rows in batches:
        news = []
        for k in range(len(rows)):
            T, descriptor = rows.places.T_map_camera[k], rows.places.descriptors[k, 0].astype(np.float32)
            others = [places, *(some.places for some in kept)]
            if not any(looks_known(one, T, descriptor, RELEASE.same_m, known) for one in others):
                news.append(k)
        if news:
            kept.append(rows.subset(np.array(news)))
    return joined(kept) if kept else None
