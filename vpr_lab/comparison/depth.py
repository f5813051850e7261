"""Error of hallucinated depth. Measures: Eigen, Puhrsch and Fergus, NIPS 2014, section 3.2.

One image cannot tell a wide camera near a wall from a narrow one far away, and the network sees every image squashed to
the same size, whatever the lens. Metres are therefore right only as far as the camera resembles those of training, and
every figure comes twice: as the network says it, and with each image's depth scaled to the true median (Zhou et al.,
CVPR 2017), which leaves the shape of the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError, ModelError
from vpr_ros.base.image import preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive
from vpr_ros.inference.describer import Describer

if TYPE_CHECKING:
    from rich.table import Table

NEAR_M, CAP_M = 1e-3, 80.0


@dataclass(frozen=True)
class DepthErrors:
    """Of predicted against true depth d, over pixels: abs_rel mean |p - d| / d; sq_rel mean (p - d)^2 / d, metres;
    rmse_m root of mean (p - d)^2, metres; rmse_log the same of natural logarithms; delta_1, delta_2, delta_3 shares
    with max(p / d, d / p) under 1.25, 1.25^2, 1.25^3.
    """

    abs_rel: float
    sq_rel: float
    rmse_m: float
    rmse_log: float
    delta_1: float
    delta_2: float
    delta_3: float

    @classmethod
    def of(cls, predicted_m: np.ndarray, true_m: np.ndarray) -> DepthErrors:
        """Two (N,) arrays of metres above zero, N at least 1."""
        predicted, true = predicted_m.astype(np.float64), true_m.astype(np.float64)
        squared, ratio = (predicted - true) ** 2, np.maximum(predicted / true, true / predicted)
        return cls(
            abs_rel=float(np.mean(np.abs(predicted - true) / true)),
            sq_rel=float(np.mean(squared / true)),
            rmse_m=float(np.sqrt(np.mean(squared))),
            rmse_log=float(np.sqrt(np.mean(np.log(predicted / true) ** 2))),
            delta_1=float(np.mean(ratio < 1.25)),
            delta_2=float(np.mean(ratio < 1.25**2)),
            delta_3=float(np.mean(ratio < 1.25**3)),
        )

    @classmethod
    def mean(cls, of_images: Sequence[DepthErrors]) -> DepthErrors:
        """Every image counts the same, however many of its pixels are known."""
        rows = np.array([list(asdict(errors).values()) for errors in of_images])
        return cls(*(float(value) for value in rows.mean(axis=0)))


@dataclass(frozen=True)
class ImageDepth:
    """One image. metric: as predicted; scaled: after multiplying by scale, true median over predicted median.
    known: share of pixels with true depth up to the cap.
    """

    metric: DepthErrors
    scaled: DepthErrors
    scale: float
    known: float


def compare(predicted: np.ndarray, true: np.ndarray, cap_m: float = CAP_M) -> ImageDepth | None:
    """(h, w) predicted and (H, W) true metres of one image, 0 unknown in the true one; None if nothing is known.

    Predicted depth is brought to the true one's size bilinearly and, like there, kept within NEAR_M and cap_m; pixels
    truly beyond the cap do not count.
    """
    import cv2

    known = (true > NEAR_M) & (true <= cap_m)
    if not known.any():
        return None
    large = cv2.resize(predicted, (true.shape[1], true.shape[0]), interpolation=cv2.INTER_LINEAR)
    p, d = large[known], true[known]
    scale = float(np.median(d) / np.median(p))
    metric, scaled = (DepthErrors.of(np.clip(p * factor, NEAR_M, cap_m), d) for factor in (1.0, scale))
    return ImageDepth(metric, scaled, scale, float(known.mean()))


@dataclass(frozen=True)
class DepthScore:
    """A drive, or several: what its images have on average. scale: median of the images' scales; scale_spread: half
    the span of the middle 68 %. left_out: images without true depth, or that cannot be read.
    """

    name: str
    images: int
    left_out: int
    metric: DepthErrors
    scaled: DepthErrors
    scale: float
    scale_spread: float
    known: float

    @classmethod
    def of(cls, name: str, images: Sequence[ImageDepth], left_out: int = 0) -> DepthScore:
        """At least one image."""
        low, middle, high = np.percentile([image.scale for image in images], [16, 50, 84])
        return cls(
            name=name,
            images=len(images),
            left_out=left_out,
            metric=DepthErrors.mean([image.metric for image in images]),
            scaled=DepthErrors.mean([image.scaled for image in images]),
            scale=float(middle),
            scale_spread=float(high - low) / 2,
            known=float(np.mean([image.known for image in images])),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def evaluate_depth(
    describer: Describer,
    drive: Drive,
    cap_m: float = CAP_M,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ImageDepth], int]:
    """The images of a drive that have true depth, and how many were left out.

    on_progress: called with (images passed, images of the drive). Raises ModelError if the model has no depth,
    DriveError if no image has.
    """
    if not describer.manifest.depth:
        raise ModelError(f"the model {describer.manifest.name} has no depth: choose one with depth in its manifest")
    found: list[ImageDepth] = []
    total, passed = len(drive), 0
    for passed, frame in enumerate(drive, 1):
        image = _evaluate_frame(describer, frame, cap_m)
        if image is not None:
            found.append(image)
        if on_progress:
            on_progress(passed, total)
    if not found:
        raise DriveError(
            f"drive {drive.name} has no true depth up to {cap_m:g} m: it needs lidar (raw RobotCar images), a stereo "
            "pair (KITTI) or depth from the simulator (`vpr simulate --format robotcar`)"
        )
    return found, passed - len(found)


def _evaluate_frame(describer: Describer, frame: DriveFrame, cap_m: float) -> ImageDepth | None:
    if frame.read_depth is None:
        return None
    try:
        image_rgb, true = frame.read(), frame.read_depth()
    except ImageError:
        return None
    predicted = describer.describe(preprocess(image_rgb, describer.manifest.preprocessing)[None]).depth
    assert predicted is not None  # the manifest says so, and the describer checked it
    return compare(describer.manifest.metres(predicted[0], frame.intrinsics), true, cap_m)


def depth_table(scores: Sequence[DepthScore], cap_m: float = CAP_M) -> Table:
    """A rich table, two lines a score: as predicted, and with each image scaled to its true median. δ in percent;
    scale: median over the images and half the span of their middle 68 %.
    """
    from vpr_ros.evaluation.table import text_table

    header = ["images of", "images", "depth", "abs-rel", "RMSE m", "δ<1.25", "δ<1.25²", "scale"]
    rows = []
    for score in scores:
        spread = f"{score.scale:.2f} ± {score.scale_spread:.2f}"
        for kind, errors, scale in (("metric", score.metric, "1"), ("scaled", score.scaled, spread)):
            measures = [f"{errors.abs_rel:.3f}", f"{errors.rmse_m:.2f}"]
            shares = [f"{100 * errors.delta_1:.1f}", f"{100 * errors.delta_2:.1f}"]
            rows.append([score.name, str(score.images), kind, *measures, *shares, scale])
    return text_table(f"Hallucinated depth, truth up to {cap_m:g} m, mean over images", header, rows)
