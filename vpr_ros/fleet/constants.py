"""Constants of the fleet: value, unit, meaning and what each was fitted on. None is a parameter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RayConstants:
    """How a build is laid out on a Ray cluster (``ray_build``). All by hand."""

    decode_cpus: float = 0.1
    """Cores that Ray reserves for a task that decodes a drive, where networks run on CPUs: they take the rest."""
    describer_cpus: float = 0.9
    """Cores that Ray reserves for a describer on one."""
    block_bytes: int = 16 * 1024 * 1024
    """Size of the blocks of prepared images that travel between machines; what a dead node costs is some of them."""
    reach_s: float = 5.0
    """Seconds for a cluster's address to answer."""
    describe_together: int = 32
    """Images that a describer gets at once."""


@dataclass(frozen=True)
class OutboxConstants:
    """What a robot sends (``keyframes``, ``outbox``). By hand, the cosines on the demo's town.

    There images of one place in two conditions have 0.55 to 0.66 in the median with ``demixvpr_mobilenet``, those of
    others at most 0.39 in 95 %.
    """

    vocabulary: float = 0.1
    """All cosines are lower by this in a map that has learnt a vocabulary of its own: 0.40 to 0.47 with
    ``demixvpr_lite0``, and -0.02 instead of 0.09 for places far apart."""

    sure: float = 0.9
    """Probability of a pose from which on the robot is sure of it,"""
    least_pass: int = 5
    """and images in a row of which it must be sure."""
    every_m: float = 5.0
    """Metres between keyframes."""
    known: float = 0.65
    """Cosine from which on a keyframe looks like a place of the map near it: the map knows it."""
    same_deg: float = 45.0
    """Degrees between their headings at most,"""
    reach_m: float = 15.0
    """and metres between them."""
    anchor_every: int = 10
    """Of the keyframes that the map knows, one in this many is sent: with them a release checks the poses."""
    together: int = 200
    """Keyframes of a robot that drives that are sent together, at most. A release checks the poses of many better,"""
    rest_s: float = 60.0
    """and seconds without a keyframe after which they are ready to be sent."""
    queue_size: int = 4
    """Images that wait to be described while a robot drives; if there are more, the oldest is dropped."""


@dataclass(frozen=True)
class ReleaseConstants:
    """What a release takes and what it refuses (``release``). All by hand."""

    near_m: float = 25.0
    """Metres between a keyframe and the place that looks most like it, within which their poses agree."""
    agree: float = 0.8
    """Least share of the keyframes that look like a place whose poses agree; below it the frame is another."""
    seen: float = 0.5
    """Cosine from which on a keyframe looks like a place, see ``OutboxConstants``."""
    apart_m: float = 200.0
    """Metres between a keyframe and the nearest other one, or place of the map, beyond which its pose is wrong."""
    least_seen: int = 3
    """Keyframes that must look like a place: fewer show nothing about the frame."""
    same_m: float = 5.0
    """Metres within which two keyframes that look alike show the same place: one of them is enough."""
    worse: float = 0.005
    """Recall@1 on held-out drives that a release may lose: 1 image in 200."""


@dataclass(frozen=True)
class LakeConstants:
    """Reading and writing a lake (``lake``). By hand."""

    boxes: int = 100
    """Boxes that one query asks for, at most."""
    tries: int = 20
    """Attempts to write while others write too,"""
    wait_s: float = 0.2
    """with a random wait of up to this time, longer each time, between them."""
    same_pose: float = 1e-6
    """Largest difference of two entries (metres, or of a rotation) of one pose that was stored and read again."""


RAY = RayConstants()
OUTBOX = OutboxConstants()
RELEASE = ReleaseConstants()
LAKE = LakeConstants()
