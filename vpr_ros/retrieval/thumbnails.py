"""A second look at the first places of a search: the image beside the thumbnails that the map keeps.

Two ways of looking: GeoWarp, which a user trains, and local features that agree on one pair of cameras, which holds
for images of any kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import cv2
import numpy as np

from vpr_ros.camera import Intrinsics
from vpr_ros.errors import ConfigError, ImageError, MapError
from vpr_ros.image import preprocess
from vpr_ros.image_messages import decode_compressed
from vpr_ros.inference.geowarp import OnnxGeoWarp
from vpr_ros.retrieval.local_features import Extractor, LocalFeatures, open_extractor
from vpr_ros.retrieval.place_map import PlaceMap
from vpr_ros.retrieval.verify import mutual

_REMEMBERED = 500  # places whose features are kept, of 0.05 to 0.3 MB each
_SIDE_PX, _COUNT = 320, 500  # thumbnails hold no more
_LEAST_COSINE = 0.82  # of XFeat's that are alike, as in the authors' code
_LEAST = 8  # matches that a fundamental matrix can be found from
_LONGER_PX, _ERROR_PX = 640.0, 4.0  # an inlier is off by less; OpenCV's search fails in units much larger than pixels


class Look(Protocol):
    """A way of comparing two images."""

    name: str  # of its time in ``Estimate.timings_ms``
    weight: float  # of the search's standard scores beside the agreement; 0 does not ask the search

    def encode(self, image_rgb: np.ndarray) -> Any:
        """What is compared, of an image (H, W, 3) uint8."""
        ...

    def agreement(self, query: Any, places: Sequence[Any]) -> np.ndarray:
        """(N,): how well each of N places agrees with the query; larger is better."""
        ...


class ThumbnailReranker:
    """The first places, ranked by how well their thumbnails agree with the image. See ``rerank.Reranker``."""

    def __init__(self, place_map: PlaceMap, look: Look, candidates: int = 20) -> None:
        """Raises MapError for a map without thumbnails."""
        self._ids = place_map.whereabouts.ids
        if all(place_map.thumbnail(place_id) is None for place_id in self._ids):
            raise MapError(
                f"{place_map.path} has no thumbnails, which {look.name} compares: build it again, or do without"
            )
        self.name = look.name
        self._place_map, self._look, self._candidates = place_map, look, candidates
        self._encoded = lru_cache(_REMEMBERED)(self._encode)

    def rerank(self, image_rgb: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See Reranker. A place without a thumbnail stays where it is."""
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
        """It remembers no image."""

    def _encode(self, row: int) -> Any:
        """What is compared of a place, or None where it has no thumbnail that can be read."""
        jpeg = self._place_map.thumbnail(self._ids[row])
        try:
            return None if jpeg is None else self._look.encode(decode_compressed(jpeg))
        except ImageError:
            return None


class GeoWarpLook:
    """Each image is warped onto the other, and their features compared. (C, h, w) float16 are remembered."""

    name = "geowarp"
    weight = 0.0

    def __init__(self, geowarp: OnnxGeoWarp) -> None:
        self._geowarp = geowarp

    def encode(self, image_rgb: np.ndarray) -> np.ndarray:
        """See Look."""
        image = preprocess(image_rgb, self._geowarp.manifest.preprocessing)
        return self._geowarp.encode(image[None])[0].astype(np.float16)

    def agreement(self, query: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
        """See Look."""
        return self._geowarp.score(query.astype(np.float32), np.stack(places).astype(np.float32))


class LocalFeatureLook:
    """Counts local features that are alike and lie as one pair of cameras sees one scene (a fundamental matrix)."""

    name = "local_features"
    weight = 4.0

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor

    @classmethod
    def open(cls, name: str, threads: int = 0) -> LocalFeatureLook:
        """name: xfeat, or an .onnx file of it. SIFT and ORB find too little in thumbnails.

        Raises ConfigError for another name, ModelError for a file that is no XFeat.
        """
        if name != "xfeat" and not name.endswith(".onnx"):
            raise ConfigError(f"local_features is '{name}': choose xfeat, or the path of an .onnx file of XFeat")
        return cls(open_extractor(name, _COUNT, threads, _SIDE_PX))

    def encode(self, image_rgb: np.ndarray) -> LocalFeatures:
        """See Look. No camera need be known: rays are pixels over the image's longer side here."""
        height, width = image_rgb.shape[:2]
        return self._extractor.extract(image_rgb, None, Intrinsics.pinhole(width, height, max(width, height)))

    def agreement(self, query: LocalFeatures, places: Sequence[LocalFeatures]) -> np.ndarray:
        """See Look."""
        return np.array([inliers(place, query) for place in places])


def inliers(place: LocalFeatures, query: LocalFeatures) -> int:
    """Features that are alike in two images and agree on a fundamental matrix (MAGSAC++, Barath et al. 2020).

    Or on a homography where no fundamental matrix is found: images without parallax, such as equal ones, have none.
    """
    rows_place, rows_query = _alike(place, query)
    if len(rows_place) < _LEAST:
        return 0
    here, there = (_LONGER_PX * rays.astype(np.float64) for rays in (place.rays[rows_place], query.rays[rows_query]))
    searches = (
        partial(cv2.findFundamentalMat, here, there, cv2.USAC_MAGSAC, _ERROR_PX, 0.99, 500),
        partial(cv2.findHomography, here, there, cv2.USAC_MAGSAC, _ERROR_PX, maxIters=500, confidence=0.99),
    )
    most = 0
    for search in searches:
        with contextlib.suppress(cv2.error):  # a search gives up so on a few sets of repeated points
            _, agree = search()
            most = max(most, 0 if agree is None else int(agree.sum()))
        if most >= _LEAST:
            break
    return most


def _alike(place: LocalFeatures, query: LocalFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both, (M,) each: features that are each other's nearest, and alike."""
    rows_place, rows_query, cosines = mutual(place, query)
    alike = cosines[rows_query, rows_place] > _LEAST_COSINE
    return rows_place[alike], rows_query[alike]
