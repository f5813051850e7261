"""Evaluate drives on a map: replay, score, and write all result files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np

from vpr_ros.base.image import thumbnail
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.views import MovedDrive
from vpr_ros.evaluation.output import ANSWERS, FRAME_TABLE, TRAJECTORIES, write_csv, write_results, write_trajectories
from vpr_ros.evaluation.record import Answer, Run, Tolerance
from vpr_ros.evaluation.replay import Replayed, collect, replay
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.scenes import Images, Plan
from vpr_ros.evaluation.summary import Assessment, summarise_all
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.place_map import PlaceMap

QUERY_PX = 240  # width of the queries' thumbnails in the report

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class Gallery:
    """Thumbnails (JPEG bytes) and hallucinated depth of a run's queries for the report, by frame number."""

    jpegs: dict[int, bytes] = field(default_factory=dict)
    depths: dict[int, np.ndarray] = field(default_factory=dict)

    def images(self, place_map: PlaceMap) -> Images:
        """The same with the map's thumbnails, for the report."""
        return Images(query=self.jpegs.get, place=place_map.thumbnail, depth=self.depths.get)

    def keep(self, frame: DriveFrame, answer: Answer, estimate: Estimate | None) -> None:
        """Keep the thumbnail and the depth of an answered frame."""
        if estimate is None:
            return
        self.jpegs[answer.frame_index] = thumbnail(frame.read(), QUERY_PX)
        if estimate.depth is not None:
            self.depths[answer.frame_index] = estimate.depth.astype(np.float16)


def run_drive(
    localizer: Localizer,
    place_map: PlaceMap,
    drive: Drive,
    condition: str = "",
    tolerance: Tolerance | None = None,
    on_progress: Progress | None = None,
    replayed: Iterable[Replayed] | None = None,
) -> tuple[Run, Gallery]:
    """Replay a drive from a clear memory. Frames without truth are answered and not scored.

    replayed: answers that another replay of this drive yields, in the map's frame; the localiser's by default.
    Raises DriveError if the drive lies in another world than the map, is empty or cannot be read.
    """
    place_map.check_world(drive.name, drive.world)
    gallery = Gallery()
    if replayed is None:
        replayed = replay(localizer, MovedDrive(drive, place_map.map_pose))
    run = collect(replayed, drive, localizer.places, condition, tolerance, on_progress, gallery.keep)
    return replace(run, filtered=localizer.config.filter.enabled), gallery


def write_run_report(
    folder: Path,
    assessments: Sequence[Assessment],
    galleries: Mapping[str, Gallery],
    place_map: PlaceMap,
    plan: Plan | None = None,
    title: str = "Localisation report",
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write results.json, the report, and each run's CSV, TUM trajectories and answers; return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    assessments = _with_own_files(assessments)
    summaries, warning = [assessment.summary for assessment in assessments], place_map.left_out
    write_results(folder / "results.json", summaries, summarise_all(assessments), warning)
    for assessment in assessments:
        write_csv(folder / f"{assessment.run.slug}{FRAME_TABLE}", assessment)
        assessment.run.save(folder / f"{assessment.run.slug}{ANSWERS}")
        write_trajectories(folder, assessment.run)
    images = {name: gallery.images(place_map) for name, gallery in galleries.items()}
    shown = {"map": f"{place_map.path.name}, {len(place_map)} places", "model": place_map.model.name}
    shown |= {"calibrated on": place_map.calibration.source, **(facts or {})}
    shown |= {"warning": warning} if warning else {}
    return write_report(folder / "report.html", assessments, images, plan, title, shown)


def remove_runs(folder: Path) -> list[str]:
    """Remove what ``write_run_report`` wrote of each run into a folder; return the runs' names in files.

    Answers without the other files are not its own, such as those that a node recorded, and stay.
    """
    names = []
    for answers in sorted(folder.glob(f"*{ANSWERS}")):
        name = answers.name.removesuffix(ANSWERS)
        files = [answers, *(folder / f"{name}{end}" for end in (FRAME_TABLE, *TRAJECTORIES))]
        if all(file.is_file() for file in files):
            names.append(name)
            for file in files:
                file.unlink()
    return names


def _with_own_files(assessments: Sequence[Assessment]) -> list[Assessment]:
    """The same with unique file names: the names "a b" and "a/b" give the same one."""
    found: list[Assessment] = []
    taken: set[str] = set()
    for assessment in assessments:
        slugs = (assessment.run.slug + ("" if n == 1 else f"_{n}") for n in count(1))
        slug = next(slug for slug in slugs if slug.lower() not in taken)
        taken.add(slug.lower())
        found.append(replace(assessment, run=replace(assessment.run, slug=slug)))
    return found
