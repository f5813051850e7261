"""Which drive of a map a recording is: the same one again, or another of the same name.

The images tell. A place of a map was made of an image at a stamp; a recording that has the same images at the same
stamps is the same one, wherever it lies and whatever was added to it since. So a killed build goes on, and two folders
called "images" are two drives, also in maps that were built before this was looked at.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import numpy as np

from vpr_ros.drives.drive import Drive, path_of
from vpr_ros.drives.names import names_of
from vpr_ros.errors import DriveError, ImageError
from vpr_ros.image import preprocess
from vpr_ros.inference.describer import Describer
from vpr_ros.retrieval.place_map import PlaceMap

logger = logging.getLogger(__name__)

_LOOKS = 5  # images compared before a drive is believed to be the same
_SAME_COSINE = 0.99  # of one image's descriptors on two backends or machines; neighbouring images are below


def same_image(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two descriptors (D,) of one model are of one image."""
    return float(np.dot(a, b)) >= _SAME_COSINE


def name_in_map(place_map: PlaceMap, drive: Drive, describer: Describer) -> str:
    """The name under which a drive's places go into a map.

    That of the drive of the map that was made of the same images; else the drive's own, longer if it is taken, which
    the user is told.
    """
    alike = _alike(place_map, drive.name)
    there = {name: place_map.stamps_of(name) for name in alike}
    looks: dict[str, list[bool]] = {name: [] for name in alike}
    for frame in drive if alike else ():
        wanted = [n for n in alike if len(looks[n]) < min(_LOOKS, len(there[n]))]
        if not wanted:
            break
        known = [name for name in wanted if frame.stamp_ns in there[name]]
        try:
            image = preprocess(frame.read(), describer.manifest.preprocessing) if known else None
        except (ImageError, DriveError):
            continue
        if image is not None:
            descriptor = describer.describe(image[None]).descriptors[0]
            for name in known:
                looks[name].append(same_image(descriptor, place_map.descriptors(there[name][frame.stamp_ns])[0]))
    found = _same(looks)
    if found is None:
        return _new_name(drive.name, path_of(drive), place_map)
    if found != drive.name:
        where = path_of(drive) or drive.name
        logger.warning("%s is in %s already, as drive %s: it is added to there", where, place_map.path, found)
    return found


def name_in_merged(target: PlaceMap, source: PlaceMap, name: str) -> str:
    """The name that a drive of one map has in another, into which the first is merged; see ``name_in_map``."""
    ours, looks = source.stamps_of(name), {}
    for other in _alike(target, name):
        theirs = target.stamps_of(other)
        shared = [stamp for stamp in ours if stamp in theirs][:_LOOKS]
        looks[other] = [
            same_image(source.descriptors(ours[stamp])[0], target.descriptors(theirs[stamp])[0]) for stamp in shared
        ]
    found = _same(looks)
    return _new_name(name, None, target) if found is None else found


def _alike(place_map: PlaceMap, name: str) -> list[str]:
    """The drives of a map that may be one called so: with other parent folders or another number."""
    return [other for other in place_map.drive_names() if _short(other) == _short(name)]


def _short(name: str) -> str:
    return re.sub(r" \(\d+\)$", "", name).rsplit("/", 1)[-1]


def _same(looks: dict[str, list[bool]]) -> str | None:
    """The drive of which most images that were compared are the same."""
    return next((name for name, same in looks.items() if sum(same) > len(same) / 2), None)


def _new_name(name: str, path: Path | None, place_map: PlaceMap) -> str:
    """The name itself if it is free, else a longer one, which the user is told."""
    taken = set(place_map.drive_names())
    if name not in taken:
        return name
    numbered: Iterable[str] = (f"{name} ({number})" for number in count(2))
    longer = names_of(path) if path is not None else ()
    new = next(other for names in (longer, numbered) for other in names if other not in taken)
    logger.warning("another drive of the map is called %s already: this one is called %s there", name, new)
    return new
