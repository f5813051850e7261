"""Oxford RobotCar's poses: rtk.csv, ins.csv and vo.csv to tracks of the vehicle in an east-north-up world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import R_ENU_NED, inverse, matrix_from_rpy
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import Track
from vpr_ros.base.world import canonical_world, utm_of
from vpr_ros.drives.files import Table, beside, read_table
from vpr_ros.drives.fixes import NO_FIX, reachable
from vpr_ros.drives.geodesy import warn_unless_utm

_APART = "step(s) of visual odometry do not begin where the last one ends: the motion in between is not in the poses"
_INS_GOOD = "INS_SOLUTION_GOOD"
# The first vehicle frame, x forward, y right, z down, turned upright: x forward, y left, z up.
_T_UPRIGHT_VEHICLE = np.diag([1.0, -1.0, -1.0, 1.0])


def find_poses(run: Path, source: str) -> Path | None:
    """The file of a source ("rtk", "ins", "vo") in a run; rtk may be in a neighbouring folder, as in the release."""
    places = {
        "rtk": ("rtk.csv", "gps/rtk.csv", "../rtk/{name}/rtk.csv", "../ground_truth_rtk/{name}/rtk.csv"),
        "ins": ("gps/ins.csv", "ins.csv"),
        "vo": ("vo/vo.csv", "vo.csv"),
    }
    return beside(run, *places[source])


def _transforms(xyz: np.ndarray, rpy: np.ndarray) -> np.ndarray:
    """(N, 3) and (N, 3) -> (N, 4, 4), R = Rz Ry Rx."""
    angles: Any = rpy.T
    T = np.tile(np.eye(4), (len(xyz), 1, 1))
    T[:, :3, :3] = np.moveaxis(matrix_from_rpy(*angles), -1, 0)
    T[:, :3, 3] = xyz
    return T


def read_global_track(path: Path, T_vehicle_ins: np.ndarray, max_gap_ns: int, tally: Tally) -> tuple[Track, str]:
    """rtk.csv or ins.csv -> (T_map_vehicle over time, "utm 30 north").

    map: east, north, up in metres (converted from NED). vehicle: x forward, y right, z down. Rows of ins.csv whose
    ins_status is not INS_SOLUTION_GOOD are left out and counted. Raises DriveError for a missing column, for several
    zones, and if no row is good.
    """
    table = read_table(path)
    stamps_ns = table.stamps_ns("timestamp", "microseconds", "the poses' times")
    purpose = "the vehicle's poses"
    xyz = table.numbers(("northing", "easting", "down"), purpose)
    poses = np.hstack([xyz, table.radians(("roll", "pitch", "yaw"), purpose)])
    good, why = np.isfinite(poses).all(axis=1), "not a number"
    if path.stem == "ins":
        good &= np.array(table.text("ins_status", "leaving out uncertain poses")) == _INS_GOOD
        why += f", or not {_INS_GOOD}"
    tally.add(f"pose(s) left out: {why}", str(path), int((~good).sum()))
    no_fix = good & (np.abs(poses[:, :2]) < 1.0).all(axis=1)
    tally.add(NO_FIX, str(path), int(no_fix.sum()))
    rows = np.flatnonzero(good & ~no_fix)
    if not len(rows):
        raise DriveError(f"{path} has no good pose: all rows are {why}, or 0, 0")
    rows = rows[np.argsort(stamps_ns[rows], kind="stable")]
    east_north = poses[rows][:, [1, 0]]
    kept = reachable(east_north, stamps_ns[rows], east_north, "%.0f, %.0f m", tally, str(path))
    rows, east_north = rows[kept], east_north[kept]
    T_enu_ned = np.eye(4)
    T_enu_ned[:3, :3] = R_ENU_NED
    T_map_vehicle = T_enu_ned @ _transforms(poses[rows, :3], poses[rows, 3:]) @ inverse(T_vehicle_ins)
    track = Track.of(stamps_ns[rows], T_map_vehicle, max_gap_ns, tally, str(path))
    zones = np.array([canonical_world(f"utm {zone}") for zone in table.text("utm_zone", "the name of the world")])[rows]
    worlds = np.unique(zones)
    if len(worlds) > 1:
        raise DriveError(f"{path} has poses in several UTM zones ({', '.join(worlds)}): split it at the change of zone")
    if utm_of(world := str(worlds[0])):
        warn_unless_utm(path.parent.name, east_north[0], world)
    return track, world


def read_vo_track(path: Path, max_gap_ns: int, tally: Tally) -> Track:
    """vo.csv -> T_odom_vehicle over time; odom is the first vehicle frame turned upright (x forward, y left, z up).

    A row is the vehicle's pose at the later image in its frame at the earlier one, whichever of them is the source.
    Rows that do not begin where the one before ends are counted.
    """
    table: Table = read_table(path)
    purpose = "visual odometry"
    source_ns, destination_ns = (
        table.stamps_ns(f"{end}_timestamp", "microseconds", purpose) for end in ("source", "destination")
    )
    steps = np.hstack([table.numbers(("x", "y", "z"), purpose), table.radians(("roll", "pitch", "yaw"), purpose)])
    if not np.isfinite(steps).all():
        raise DriveError(f"{path} has empty cells: it holds {purpose}")
    later_ns, earlier_ns = np.maximum(source_ns, destination_ns), np.minimum(source_ns, destination_ns)
    order = np.argsort(later_ns, kind="stable")
    tally.add(_APART, str(path), int((earlier_ns[order][1:] != later_ns[order][:-1]).sum()))
    T = [_T_UPRIGHT_VEHICLE]
    for T_step in _transforms(steps[order, :3], steps[order, 3:]):
        T.append(T[-1] @ T_step)
    stamps_ns = np.concatenate([earlier_ns[order[:1]], later_ns[order]])
    return Track.of(stamps_ns, T, max_gap_ns)
