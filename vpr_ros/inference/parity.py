"""How far an exported or imported model is from the network that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import ModelError
from vpr_ros.inference.describer import Description


@dataclass(frozen=True)
class Parity:
    """The difference between a model and its original over some images."""

    images: int
    cosine_min: float
    cosine_mean: float
    depth_error_max_m: float | None = None
    """Absolute, metres; None for a model without depth."""
    depth_error_mean_m: float | None = None
    difference_max: float = 0.0
    """Largest absolute difference of two numbers of the descriptors, which have unit length."""

    @classmethod
    def of(cls, found: Description, expected: Description) -> Parity:
        """Compare a model's output with the original's, for the same images."""
        ours, theirs = (description.descriptors.astype(np.float64) for description in (found, expected))
        cosine = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
        depth: tuple[float | None, float | None] = (None, None)
        if found.depth is not None and expected.depth is not None:
            error_m = np.abs(found.depth - expected.depth)
            depth = float(error_m.max()), float(error_m.mean())
        difference = float(np.abs(found.descriptors - expected.descriptors).max())
        return cls(len(cosine), float(cosine.min()), float(cosine.mean()), *depth, difference)

    def check(self, cosine_min: float = 0.9999, depth_error_max_m: float = 0.1) -> None:
        """Raises ModelError if the two disagree."""
        error_m = self.depth_error_max_m or 0.0
        if not (self.cosine_min >= cosine_min and error_m <= depth_error_max_m):
            raise ModelError(
                f"the model disagrees with its original: smallest cosine {self.cosine_min:.6f}, largest difference of "
                f"descriptors {self.difference_max:.2g}, largest depth error {error_m:.3f} m"
            )
