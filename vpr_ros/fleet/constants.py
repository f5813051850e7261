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
    describe_together: int = 32
    """Images that a describer gets at once."""


RAY = RayConstants()
