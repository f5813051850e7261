"""Refreshing of maps: add new drives, drop redundant places, and compare the recall on held-out drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive
from vpr_ros.evaluation.held_out_figures import Figures, HeldOutDrives
from vpr_ros.inference.describer import Describer
from vpr_ros.localize.held_out import ProgressOf, check_held_out, describe_drives
from vpr_ros.maps.builder import Added, add_drive
from vpr_ros.maps.editor import rewritten
from vpr_ros.maps.features import choose_extractor
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.refresh import Dropped, check_refreshable, drop_redundant

LEAST_IMAGES = 200  # from which on a share of 0.005 is an image
_ECE_LOSS = 0.02  # calibration error that a map may gain before its calibration counts as one that no longer fits


@dataclass(frozen=True)
class Refreshing:
    """What ``refresh_map`` did.

    figures: on the held-out drives, of the map "as it was", "with everything" and "refreshed"; empty without any.
    notes: what a user should know, a sentence each.
    """

    added: tuple[Added, ...]
    dropped: Dropped
    figures: dict[str, Figures]
    notes: tuple[str, ...]


def refresh_map(
    path: Path,
    drives: Sequence[Drive],
    describer: Describer,
    progress: ProgressOf,
    looks: int = 3,
    held_out: Sequence[Drive] = (),
    max_loss: float = 0.005,
    output: Path | None = None,
    every_m: float = 5.0,
    every_s: float = 0.0,
    tally: Tally | None = None,
) -> Refreshing:
    """Add drives to a map and drop redundant places (``maps.refresh``). The map is replaced, or output is written.

    looks: of each place that are kept at most. held_out: drives that are not in the map. max_loss: recall@1 that may be
    lost on them, compared with the map as it was and with everything kept. every_m, every_s: minimum distance and time
    between new places. Whole or not at all. Raises MapError if more would be lost, if a held-out drive is in the map,
    or if the map cannot be read or written; DriveError if a drive lies in another world or cannot be used.
    """
    tally = Tally() if tally is None else tally
    with PlaceMap.open(path) as old:
        check_refreshable(old, path)
        old.prepare(describer)
        for drive in (*drives, *held_out):
            old.check_world(drive.name, drive.world)
        extractor = choose_extractor("", old) if drives else None
    added = []
    with rewritten(path, output) as part, PlaceMap.open(part, writable=True) as place_map:
        described = list(describe_drives(held_out, place_map, describer, progress, tally))
        in_map = f"{path} or a new drive has", "give --held-out a drive that is not in the map"
        was = place_map.places if described else None
        if was is not None:
            check_held_out(described, was, *in_map)  # before an hour of describing
        for drive in drives:
            with progress(f"adding {drive.name}") as step:
                added.append(add_drive(place_map, drive, describer, every_m, every_s, step, tally, extractor))
        figures: dict[str, Figures] = {}
        if was is not None:
            everything = place_map.places
            check_held_out(described, everything, *in_map)
            judge = HeldOutDrives(described, describer, everything, was)
            if not judge.images:
                raise DriveError(f"no image of {', '.join(d.name for d in held_out)} was taken on {path}")
            if drives:
                figures["as it was"] = judge.on(was, place_map.calibration)
            figures["with everything"] = judge.on(everything, place_map.calibration)
            del everything, was
        with progress("choosing looks") as step:
            dropped = drop_redundant(place_map, looks, step)
        if described:
            figures["refreshed"] = judge.on(place_map.places, place_map.calibration)
            _check_loss(path, figures, max_loss, looks)
        notes = _notes(path, output, place_map, dropped, figures)
    return Refreshing(tuple(added), dropped, figures, notes)


def _check_loss(path: Path, figures: dict[str, Figures], max_loss: float, looks: int) -> None:
    """Raises MapError if the refreshed map recalls less than one of the others where that one has places."""
    refreshed, everything, was = (figures.get(name) for name in ("refreshed", "with everything", "as it was"))
    assert refreshed is not None and everything is not None  # both were measured
    images = everything.images + everything.new_images
    compared = [("with everything", images, refreshed.recall_everywhere, everything.recall_everywhere)]
    if was is not None and was.images:
        compared.append(("as it was", was.images, refreshed.recall, was.recall))
    name, count, after, before = max(compared, key=lambda one: one[3] - one[2])
    if after < before - max_loss:
        raise MapError(
            f"the refreshed map would recall {after:.4f} of {count} held-out images, {path} {name} "
            f"{before:.4f}: nothing was changed; keep more with --looks {looks + 1}, leave out a drive that does "
            f"harm, or allow it with --max-loss {before - after + 0.0001:.4f}"
        )


def _notes(
    path: Path, output: Path | None, place_map: PlaceMap, dropped: Dropped, figures: dict[str, Figures]
) -> tuple[str, ...]:
    """What a user should know of the result."""
    notes, calibration = list(dropped.notes), place_map.calibration
    changed = dropped.refreshed.alike + dropped.refreshed.beyond > 0
    if not figures:
        notes.append("recall was not compared: give --held-out a drive that is not in the map")
        if changed and calibration.source != "default":
            notes.append(
                f"the calibration, of {calibration.source}, is kept, and was fitted to the places before: check "
                f"it with --held-out, or run `vpr map calibrate {output or path}` again"
            )
        return tuple(notes)
    before, after = figures["with everything"], figures["refreshed"]
    if (images := after.images + after.new_images) < LEAST_IMAGES:
        notes.append(f"only {images} held-out images were taken on the map, so the comparison is rough")
    if after.ece > before.ece + _ECE_LOSS:
        notes.append(
            f"the calibration, of {calibration.source}, no longer fits (its error was {before.ece:.3f} and is "
            f"{after.ece:.3f}): run `vpr map calibrate {output or path}` again"
        )
    return tuple(notes)
