"""The tree of frames: where one frame is in another, at a time (REP-105)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vpr_ros.base.geometry import inverse


class Poses(Protocol):
    """Poses over time, such as ``track.Track`` and ``track.PoseTrack``."""

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """(4, 4) pose at a time, or None if it is unknown then."""
        ...


class FrameTree:
    """Fixed and moving transforms T_parent_child, each (4, 4). A frame has one parent; a later one replaces it.

    A frame that is fixed somewhere does not move elsewhere. May be written and read from different threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fixed: dict[str, tuple[str, np.ndarray]] = {}
        self._moving: dict[str, tuple[str, Poses]] = {}

    def fix(self, parent: str, child: str, T_parent_child: np.ndarray) -> bool:
        """A transform that holds at all times. Whether another one of these frames held before."""
        with self._lock:
            before = self._fixed.get(child)
            self._fixed[child] = (parent, T_parent_child)
        return before is not None and (before[0] != parent or not np.allclose(before[1], T_parent_child, atol=1e-3))

    def move(self, parent: str, child: str, poses: Poses) -> None:
        """A transform that changes. poses: T_parent_child over time."""
        with self._lock:
            self._moving[child] = (parent, poses)

    def parent(self, frame: str) -> str | None:
        """The parent of a frame, or None for a root."""
        with self._lock:
            edge = self._edge(frame)
            return None if edge is None else edge[0]

    def ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, and so on to the root."""
        with self._lock:
            chain = [frame]
            while (edge := self._edge(chain[-1])) is not None and edge[0] not in chain:
                chain.append(edge[0])
            return chain

    def connected(self, target: str, source: str) -> bool:
        """Whether a chain of transforms joins two frames."""
        return self.ancestors(target)[-1] == self.ancestors(source)[-1]

    def is_fixed(self, target: str, source: str) -> bool:
        """Whether two frames are joined, and no transform between them moves."""
        chains = self._chains(target, source)
        with self._lock:
            return chains is not None and all(frame in self._fixed for chain in chains for frame in chain)

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray | None:
        """T_target_source (4, 4) at a time. None if no chain joins them, or a part of it is unknown then."""
        chains = self._chains(target, source)
        if chains is None:
            return None
        T_common_target, T_common_source = (self._compose(chain, stamp_ns) for chain in chains)
        if T_common_target is None or T_common_source is None:
            return None
        return inverse(T_common_target) @ T_common_source

    def _edge(self, frame: str) -> tuple[str, np.ndarray | Poses] | None:
        return self._fixed.get(frame) or self._moving.get(frame)

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]] | None:
        """The frames from each of the two up to, and without, their common ancestor."""
        up_target, up_source = self.ancestors(target), self.ancestors(source)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            return None
        return up_target[: up_target.index(common)], up_source[: up_source.index(common)]

    def _compose(self, chain: Sequence[str], stamp_ns: int) -> np.ndarray | None:
        """T_ancestor_frame (4, 4) over a chain of children that begins with the frame itself."""
        T = np.eye(4)
        for child in chain:
            with self._lock:
                edge = self._edge(child)
            if edge is None:
                return None
            step = edge[1] if isinstance(edge[1], np.ndarray) else edge[1].at(stamp_ns)
            if step is None:
                return None
            T = step @ T
        return T
