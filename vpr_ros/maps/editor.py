"""Editing of maps: merge several, or replace the poses by those of a SLAM back end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.files import written_whole
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import Track
from vpr_ros.maps import map_file
from vpr_ros.maps.constants import TRAJECTORY
from vpr_ros.maps.features import check_kind
from vpr_ros.maps.map_drives import names_in_merged
from vpr_ros.maps.map_file import Link
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import Places, origin_near
from vpr_ros.maps.shard import Shard
from vpr_ros.maps.stages import Progress
from vpr_ros.maps.storage import DESCRIPTOR_TYPES, Storage
from vpr_ros.maps.writing import Writing

_SLACK_NS = 1_000_000  # nanoseconds; trajectories are often rounded to microseconds
_LEAST_COSINE = 0.5  # between the camera's up direction before and after


def merge_maps(
    path: Path, sources: Sequence[Path], tally: Tally | None = None, on_progress: Progress | None = None
) -> PlaceMap:
    """A new map with the places of all sources, which must share model, world and kind of local features.

    A place that two maps made from the same image is kept once, and counted in tally. Two drives of one name get two
    names (``names_in_merged``). Origin, calibration and storage are those of the first map; what others lose by that is
    counted, too. Written whole or not at all. One source is open at a time and a thousand of its places are in memory,
    so there may be any number. on_progress: called with the places read so far and those of all sources. Raises
    MapError if the maps do not fit each other or the file cannot be written.
    """
    left_out, done = Tally() if tally is None else tally, 0
    total = _check_together(sources, left_out)
    with map_file.new_file(Path(path)) as part:
        with PlaceMap.open(sources[0]) as first:
            merged = PlaceMap.create(
                part,
                first.model,
                first.world,
                first.origin,
                first.calibration,
                frame_id=first.frame_id,
                is_odometry=first.is_odometry,
                vocabulary=first.vocabulary,
                storage=first.storage,
            )
        with merged:
            for one in sources:
                with PlaceMap.open(one) as source:
                    for count in _copy(source, merged, left_out):
                        done += count
                        if on_progress is not None:
                            on_progress(done, total)
    return PlaceMap.open(path, writable=True)


def _check_together(sources: Sequence[Path], tally: Tally) -> int:
    """Number of places in maps that can be merged. Raises MapError if they do not fit each other.

    tally: counts the parts of a map that are not among them, or not in their order.
    """
    parts: list[Shard] = []
    with PlaceMap.open(sources[0]) as first:
        kind, total = "", 0
        for path in sources:
            with PlaceMap.open(path) as other:
                other.check_model(first.model.name, first.model.fingerprint)
                other.check_vocabulary(first.model)
                if other.model.views != first.model.views:
                    raise MapError(
                        f"{other.path} has {other.model.views} view(s) of each image, {first.path} has "
                        f"{first.model.views}: build one of them again with the other's --views"
                    )
                if other.world != first.world:
                    raise MapError(
                        f"{other.path} lies in world '{other.world}' and {first.path} in '{first.world}': "
                        "they cannot be merged"
                    )
                if other.is_odometry != first.is_odometry:
                    raise MapError(
                        f"the poses of only one of {other.path} and {first.path} are raw odometry: they cannot be "
                        "merged"
                    )
                check_kind(other.path, other.feature_kind(), kind)
                kind = kind or other.feature_kind()
                _count_stored_otherwise(first, other, tally)
                total += len(other)
                parts += [Shard.parse(other.shard)] if other.shard else []
    are_all = len(parts) == len(sources) and len({part.count for part in parts}) == 1
    outcome = (
        "so their drives are not in the map" if are_all else "so their drives are in it only if another map has them"
    )
    for count in sorted({part.count for part in parts}):
        numbers = [part.number for part in parts if part.count == count]
        missing = [n for n in range(1, count + 1) if n not in numbers]
        early = [n for n, after in pairwise(numbers) if n > after]
        for what, found in (
            (f"not given, {outcome}", missing),
            ("before an earlier one, and so are its places", early),
        ):
            tally.add(f"part(s) of {count} {what}", f"{found[0]}/{count}" if found else "", len(found))
    return total


def _count_stored_otherwise(first: PlaceMap, other: PlaceMap, tally: Tally) -> None:
    """Count the places of a map that lose something as they are stored as those of the first map are."""
    has, gets = other.storage, first.storage
    if DESCRIPTOR_TYPES.index(has.descriptors) < DESCRIPTOR_TYPES.index(gets.descriptors):
        kind = f"place(s) get descriptors of {gets.descriptors} instead of {has.descriptors}, as the first map has"
        tally.add(kind, str(other.path), len(other))
    if has.thumbnails and not gets.thumbnails:
        tally.add("place(s) lose their thumbnails, as the first map has none", str(other.path), len(other))


def _copy(source: PlaceMap, target: PlaceMap, tally: Tally) -> Iterator[int]:
    """Copy all places and loop closures of a map into another of the same model and world.

    Yields the number of places read, about a thousand at a time.
    """
    names, links = names_in_merged(target, source), source.links()
    linked = {place_id for link in links for place_id in (link.query_id, link.match_id)}
    copies: dict[int, int] = {}
    for places in source.pieces():
        T_map_camera = np.array(places.T_map_camera)
        T_map_camera[:, :3, 3] += source.origin - target.origin  # exactly zero for parts of one map
        with target.together():
            for row, place_id in enumerate(places.ids.tolist()):
                drive, stamp_ns = names[str(places.drives[row])], int(places.stamps_ns[row])
                copy = target.place_at(drive, stamp_ns)
                if copy is not None:
                    same = np.allclose(target.position_of(copy), T_map_camera[row, :3, 3], atol=TRAJECTORY.same_m)
                    if source.is_odometry and not same:
                        raise MapError(
                            f"{source.path} has other poses of the images of drive {drive} than a map before it, and "
                            "both are raw odometry: merge them after `vpr map set-poses`"
                        )
                    of_first = "" if same else ", with the poses of the first"
                    tally.add(f"place(s) were in two of the maps and are kept once{of_first}", f"drive {drive}")
                else:
                    copy = target.add(
                        drive,
                        stamp_ns,
                        T_map_camera[row],
                        places.descriptors[row],
                        thumbnail=source.thumbnail(place_id),
                        features=source.features(place_id),
                    )
                if place_id in linked:
                    copies[place_id] = copy
        yield len(places)
    if links:
        target.add_links([Link(copies[k.query_id], copies[k.match_id], k.T_match_query) for k in links])


def store_otherwise(path: Path, storage: Storage, output: Path | None = None) -> PlaceMap:
    """Store a map's places in another way, in the same file or in a new one; whole or not at all.

    Places, drives, calibration and closures stay. Thumbnails can only be left out. Raises MapError if the map cannot be
    read, another process adds to it, or the file cannot be written.
    """
    with PlaceMap.open(path) as source:
        source.check_intact()
        was, size = source.storage, (source.model.views, source.model.dimension)
        storage = storage.with_vocabulary(source.vocabulary)
    if storage.thumbnails and not was.thumbnails:
        storage = replace(storage, thumbnails=False)
    with rewritten(path, output) as part:
        map_file.convert(part, size, was, storage)
    return PlaceMap.open(output or path, writable=True)


@contextmanager
def rewritten(path: Path, output: Path | None = None) -> Iterator[Path]:
    """A copy of a map to change. When the block ends it replaces the map, or becomes output, a new map.

    If the block fails, nothing has changed. No other process can write to the map meanwhile. Raises MapError if another
    process adds to it, if output exists, or if a file cannot be written.
    """
    if output is not None:
        with map_file.new_file(output) as part:
            map_file.copy(path, part)
            yield part
        return
    path = path.resolve()  # a link stays one
    try:
        with map_file.alone(path), written_whole(path) as part:
            map_file.copy(path, part)
            yield part
    except (OSError, sqlite3.Error) as error:
        raise MapError(f"cannot write the map {path}: {error}; it is as it was") from error


def set_poses(
    path: Path,
    trajectory: Track,
    T_body_camera: np.ndarray,
    world: str = "map",
    output: Path | None = None,
    drive: str = "",
    tally: Tally | None = None,
) -> tuple[int, int]:
    """Replace the poses of a map by those of a trajectory, such as SLAM's after optimising the session.

    trajectory: T_world_body over time. T_body_camera: (4, 4), the camera's optical frame on that body. world: name of
    the trajectory's frame, which becomes the map's world. With output, a new map without the places that have no pose
    is written, whole or not at all. Otherwise the map is changed in one transaction, and all its places need a pose.
    drive: the only one that the trajectory is of; empty: of all. tally: counts places that move otherwise than by the
    odometry of a session, as with a trajectory of another drive or unit. Returns the number of places with a pose and
    the number without. Raises MapError, and DriveError if the trajectory is of another time or turns the camera upside
    down.
    """
    with nullcontext() if output is not None else Writing(path):  # places that another process adds would be lost
        return _set_poses(path, trajectory, T_body_camera, world, output, drive, tally)


def _set_poses(
    path: Path,
    trajectory: Track,
    T_body_camera: np.ndarray,
    world: str,
    output: Path | None,
    drive: str,
    tally: Tally | None,
) -> tuple[int, int]:
    """See ``set_poses``."""
    with PlaceMap.open(path) as place_map:
        stored, is_odometry = place_map.whereabouts, place_map.is_odometry
    if drive and drive not in stored.drives:
        raise MapError(f"{path} has no drive '{drive}': give one of {', '.join(dict.fromkeys(stored.drives.tolist()))}")
    of_drive = np.isin(stored.drives, [drive]) if drive else np.ones(len(stored), bool)
    stamps = zip(stored.stamps_ns.tolist(), of_drive, strict=True)
    found = [_at(trajectory, stamp_ns) if wanted else None for stamp_ns, wanted in stamps]
    places = stored.subset(np.array([T is not None for T in found], dtype=bool))
    if not len(places):
        raise DriveError(_times(path, stored, trajectory))
    T_world_camera = np.stack([T for T in found if T is not None]) @ T_body_camera
    _check_upright(path, places.T_map_camera, T_world_camera)
    if is_odometry and tally is not None:
        _count_moved_otherwise(places, T_world_camera, tally)
    missing = len(stored) - len(places)
    if output is not None:
        with map_file.new_file(output) as part:
            with PlaceMap.open(path) as source:
                source.save(part)
            _set(part, places.ids, T_world_camera, world)
    elif missing:
        raise MapError(
            f"{missing} of the {len(stored)} places of {path} have no pose in the trajectory: give -o to write a new "
            "map without them, or --max-gap to bridge wider gaps"
        )
    else:
        _set(path, places.ids, T_world_camera, world)
    return len(places), missing


def _set(path: Path, ids: np.ndarray, T_world_camera: np.ndarray, world: str) -> None:
    """Change a map, in one transaction."""
    with PlaceMap.open(path, writable=True) as place_map:
        place_map.check_intact()
        place_map.set_poses(ids, T_world_camera, world, origin_near(T_world_camera[0, :3, 3]))


def _at(trajectory: Track, stamp_ns: int) -> np.ndarray | None:
    """Pose (4, 4) at a stamp; the first or last pose if the stamp is outside by rounding alone; else None."""
    nearest = int(np.clip(stamp_ns, trajectory.stamps_ns[0], trajectory.stamps_ns[-1]))
    return trajectory.at(nearest) if abs(nearest - stamp_ns) <= _SLACK_NS else None


def _times(path: Path, places: Places, trajectory: Track) -> str:
    """The error if no place has a pose."""
    if not len(places):
        return f"{path} has no places yet: set poses after a drive"
    ours, theirs = (f"{t.min() / 1e9:.3f} to {t.max() / 1e9:.3f} s" for t in (places.stamps_ns, trajectory.stamps_ns))
    return (
        f"no place of {path} has a pose in the trajectory: the places are of {ours}, the trajectory of {theirs}; give "
        "that of this drive, in seconds, or --max-gap to bridge wider gaps"
    )


def _count_moved_otherwise(places: Places, T_new: np.ndarray, tally: Tally) -> None:
    """Count the places of drives whose new poses (N, 4, 4) do not move as their odometry does from one to the next."""
    for drive in dict.fromkeys(places.drives.tolist()):
        rows = np.flatnonzero(places.drives == drive)
        (by_odom, turned), (by_new, turned_new) = (_steps(T[rows]) for T in (places.T_map_camera, T_new))
        lengths, new_lengths = np.linalg.norm(by_odom, axis=1), np.linalg.norm(by_new, axis=1)
        moved = lengths > TRAJECTORY.least_step_m
        if moved.sum() < TRAJECTORY.least_steps:
            continue
        ratio = float(np.median(new_lengths[moved] / lengths[moved]))
        off = np.linalg.norm(by_new - by_odom, axis=1)[moved] / np.maximum(lengths, new_lengths)[moved]
        rotation = np.degrees(np.median([geometry.angle_of(a.T @ b) for a, b in zip(turned, turned_new, strict=True)]))
        if float(np.median(off)) > TRAJECTORY.off or rotation > TRAJECTORY.turned_deg:
            kind = (
                "place(s) move otherwise than by the session's odometry: is the trajectory of that drive (--drive), in "
                "metres, and of the body that --camera-pose is on"
            )
            tally.add(kind, f"drive {drive}, by {ratio:.3g} of its way, turned by {rotation:.0f} degrees", len(rows))


def _steps(T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 4, 4) -> motion from one to the next, in the earlier one's frame: (N - 1, 3) and (N - 1, 3, 3)."""
    R_before = np.swapaxes(T[:-1, :3, :3], 1, 2)
    return np.einsum("nij,nj->ni", R_before, np.diff(T[:, :3, 3], axis=0)), R_before @ T[1:, :3, :3]


def _check_upright(path: Path, T_old: np.ndarray, T_new: np.ndarray) -> None:
    """Raises DriveError if new poses turn the camera upside down: T_old, T_new (N, 4, 4).

    Causes are a forgotten camera mount and axes that do not follow REP-103.
    """
    cosines = np.sum(T_old[:, 2, :3] * T_new[:, 2, :3], axis=1)
    if np.median(cosines) < _LEAST_COSINE:
        raise DriveError(
            f"these poses turn the camera of {path} over: give --camera-pose if they are of the robot's base, and none "
            "if they are of the camera's optical frame; the z axis of their world must point up"
        )
