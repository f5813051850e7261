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
from vpr_ros.drives.geodesy import STRAY, strays, warn_of_jumps, warn_unless_utm
from vpr_ros.drives.left_out import TWO_POSES

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
    good = np.isfinite(poses).all(axis=1)
    if path.stem == "ins":
        good &= np.array(table.text("ins_status", "leaving out uncertain poses")) == _INS_GOOD
    tally.add(f"pose(s) left out: not a number, or not {_INS_GOOD}", str(path), int((~good).sum()))
    no_fix = good & (np.abs(poses[:, :2]) < 1.0).all(axis=1)
    tally.add("position(s) left out: 0, 0 is no fix", str(path), int(no_fix.sum()))
    good &= ~no_fix
    if not good.any():
        raise DriveError(f"{path} has no good pose: no row has ins_status {_INS_GOOD}")
    rows = np.flatnonzero(good)
    rows = rows[np.argsort(stamps_ns[rows], kind="stable")]
    stray = strays(poses[rows][:, [1, 0]], stamps_ns[rows])
    tally.add(STRAY, str(path), int(stray.sum()))
    good[rows[stray]] = False
    T_ned_ins = _transforms(poses[good, :3], poses[good, 3:])
    T_enu_ned = np.eye(4)
    T_enu_ned[:3, :3] = R_ENU_NED
    T_enu_ins = T_enu_ned @ T_ned_ins
    east_north = T_enu_ins[:, :2, 3]
    warn_of_jumps(east_north, east_north, stamps_ns[good], "%.0f, %.0f m", str(path))
    tally.add(TWO_POSES, str(path), Track.contradictions(stamps_ns[good], T_enu_ins))
    track = Track.of(stamps_ns[good], T_enu_ins @ inverse(T_vehicle_ins), max_gap_ns)
    zones = np.array([canonical_world(f"utm {zone}") for zone in table.text("utm_zone", "the name of the world")])[good]
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
