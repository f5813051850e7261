"""In-painting of sparse lidar depth, for a decoder to learn from."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import griddata


def dense_depth(depth: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres, 0 unknown -> the same with its holes in-painted, as Piasco et al. train on.

    Between known pixels the inverse depth, in which planes are planes, is interpolated over triangles. What lies over
    the highest known pixel of its column, sky as a rule, or outside all known ones, stays unknown.
    """
    known = depth > 0
    holes = ~known & (np.cumsum(known, axis=0) > 0)
    corners = np.argwhere(known)
    if not holes.any() or min(np.ptp(corners, axis=0)) == 0:
        return depth.astype(np.float32)
    inverse = griddata(corners, 1 / depth[known], np.argwhere(holes), method="linear")
    filled = depth.astype(np.float32)
    filled[holes] = np.where(np.isnan(inverse), 0.0, 1 / inverse)
    return filled
