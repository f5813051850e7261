"""View change: how much of the last view an image still shows, and how far a camera moves for that.

The scale comes from the map: places far apart show another view, and neighbouring places show a view that has changed
by the distance between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.localize.constants import VIEW_CHANGE
from vpr_ros.maps.places import Places


@dataclass(frozen=True)
class Change:
    """Change from the last counted image to this one.

    kept: share of the view that is still visible, from 0 (another view) to 1 (the same view).
    distance: metres that a camera on the map's drives moves for this change; inf for the first image.
    """

    kept: float
    distance: float

    @property
    def same_view(self) -> bool:
        """Whether the image shows the last counted view again."""
        return self.kept >= VIEW_CHANGE.same_view


ANOTHER_VIEW = Change(kept=0, distance=float("inf"))
SAME_VIEW = Change(kept=1, distance=0)


class ViewChange:
    """Compares each image with the last one that showed another view. Keeps that one's descriptor."""

    def __init__(self, places: Places) -> None:
        descriptors = places.descriptors[:, 0]
        one, other = np.random.default_rng(0).integers(0, len(places), (2, VIEW_CHANGE.pairs))
        elsewhere = float(np.median(np.einsum("nd,nd->n", descriptors[one], descriptors[other])))
        self._elsewhere = min(elsewhere, VIEW_CHANGE.largest_elsewhere)
        rows = np.flatnonzero(places.drives[1:] == places.drives[:-1])[: VIEW_CHANGE.pairs]
        cosines = np.einsum("nd,nd->n", descriptors[rows], descriptors[rows + 1])
        neighbour = float(np.median(self._kept(cosines))) if len(rows) else VIEW_CHANGE.neighbour_kept
        neighbour = float(np.clip(neighbour, VIEW_CHANGE.least_kept, VIEW_CHANGE.most_kept))
        self._length = -places.spacing / np.log(neighbour)  # metres after which 1/e of a view is kept
        self._last: np.ndarray | None = None

    def reset(self) -> None:
        """The next image is the first one."""
        self._last = None

    def to(self, descriptor: np.ndarray) -> Change:
        """The change to an image with this descriptor (D,), not centred."""
        if self._last is None:
            self._last = descriptor
            return ANOTHER_VIEW
        kept = float(self._kept(np.asarray(self._last @ descriptor)))
        change = Change(kept, -self._length * float(np.log(max(kept, VIEW_CHANGE.least_kept))))
        if not change.same_view:
            self._last = descriptor
        return change

    def _kept(self, cosines: np.ndarray) -> np.ndarray:
        return np.clip((cosines - self._elsewhere) / (1 - self._elsewhere), 0.0, 1.0)
