"""A drive through the localiser, frame by frame, offline: the same input always gives the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.records import DriveFrame, Estimate
from vpr_ros.base.tally import Tally
from vpr_ros.drives.doubts import count_doubtful
from vpr_ros.drives.drive import Drive, tally_of
from vpr_ros.drives.left_out import EMPTY_ANSWERED, UNREADABLE, count_without_pose, without_poses
from vpr_ros.evaluation.record import Answer, Run, Tolerance, answer_from_estimate, unanswered

if TYPE_CHECKING:
    from vpr_ros.localize.localizer import Localizer
    from vpr_ros.maps.places import Places

Replayed = tuple[DriveFrame, Answer, "Estimate | None"]
Seen = Callable[[DriveFrame, Answer, "Estimate | None"], None]


def replay(localizer: Localizer, drive: Drive) -> Iterator[Replayed]:
    """Forget the past, then feed every frame in order, none skipped.

    drive: its true poses in the map's frame, see ``MovedDrive``. Yields (frame, answer, estimate) each; a frame that
    cannot be read is unanswered, with its problem, and has no estimate. latency_ms is the wall time of ``localize``,
    without reading and decoding.
    """
    localizer.reset()
    for index, frame in enumerate(drive):
        try:
            loaded = frame.load()
            started = perf_counter()
            estimate = localizer.localize(loaded)
        except (ImageError, DriveError) as error:
            yield frame, unanswered(frame, index, str(error)), None
            continue
        latency_ms = (perf_counter() - started) * 1e3
        yield frame, answer_from_estimate(estimate, index, frame.T_map_camera, latency_ms), estimate


def evaluate(
    localizer: Localizer,
    drive: Drive,
    condition: str = "",
    tolerance: Tolerance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Replay a drive through the localiser: see ``replay`` and ``collect``."""
    return collect(replay(localizer, drive), drive, localizer.places, condition, tolerance, progress)


def collect(
    replayed: Iterable[Replayed],
    drive: Drive,
    places: Places,
    condition: str = "",
    tolerance: Tolerance | None = None,
    progress: Callable[[int, int], None] | None = None,
    seen: Seen | None = None,
) -> Run:
    """The answers of a replayed drive, with the truth. Frames without truth are answered and not scored.

    replayed: what ``replay`` or ``ros.replay.replay_bag`` yields. places: of the map.
    condition: defaults to the drive's name. progress: called with (frames done, frames in all) after each; seen: with
    the frame, its answer and its estimate. Raises DriveError where the drive has no frame, or not one that can be read.
    """
    answers = []
    for frame, answer, estimate in replayed:
        answers.append(answer)
        if seen:
            seen(frame, answer, estimate)
        if progress:
            progress(len(answers), len(drive))
    if not answers:
        raise without_poses(drive, [], "so there is nothing to evaluate")
    if not any(answer.answered for answer in answers):
        raise DriveError(f"no frame of the drive {drive.name} can be read; the first one: {answers[0].problem}")
    tolerance = replace(tolerance or Tolerance(), levels=places.has_levels)
    return Run(drive.name, condition or drive.name, tuple(answers), places.T_map_camera, tolerance)


def left_out(run: Run, drive: Drive) -> Tally:
    """What an evaluated drive left out, which images were not answered, and which have no truth to judge them by."""
    tally = Tally()
    tally.update(tally_of(drive))
    for answer in run.answers:
        if not answer.answered:
            tally.add(UNREADABLE, answer.problem)
        elif answer.problem:
            tally.add(EMPTY_ANSWERED, f"drive {run.name}")
    truth = [answer.T_map_camera_true for answer in run.answers]
    count_doubtful(tally, drive, [T for T in truth if T is not None])
    stamps_ns = [answer.stamp_ns for answer in run.answers]
    missing = sum(T is None for T in truth)
    count_without_pose(tally, drive, stamps_ns, missing, "image(s) answered but not judged: no true pose at their time")
    return tally
