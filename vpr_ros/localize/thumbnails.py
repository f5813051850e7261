"""Re-ranking by thumbnails: the image is compared with the small pictures of retrieved places."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import cv2
import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.errors import ConfigError, ImageError, MapError
from vpr_ros.base.image_messages import decode_compressed
from vpr_ros.localize.constants import THUMBNAILS
from vpr_ros.localize.rerank import RerankContext
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.matching.local_features import Extractor, LocalFeatures
from vpr_ros.matching.verify import mutual


class Look(Protocol):
    """A comparison of two images."""

    name: str  # key of its time in ``Estimate.timings_ms``
    weight: float  # of the search's standard score, which is added to the agreement; 0 ignores it

    def encode(self, image_rgb: np.ndarray) -> Any:
        """What is compared, computed from an image (H, W, 3) uint8."""
        ...

    def agreement(self, query: Any, places: Sequence[Any]) -> np.ndarray:
        """Agreement (N,) of each of N places with the query; larger is better."""
        ...


class ThumbnailReranker:
    """Ranks the first places by how well their thumbnails agree with the image. See ``rerank.Reranker``."""

    def __init__(self, place_map: PlaceMap, look: Look, candidates: int = 20) -> None:
        """candidates: places compared for each image. Raises MapError for a map without thumbnails."""
        self._ids = place_map.whereabouts.ids
        if all(place_map.thumbnail(place_id) is None for place_id in self._ids):
            raise MapError(
                f"{place_map.path} has no thumbnails, which {look.name} compares: build it again, or do without"
            )
        self.name = look.name
        self._place_map, self._look, self._candidates = place_map, look, candidates
        self._encoded = lru_cache(THUMBNAILS.cached)(self._encode)

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker. A place without a thumbnail keeps its rank."""
        places = [self._encoded(int(row)) for row in rows[: self._candidates]]
        seen = np.array([number for number, place in enumerate(places) if place is not None], int)
        if len(seen) < 2:
            return rows
        agreement = self._look.agreement(self._look.encode(image_rgb), [places[number] for number in seen])
        agreement = agreement + self._look.weight * scores[seen]
        order = rows.copy()
        order[seen] = rows[seen[np.argsort(-agreement, kind="stable")]]
        return order

    def reset(self) -> None:
        """See Reranker. There is no state to forget."""

    def _encode(self, row: int) -> Any:
        """What is compared of a place; None if it has no readable thumbnail."""
        jpeg = self._place_map.thumbnail(self._ids[row])
        try:
            return None if jpeg is None else self._look.encode(decode_compressed(jpeg))
        except ImageError:
            return None


@dataclass(frozen=True)
class LocalFeatureOptions:
    """``local_features features=xfeat``."""

    features: str = option(
        "xfeat", "local features: xfeat, or the path of an .onnx file of XFeat; SIFT and ORB find too few"
    )


def open_local_features(context: RerankContext, options: Mapping[str, Any]) -> ThumbnailReranker:
    """The re-ranker ``local_features``.

    Raises ConfigError for other features, ModelError if the file is not XFeat, MapError for a map without thumbnails.
    """
    features = from_dict(LocalFeatureOptions, dict(options), "re-ranker local_features").features
    if features != "xfeat" and not features.endswith(".onnx"):
        raise ConfigError(
            f"re-ranker local_features: features is '{features}'; choose xfeat, or the path of an .onnx file of XFeat"
        )
    look = LocalFeatureLook(open_extractor(features, THUMBNAILS.features, context.threads, THUMBNAILS.side_px))
    return LocalFeatureReranker(context.place_map, look, context.config.rerank.candidates)


class LocalFeatureReranker(ThumbnailReranker):
    """Looks closer only where the search is not sure, which saves most of the time on most maps."""

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker."""
        if len(scores) > THUMBNAILS.sure_rank and scores[0] - scores[THUMBNAILS.sure_rank] > THUMBNAILS.sure:
            return rows
        return super().rerank(image_rgb, rows, scores)


class LocalFeatureLook:
    """Counts local features that match and agree on one fundamental matrix."""

    name = "local_features"
    weight = 1.0  # the agreement is in the search's standard scores

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor

    def encode(self, image_rgb: np.ndarray) -> LocalFeatures:
        """See Look. The intrinsics are not needed: rays are pixels divided by the image's longer side here."""
        height, width = image_rgb.shape[:2]
        return self._extractor.extract(image_rgb, None, Intrinsics.pinhole(width, height, max(width, height)))

    def agreement(self, query: LocalFeatures, places: Sequence[LocalFeatures]) -> np.ndarray:
        """See Look."""
        return evidence(np.array([inliers(place, query) for place in places]))


def evidence(counts: np.ndarray) -> np.ndarray:
    """What the counts (N,) of agreeing features say about N candidates, in the search's standard scores, at least 0.

    Nearly all candidates are wrong, so they show what a wrong place reaches in this image and map: many features
    between equal doors or behind the black rim of a fisheye, few and by chance at night. A count says something as far
    as its logarithm stands out from the median by more than the spread below it; right places do not widen that.
    """
    logs = np.log(counts + THUMBNAILS.chance)
    low, median = np.percentile(logs, [25, 50])
    spreads = (logs - median) / max(float(median - low), THUMBNAILS.smallest_spread)
    return np.asarray(THUMBNAILS.trust * np.maximum(spreads - 1.0, 0.0))


def inliers(place: LocalFeatures, query: LocalFeatures) -> int:
    """Number of features that match in two images and agree on a fundamental matrix (MAGSAC++, Barath et al. 2020).

    If none is found, on a homography: images without parallax, such as equal ones, have no fundamental matrix.
    """
    rows_place, rows_query = _similar(place, query)
    if len(rows_place) < THUMBNAILS.least_matches:
        return 0
    rays = place.rays[rows_place], query.rays[rows_query]
    points = [THUMBNAILS.longer_px * of_one.astype(np.float64) for of_one in rays]
    error, confidence, iterations = THUMBNAILS.inlier_px, THUMBNAILS.confidence, THUMBNAILS.iterations
    searches = (
        partial(cv2.findFundamentalMat, *points, cv2.USAC_MAGSAC, error, confidence, iterations),
        partial(cv2.findHomography, *points, cv2.USAC_MAGSAC, error, maxIters=iterations, confidence=confidence),
    )
    most = 0
    for search in searches:
        with contextlib.suppress(cv2.error):  # OpenCV raises for some sets of repeated points
            _, agree = search()
            most = max(most, 0 if agree is None else int(agree.sum()))
        if most >= THUMBNAILS.least_matches:
            break
    return most


def _similar(place: LocalFeatures, query: LocalFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Rows of place and query, (M,) each: features that are mutual nearest neighbours and similar."""
    rows_place, rows_query, cosines = mutual(place, query)
    alike = cosines[rows_query, rows_place] > THUMBNAILS.least_cosine
    return rows_place[alike], rows_query[alike]
