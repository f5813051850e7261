"""Identity of drives: whether a recording is in a map already, or is another one of the same name.

The images decide. A recording with the same images at the same stamps is the same drive, whatever its path and name,
and even if images were added since. A killed build can therefore continue, and two folders called "images" are two
drives.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Container, Iterable
from itertools import count
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.image import preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive, path_of
from vpr_ros.drives.names import names_of
from vpr_ros.inference.describer import Describer
from vpr_ros.maps.constants import SAME_DRIVE
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.stored_descriptors import paired_cosines

logger = logging.getLogger(__name__)


def same_images(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether descriptors (K, D) and (K, D) of one model, stored ones or not, come from the same images: (K,) bool."""
    return paired_cosines(one, other) >= SAME_DRIVE.equal_cosine


def name_in_map(place_map: PlaceMap, drive: Drive, describer: Describer) -> str:
    """The name under which a drive's places are stored in a map.

    If the map has a drive made from the same images, its name. Otherwise the drive's own, made longer if it is taken;
    the log then warns.
    """
    where = str(path_of(drive) or drive.name)
    taken = place_map.drive_names()
    wanted = _shared({frame.stamp_ns for frame in drive} if taken else set(), place_map)
    looks: dict[str, list[bool]] = {name: [] for name in wanted}
    missing = {stamp for shared in wanted.values() for stamp in shared}
    for frame in drive if missing else ():
        if frame.stamp_ns in missing:
            missing.remove(frame.stamp_ns)
            descriptor = _described(frame, describer)
            for name, shared in wanted.items():
                if descriptor is not None and frame.stamp_ns in shared:
                    stored = place_map.descriptors(shared[frame.stamp_ns])[:1]
                    looks[name] += same_images(descriptor[None], stored).tolist()
        if not missing:
            break
    found = _same(looks, drive.name, where)
    if found is None:
        return _new_name(drive.name, path_of(drive), taken)
    if found != drive.name:
        logger.warning(
            "%s is in %s already, as drive %s: new places are added to that drive", where, place_map.path, found
        )
    return found


def names_in_merged(target: PlaceMap, source: PlaceMap) -> dict[str, str]:
    """Names of a map's drives in another map, into which it is merged; see ``name_in_map``."""
    names: dict[str, str] = {}
    theirs = target.drive_names()
    for name in source.drive_names():
        ours = source.stamps_of(name)
        looks = {other: _same_places(source, ours, target, shared) for other, shared in _shared(ours, target).items()}
        found = _same(looks, name, f"drive {name} of {source.path}")
        others = [other for other in source.drive_names() if other != name]
        names[name] = _new_name(name, None, [*theirs, *names.values(), *others]) if found is None else found
    return names


def _same_places(source: PlaceMap, ours: dict[int, int], target: PlaceMap, shared: dict[int, int]) -> list[bool]:
    """Whether the places of two maps at shared stamps come from the same image. ours, shared: stamps -> their ids."""
    if not shared:
        return []
    one = source.descriptors_of(np.array([ours[stamp] for stamp in shared]))
    other = target.descriptors_of(np.array(list(shared.values())))
    return [bool(same) for same in same_images(one[:, 0], other[:, 0])]


def _shared(ours: Collection[int], place_map: PlaceMap) -> dict[str, dict[int, int]]:
    """Drives of a map that share stamps with another drive -> some of those stamps, with the places' ids.

    Only the places of drives of the same time are read.
    """
    found: dict[str, dict[int, int]] = {}
    first_ns, last_ns = min(ours, default=0), max(ours, default=0)
    for name, span in place_map.spans().items():
        if ours and span.first_ns <= last_ns and first_ns <= span.last_ns:
            theirs = place_map.stamps_of(name)
            found[name] = {stamp: theirs[stamp] for stamp in _spread(ours, theirs)}
    return found


def _spread(ours: Collection[int], theirs: Container[int]) -> list[int]:
    """Some of the stamps that two drives share: the first, the last and evenly spaced ones."""
    shared = sorted(stamp for stamp in ours if stamp in theirs)
    rows = np.unique(np.linspace(0, len(shared) - 1, min(SAME_DRIVE.compared, len(shared))).round().astype(int))
    return [shared[row] for row in rows]


def _described(frame: DriveFrame, describer: Describer) -> np.ndarray | None:
    """Descriptor (D,) of a frame; None if its image cannot be read."""
    try:
        image = preprocess(frame.read(), describer.manifest.preprocessing)
    except (ImageError, DriveError):
        return None
    return np.asarray(describer.describe(image[None]).descriptors[0])


def _same(looks: dict[str, list[bool]], name: str, where: str) -> str | None:
    """The drive with nearly all compared images equal; of several, the one of this name. None if there is none.

    looks: drive of the map -> whether each compared image is equal. The log warns if only some are.
    """
    alike = [other for other, same in looks.items() if any(same)]
    if not alike:
        return None
    best = max(
        alike, key=lambda other: (np.mean(looks[other]) >= SAME_DRIVE.equal_share, sum(looks[other]), other == name)
    )
    same = looks[best]
    found = float(np.mean(same)) >= SAME_DRIVE.equal_share
    if not all(same):
        logger.warning(
            "%d of %d compared images of %s equal those of drive %s of the map, so it is taken for %s: if it is that "
            "recording, and images were changed, inserted or removed since, build the map again",
            *(sum(same), len(same), where, best, "the same drive" if found else "another drive"),
        )
    return best if found else None


def _new_name(name: str, path: Path | None, taken: Collection[str]) -> str:
    """The name itself if it is free, else a longer one; the log then warns."""
    if name not in taken:
        return name
    stem = re.sub(r" \(\d+\)$", "", name)
    numbered: Iterable[str] = (f"{stem} ({number})" for number in count(2))
    longer = names_of(path) if path is not None else ()
    new = next(other for names in (longer, numbered) for other in names if other not in taken)
    logger.warning("the map has another drive called %s already: this one is stored as %s", name, new)
    return new
