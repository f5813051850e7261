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
from vpr_ros.evaluation.recall import right_at_1
from vpr_ros.fleet.constants import OUTBOX, RELEASE
from vpr_ros.fleet.keyframes import looks_known, lowered
from vpr_ros.fleet.lake import Head, Lake, Release, Rows, rows_of
from vpr_ros.localize.held_out import DescribedDrive, check_held_out
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places

Calibrate = Callable[[Places], Calibration]


@dataclass(frozen=True)
class Made:
    """The result: the release, the keyframes that it added, and Recall@1 before and after."""

    release: Release
    added: int
    before: float
    after: float


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

    held_out: drives that no robot pushed, with true poses in the world. calibrate: fits the probabilities. Raises
    MapError if nothing was pushed, if a held-out drive was, and if the candidate is worse than the last release:
    nothing is changed then.
    """
    last = lake.release()
    pending = pushed_since(lake, last)
    seen, known = (lowered(cosine, bool(last.vocabulary)) for cosine in (RELEASE.seen, OUTBOX.known))
    old = joined(list(lake.rows(last)))
    new: list[Rows] = []
    set_aside: list[tuple[str, str]] = []
    for batch in pending:
        head, rows = lake.batch(batch)
        moved = _aligned(old.places, rows, seen) if head == last.head else "it is of another model or another world"
        if isinstance(moved, str):
            set_aside.append((batch, moved))
        else:
            new.append(moved)
    added = _thinned(old.places, new, known)
    candidate = joined([old, *([added] if added is not None else [])])
    remedy = "give a drive that is not in the lake; nothing is changed"
    check_held_out(held_out, candidate.places, "the release would have", remedy)
    before, after = (recall(rows.places, held_out) for rows in (old, candidate))
    if after < before - RELEASE.worse:
        raise MapError(
            f"the candidate recognises {100 * after:.1f} % of the held-out images and release {last.number} "
            f"{100 * before:.1f} %, so it is not released: nothing is changed; look at what was pushed since"
        )
    release = replace(
        last,
        number=last.number + 1,
        parts=last.parts if added is None else (*last.parts, lake.add_part(added, last.head)),
        batches=(*last.batches, *pending),
        set_aside=(*last.set_aside, *set_aside),
        calibration=calibrate(candidate.places).to_dict(),
        places=len(candidate),
        recall=after,
        note=f"{len(new)} of {len(pending)} pushes",
        time_s=time.time(),
    )
    lake.publish(release)
    lake.compact()
    return Made(release, 0 if added is None else len(added), before, after)


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


def recall(places: Places, drives: Sequence[DescribedDrive]) -> float:
    """Recall@1 of the images of drives that are on the map."""
    stored = np.asarray(places.descriptors, np.float32)
    right = [right_at_1(drive.descriptors, drive.T_map_camera[:, :3, 3], stored, places.positions) for drive in drives]
    return float(np.mean(np.concatenate(right))) if right and sum(map(len, right)) else float("nan")


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
    """Keyframes moved so that they agree with the map; a sentence if they cannot.

    What looks like a place of the map, wherever it is, must be near it: then their poses are of the map's frame. The
    median of what they are off is subtracted, such as the error of one day's satellites. seen_from: least cosine of
    what looks alike.
    """
    positions = rows.places.positions
    if not np.isfinite(positions).all() or not any(
        len(places.neighbours.within(point[:2], OUTBOX.reach_m)) for point in positions
    ):
        return "none of its keyframes is near the map"
    similar = np.stack(
        [(places.descriptors @ one[0].astype(np.float32)).max(axis=1) for one in rows.places.descriptors]
    )
    best = similar.argmax(axis=1)
    seen = similar.max(axis=1) >= seen_from
    if seen.sum() < RELEASE.least_seen:
        return f"{seen.sum()} of its keyframes look like a place of the map, too few to check its poses"
    off = places.positions[best[seen]] - positions[seen]
    agree = np.linalg.norm(off[:, :2], axis=1) <= RELEASE.near_m
    if agree.mean() < RELEASE.agree:
        return f"the poses of {(~agree).sum()} of {len(agree)} keyframes that look like a place disagree with it"
    moved = rows.places.T_map_camera.copy()
    moved[:, :2, 3] += np.median(off[agree, :2], axis=0)
    return Rows(replace(rows.places, T_map_camera=moved), rows.thumbnails, rows.features)


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
