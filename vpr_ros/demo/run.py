"""`vpr demo`: builds and calibrates a map, replays drives to the node, writes a report."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.base.errors import DriveError, VprError
from vpr_ros.base.image import thumbnail
from vpr_ros.demo.pace import AnswersSoFar, Pace
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import MovedDrive
from vpr_ros.evaluation.record import Answer, Run, answer_from_json, unanswered
from vpr_ros.evaluation.report import check_report
from vpr_ros.evaluation.run_report import QUERY_PX, Gallery, write_run_report
from vpr_ros.evaluation.scenes import Plan
from vpr_ros.evaluation.summary import Assessment, assess
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.calibrator import fit
from vpr_ros.localize.held_out import describe_drive
from vpr_ros.maps import map_file
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.place_map import PlaceMap

if TYPE_CHECKING:
    from vpr_ros.demo.live import Player

REFERENCE, HELD_OUT, CONDITIONS = "overcast", "changeable", ("sun", "snow", "night")
RATE_HZ = 8.0

Progress = Callable[[int, int], None]
ProgressBar = Callable[[str], AbstractContextManager[Progress]]


def run_demo(folder: Path, bags: Path, say: Callable[[str], None], bar: ProgressBar) -> tuple[list[Assessment], Path]:
    """Run the demo. Returns the assessments and the path of the report.

    folder: for the results.
    bags: folder with the town's drives.
    say: called with one line at each stage.
    bar: label -> context manager of a progress callback.
    Raises DriveError if the drives are missing, ImportError if ROS 2 is not installed.
    """
    check_report()
    plan, camera_pose = read_town(bags)
    from vpr_ros.demo.live import Player, running_node

    isolate_ros(folder)
    folder.mkdir(parents=True, exist_ok=True)
    describer = open_describer(DEFAULT_MODEL)
    map_path = folder / "town.vprmap"
    map_file.remove(map_path)
    with _make_map(map_path, bags, describer, say, bar) as place_map:
        say(
            f"starting the node ({describer.backend}), replaying {', '.join(CONDITIONS)} at up to {RATE_HZ:g} images "
            "a second"
        )
        assessments, galleries = [], {}
        parameters = {
            "map": map_path,
            "image": "/camera/image_raw/compressed",
            "odom": "/odom",
            "camera_pose": camera_pose,
        }
        for condition in CONDITIONS:
            answers = folder / f"{condition}.node.jsonl"
            answers.unlink(missing_ok=True)
            log = folder / f"{condition}.node.log"
            drive = open_drive(bags / condition)
            with running_node({**parameters, "answers_file": answers}, log) as node, Player(node, log) as player:
                player.wait_until_ready()
                run, gallery = _replay(player, drive, bags / condition, answers, place_map, bar)
            assessments.append(assess(run))
            galleries[run.name] = gallery
        say("drawing the report")
        facts = {
            "backend": describer.backend,
            "machine": f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}",
        }
        report = write_run_report(
            folder, assessments, galleries, place_map, plan, f"A simulated town: {', '.join(CONDITIONS)}", facts
        )
    return assessments, report


def isolate_ros(folder: Path) -> None:
    """Limit ROS discovery to this machine and a domain of its own, away from robots on the network.

    folder: gets ROS's logs, as a user of a container may have no HOME.
    """
    os.environ.setdefault("ROS_LOG_DIR", str(folder.absolute() / "ros_log"))
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    else:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))


def _make_map(
    map_path: Path, bags: Path, describer: Describer, say: Callable[[str], None], bar: ProgressBar
) -> PlaceMap:
    """A map of the reference drive, calibrated on the held-out drive."""
    with bar("building the map") as progress:
        place_map = build_map(map_path, [open_drive(bags / REFERENCE)], describer, on_progress=progress)
    with bar("calibrating") as progress:
        described = describe_drive(open_drive(bags / HELD_OUT), place_map, describer, progress)
    default = Calibration.of_model(describer.manifest.calibration)
    place_map.set_calibration(fit(place_map.places, describer, [described], default=default).calibration)
    say(f"{len(place_map)} places, {map_path.stat().st_size / 1e6:.1f} MB")
    return place_map


def _replay(
    player: Player, drive: Drive, bag: Path, answers: Path, place_map: PlaceMap, bar: ProgressBar
) -> tuple[Run, Gallery]:
    """Replay one query drive to the node, and join the answers with the true poses by stamp."""
    answered = AnswersSoFar(answers)
    with bar(f"replaying {drive.name}") as progress:
        player.forget()
        player.play(bag, Pace(RATE_HZ, answered.count), lambda count: progress(count, len(drive)))
        answered.wait_for(len(drive))
    if not answered.lines:
        raise VprError(
            f"the node answered none of {len(drive)} images of {drive.name}; the end of its log:\n{player.log()}"
        )
    by_stamp = {answer.stamp_ns: answer for answer in map(answer_from_json, answered.lines)}
    gallery = Gallery()
    joined: list[Answer] = []
    for number, frame in enumerate(MovedDrive(drive, place_map.map_pose)):
        answer = by_stamp.get(frame.stamp_ns)
        if answer is None:
            joined.append(unanswered(frame, number, "dropped"))
            continue
        joined.append(dataclasses.replace(answer, frame_index=number, T_map_camera_true=frame.T_map_camera))
        gallery.jpegs[number] = thumbnail(frame.read(), QUERY_PX)
        if frame.stamp_ns in player.depths:
            gallery.depths[number] = player.depths[frame.stamp_ns]
    return Run(drive.name, drive.name, tuple(joined), place_map.places.T_map_camera), gallery


def read_town(bags: Path) -> tuple[Plan, list[float]]:
    """The town's plan and the camera's pose on the robot, from the file that the simulator wrote next to the bags.

    Raises DriveError if the file is missing.
    """
    described = bags / "town.json"
    if not described.is_file():
        raise DriveError(
            f"no drives of the demo in {bags}: run it in a clone of the repository, which has them, or give"
            " their folder with --bags"
        )
    data = json.loads(described.read_text())
    return Plan([np.array(polygon) for polygon in data["polygons"]], data["colours"]), data["camera_pose"]
