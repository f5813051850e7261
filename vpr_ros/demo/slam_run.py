"""`vpr demo slam`: two sessions with loops, by day and by night, the node in mode map, a pose graph, a report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.base.geometry import T_BODY_OPTICAL, matrix_from_rpy, transform
from vpr_ros.demo.run import Progress, ProgressBar, isolate_ros, read_town
from vpr_ros.drives.open import open_drive
from vpr_ros.evaluation.output import write_tum

SESSIONS = ("overcast", "night")
RATE_HZ = 5.0


def run_slam(
    folder: Path, bags: Path, say: Callable[[str], None], bar: ProgressBar, rate_hz: float = RATE_HZ
) -> tuple[list[list[str]], Path]:
    """Run the demo. Returns the table of figures, its header first, and the path of the report.

    folder: for the results.
    bags: folder with the town's drives.
    say: called with one line at each stage.
    bar: label -> context manager of a progress callback.
    rate_hz: images per second.
    Raises DriveError if the drives are missing, ImportError if ROS 2, vpr_msgs, GTSAM or evo is not installed.
    """
    plan, camera_pose = read_town(bags)
    from vpr_ros.demo.slam_live import drive_session
    from vpr_ros.demo.slam_report import figures, write_slam_report
    from vpr_ros.demo.slam_session import Session, score_session, tracks

    isolate_ros(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mount = transform(matrix_from_rpy(*camera_pose[3:]), np.array(camera_pose[:3])) @ T_BODY_OPTICAL
    sessions: list[Session] = []
    for name in SESSIONS:
        bag, map_path = bags / f"loops_{name}", folder / f"{name}.vprmap"
        for stale in folder.glob(f"{name}.vprmap*"):
            stale.unlink()
        truth, odometry = tracks(open_drive(bag), mount)
        earlier = [(session.map_path, session.map_path.with_suffix(".tum")) for session in sessions]
        say(f"starting the node in mode map and the pose graph, driving the loops: {name}")
        with bar(f"driving {name}") as progress:
            on_image = partial(_report_progress, progress, len(truth.stamps_ns))
            closures, path, answered = drive_session(bag, map_path, earlier, camera_pose, rate_hz, on_image)
        if answered < len(truth.stamps_ns):
            say(f"the node had no time for {len(truth.stamps_ns) - answered} of {len(truth.stamps_ns)} images: {name}")
        write_tum(map_path.with_suffix(".tum"), zip(path.stamps_ns.tolist(), path.T, strict=True))
        sessions.append(Session(name, bag, map_path, truth, odometry, path, tuple(closures), answered))
    say("drawing the report")
    truths = {session.map_path.name: session.truth for session in sessions}
    scores = [score_session(session, {**truths, "": session.truth}) for session in sessions]
    path_of_report = write_slam_report(folder, sessions, scores, plan)
    return figures(sessions, scores), path_of_report


def _report_progress(progress: Progress, total: int, done: int) -> None:
    progress(done, total)
