"""View change: how much of the last view an image still shows, and how far a camera moves for that.

The scale comes from the map: places far apart show another view, and neighbouring places show a view that has changed
by the distance between them. It differs along the map: a view changes faster in a bend than on a long road. The share
that is kept falls as exp(-(distance / scale) ** roughness): near things leave the view first, so that on roads small
steps change it more than their part of a long step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from vpr_ros.base.track import moving
from vpr_ros.localize.constants import VIEW_CHANGE
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.maps.centring import SessionMean
from vpr_ros.maps.places import Places

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """Change from the last counted image to this one.

    kept: share of the view that is still visible, from 0 (another view) to 1 (the same view).
    distance: metres that a camera on the map's drives moves for this change; inf for the first image.
    repeated: share of the last view's evidence that this image's evidence repeats, 0 to 1. Over equal steps it falls by
    equal factors, so that a stretch of road gives as much evidence in many images as in a few.
    """

    kept: float
    distance: float
    repeated: float

    @property
    def same_view(self) -> bool:
        """Whether the image shows the last counted view again."""
        return self.kept >= VIEW_CHANGE.same_view


class SpeedCheck:
    """Compares a speed that is set with what the views say, and warns once while they contradict each other."""

    def __init__(self, speed: float, spacing: float) -> None:
        """speed: m/s. spacing: of the map's places, metres."""
        self._speed, self._enough = speed, VIEW_CHANGE.speed_places * spacing
        self._set = self._seen = self._seconds = 0.0
        self._warned = False

    def add(self, seconds: float, seen_m: float) -> None:
        """One image: the time since the last one, and the distance that its view has changed by, inf for the first."""
        if not np.isfinite(seen_m):
            return
        self._seconds += seconds
        self._set += self._speed * seconds
        self._seen += seen_m
        if max(self._set, self._seen) < self._enough:
            return
        factor = VIEW_CHANGE.speed_factor
        wrong = not self._set / factor < self._seen < self._set * factor
        if wrong and not self._warned:
            logger.warning(
                "filter.speed is %g m/s, but the images change as at %.1f m/s: correct it, or set 0 to estimate it",
                self._speed, self._seen / max(self._seconds, 1e-9),
            )  # fmt: skip
        self._warned = wrong
        self._set = self._seen = self._seconds = 0.0


class SeenScale:
    """Learns how far a camera really moves for a change of its view: light and lens are not those of the map.

    It compares the distances that the views say with those between the places that are recognised. ``factor`` corrects
    the former.
    """

    def __init__(self, spacing: float) -> None:
        """spacing: of the map's places, metres."""
        self._enough = VIEW_CHANGE.scale_places * spacing
        self._seen_m = self._log = 0.0
        self._last: np.ndarray | None = None

    @property
    def factor(self) -> float:
        """Metres that the camera moves for a metre by its views."""
        return float(np.exp(self._log))

    @property
    def is_due(self) -> bool:
        """Whether ``at`` wants to know where the camera is."""
        return self._last is None or self._seen_m >= self._enough

    def moved(self, seen_m: float) -> None:
        """Metres that the camera has moved by its views, before the correction."""
        self._seen_m += seen_m

    def at(self, position: np.ndarray | None) -> None:
        """Where the camera is, (2,) metres in the map; None while it is not recognised."""
        if position is not None and self._last is not None:
            ratio = float(np.linalg.norm(position - self._last)) / self._seen_m
            if 1 / VIEW_CHANGE.largest_scale < ratio < VIEW_CHANGE.largest_scale:  # else it turned, or was elsewhere
                self._log += VIEW_CHANGE.scale_share * (np.log(ratio) - self._log)
        self._last, self._seen_m = position, 0.0


ANOTHER_VIEW = Change(kept=0, distance=float("inf"), repeated=0)


class ViewChange:
    """Compares each image with the last one that showed another view. Keeps that one's descriptor."""

    def __init__(self, places: Places) -> None:
        self._elsewhere = min(places.elsewhere_cosine, VIEW_CHANGE.largest_elsewhere)
        self._spacing = places.spacing
        self._roughness = self._roughness_of(places)
        self._changes, self._typical = self._along(places)
        self._last: np.ndarray | None = None

    def reset(self) -> None:
        """The next image is the first one."""
        self._last = None

    def to(
        self, descriptor: np.ndarray, belief: SparseValues | None = None, session_mean: SessionMean | None = None
    ) -> Change:
        """The change to an image with this descriptor (D,), not centred.

        belief: that the camera is at each of N places, or in each cell of a ``Rig``. session_mean: of the camera's
        images. What another light adds to all of them is no view that they share.
        """
        if self._last is None:
            self._last = descriptor
            return ANOTHER_VIEW
        last, seen = self._last, descriptor
        if session_mean is not None:
            last, seen = session_mean.unshifted(np.stack([last, seen]))
        kept = float(self._kept(np.asarray(last @ seen)))
        of_spacing = self._typical
        if belief is not None:
            changes = self._changes[belief.rows % len(self._changes)]
            of_spacing = float(belief.values @ changes + (1 - belief.values.sum()) * self._typical)
        changed = float(self._changed(np.asarray(kept)))
        change = Change(kept, self._spacing * changed / of_spacing, float(np.exp(-changed)))
        if not change.same_view:
            self._last = descriptor
        return change

    def _along(self, places: Places) -> tuple[np.ndarray, float]:
        """How much the view changes from each place to the next (N,), and typically; see ``_changed``."""
        follows = places.follows.copy()
        follows[follows] = moving(np.linalg.norm(np.diff(places.positions, axis=0), axis=1)[follows])
        if not follows.any():
            typical = float(self._changed(np.asarray(VIEW_CHANGE.neighbour_kept)))
            return np.full(len(places), typical), typical
        kept = self._kept(places.steps)
        change = np.log(self._changed(np.minimum(kept, VIEW_CHANGE.most_kept)))
        typical = float(np.median(change[follows]))
        steps = np.append(np.where(follows, change, typical), typical)
        near = np.ones(min(VIEW_CHANGE.window, len(steps)))
        mean = np.convolve(steps, near, "same") / np.convolve(np.ones(len(steps)), near, "same")
        most = np.log(VIEW_CHANGE.rate_range)
        return np.exp(np.clip(mean, typical - most, typical + most)), float(np.exp(typical))

    def _roughness_of(self, places: Places) -> float:
        """Slope of the change over the distance, both as logarithms, of places that lie some steps apart."""
        kept = self._kept(places.later_cosines)
        known = (kept > VIEW_CHANGE.rough_kept) & (kept < VIEW_CHANGE.most_kept)
        if known.sum() < 2:
            return VIEW_CHANGE.roughness
        steps, changes = np.log(np.flatnonzero(known) + 1), np.log(-np.log(kept[known]))
        return float(np.clip(np.polyfit(steps, changes, 1)[0], *VIEW_CHANGE.roughness_range))

    def _changed(self, kept: np.ndarray) -> np.ndarray:
        """Change of a view, proportional to the distance travelled."""
        return np.asarray((-np.log(np.maximum(kept, VIEW_CHANGE.least_kept))) ** (1 / self._roughness))

    def _kept(self, cosines: np.ndarray) -> np.ndarray:
        return np.clip((cosines - self._elsewhere) / (1 - self._elsewhere), 0.0, 1.0)
