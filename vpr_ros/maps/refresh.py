"""Refreshing of maps: of all drives so far, keep some looks of each place, and drop the redundant ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpr_ros.base.errors import MapError
from vpr_ros.base.times import are_dates
from vpr_ros.maps.looks import Progress, choose_looks
from vpr_ros.maps.place_map import PlaceMap, Refreshed


@dataclass(frozen=True)
class Dropped:
    """What ``drop_redundant`` did. closures: loop closures that went with their places. notes: a sentence each."""

    refreshed: Refreshed
    closures: int
    notes: tuple[str, ...]


def check_refreshable(place_map: PlaceMap, path: Path) -> None:
    """Raises MapError if a map has no places, is damaged, or has poses that do not say which places are the same."""
    if place_map.is_odometry:
        raise MapError(
            f"the poses of {path} are raw odometry, so nothing says which of its images show the same place: give it "
            "poses of one world with `vpr map set-poses` first"
        )
    if not len(place_map):
        raise MapError(f"{path} has no places: add a drive to it with `vpr map add MAP DRIVE`")
    place_map.check_intact()


def drop_redundant(place_map: PlaceMap, looks: int, on_progress: Progress | None = None) -> Dropped:
    """Keep at most this many looks of each place of a map (``looks.choose_looks``), and delete the others.

    The memory that this takes does not grow with the map's descriptors. Raises MapError if the map cannot be written.
    """
    places = place_map.whereabouts
    dates = are_dates(places.stamps_ns)
    newer = places.stamps_ns if dates else places.ids
    choice = choose_looks(places, newer, lambda rows: place_map.descriptors_of(places.ids[rows]), looks, on_progress)
    refreshed = Refreshed(looks, len(places), choice.alike, choice.beyond)
    closures = place_map.keep(places.ids[choice.kept], refreshed)
    notes = []
    if not dates:
        notes.append("the stamps of some drives are not dates, so drives that were added later count as newer")
    return Dropped(refreshed, closures, tuple(notes))
