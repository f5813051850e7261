"""Sentences about images that a job leaves out, the same for every job."""

from __future__ import annotations

from collections.abc import Sequence

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span, clocks
from vpr_ros.drives.drive import Drive, pose_span_of, tally_of

UNREADABLE = "image(s) left out: they cannot be read or described"
EMPTY = "image(s) left out: they show nothing (black, white or covered)"
EMPTY_ANSWERED = "image(s) show nothing (black, white or covered) and are no evidence"
EMPTY_PLACES = "place(s) show nothing (black, white or covered): no image will be found there"
ONE_PLACE = "image(s) left out: all poses of the drive lie closer together than places do"
NAMED_TWICE = "row(s) left out: an earlier row names the same image"
NO_POSE = "image(s) left out: no pose at their time"


def count_without_pose(tally: Tally, drive: Drive, stamps_ns: Sequence[int], count: int, kind: str = NO_POSE) -> None:
    """Count the images of a drive that have no true pose. stamps_ns: of all its images."""
    if count:
        times = clocks(Span(min(stamps_ns), max(stamps_ns)), pose_span_of(drive))
        tally.add(kind, f"drive {drive.name}" + (f", {times}" if times else ""), count)


def without_poses(drive: Drive, stamps_ns: Sequence[int], needed: str) -> DriveError:
    """The error for a drive of which no image has a true pose.

    stamps_ns: of its images. needed: if the drive has no poses at all, what cannot be done and what to do.
    """
    if not stamps_ns:
        lines = "; ".join(tally_of(drive).lines())
        return DriveError(f"drive {drive.name} has no usable images" + (f": {lines}" if lines else ""))
    times = clocks(Span(min(stamps_ns), max(stamps_ns)), pose_span_of(drive))
    if times:
        return DriveError(f"no image of drive {drive.name} has a pose at its time: {times}")
    others = getattr(drive, "other_poses", "")
    advice = f"; to take others of the recording for true poses, give {others}" if others else ""
    lines = "; ".join(tally_of(drive).lines())
    return DriveError(f"drive {drive.name} has no poses, {needed}{advice}" + (f" ({lines})" if lines else ""))
