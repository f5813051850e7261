"""A visual vocabulary of a map's own images: words that local features are counted by, and what of them is kept.

A vocabulary from elsewhere loses more on images unlike its own than any training gains. So a model with one takes it as
further inputs of its graph, and every map stores the one that was learnt from its own images.

The network gives two raw vectors: averages over regions of the image, and NetVLAD's sums of residuals to the words.
Each loses the mean of the map's images, is projected to half of the descriptor, and has unit length again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from vpr_ros.base.errors import ModelError
from vpr_ros.base.image import Preprocessing, preprocess, views
from vpr_ros.inference.batches import batched
from vpr_ros.inference.describer import Describer, Manifest

LEAST_IMAGES = 16  # to learn from; with fewer the model's own vocabulary is as good
MOST_IMAGES = 512  # about as many directions as a descriptor has; fewer lose what the others show
SIGN_GROUP = 4  # one of so many numbers, the first and most important ones, are turned for their signs apart
_ARRAYS, _TURNED = ("words", "mean", "projection"), "turned"
LEARNT_FROM = ("tokens", "raw")  # outputs of the graph that only learning needs
_PRIOR_IMAGES = 8  # what the model's own mean counts beside the map's images
_LARGEST = 1 << 26  # numbers in a stored vocabulary
_ROUNDS = 20  # of k-means
_REST = 8  # at least this part of the directions is for what no image of the map shows
_WORD_IMAGES = 100
_UNSEEN = 0.5  # of what no image of the map shows; see _principal
_STAY = 0.01  # of a rotation's weight beside what images show


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Float32 arrays of float16 values, by the names of the graph's inputs.

    words: (K, C). mean: (2, R), of the raw vectors. projection: (2, R, D / 2), the most important columns first.
    turned: whether the first quarter of the columns is turned among itself, and so is the rest, so that descriptors
    lose little as signs (``turning``).
    """

    words: np.ndarray
    mean: np.ndarray
    projection: np.ndarray
    turned: bool = False

    def __post_init__(self) -> None:
        for name, array in self.inputs.items():
            object.__setattr__(self, name, np.ascontiguousarray(np.asarray(array, np.float16).astype(np.float32)))

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The graph's inputs beside the image."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all values, hex."""
        digest = hashlib.sha256()
        for array in self.inputs.values():
            digest.update(str(array.shape).encode() + array.astype("<f2").tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """As float16, for ``from_bytes``."""
        buffer = io.BytesIO()
        arrays = {name: array.astype("<f2") for name, array in self.inputs.items()}
        if self.turned:
            arrays[_TURNED] = np.ones(1, "<f2")
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Vocabulary:
        """Raises ValueError for anything else than a vocabulary; data is untrusted."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > len(data):
                    raise ValueError("it is compressed")
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in _ARRAYS}
                turned = _TURNED in stored.files
        except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it is not a vocabulary ({error})") from error
        shapes = [array.shape for array in arrays.values()]
        fits = [len(shape) for shape in shapes] == [2, 2, 3] and shapes[1] == shapes[2][:2] and shapes[1][0] == 2
        if not fits or any(array.dtype != np.dtype("<f2") or array.size > _LARGEST for array in arrays.values()):
            raise ValueError(f"its arrays have the shapes {shapes}")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("it has values that are not finite")
        return cls(**arrays, turned=turned)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a descriptor is made of, for a batch. tokens: (B, L, C), local features. raw: (B, 2, R)."""

    tokens: np.ndarray
    raw: np.ndarray


class VocabularyDescriber(Describer, Protocol):
    """A describer whose descriptors depend on a vocabulary."""

    own_vocabulary: Vocabulary
    """The model's."""
    vocabulary: Vocabulary
    """The one in use; at first the model's."""

    def parts(self, images: np.ndarray) -> Parts:
        """(B, height, width, 3) uint8 preprocessed images -> Parts. Raises ModelError."""
        ...


def with_vocabulary(describer: Describer) -> VocabularyDescriber | None:
    """The describer, if its descriptors depend on a vocabulary."""
    return cast(VocabularyDescriber, describer) if describer.manifest.vocabulary else None


def learn_from(describer: Describer, images_rgb: Sequence[np.ndarray]) -> Vocabulary | None:
    """A vocabulary of a map's images, (H, W, 3) uint8 RGB each.

    At most MOST_IMAGES are looked at, spread evenly. None if the model has no vocabularies. See ``learn``.
    """
    learning = with_vocabulary(describer)
    if learning is None:
        return None
    chosen = images_rgb[:: max(1, -(-len(images_rgb) // MOST_IMAGES))]
    return learn(learning, [preprocess(one, describer.manifest.preprocessing) for one in chosen])


def learn(describer: VocabularyDescriber, images: Sequence[np.ndarray], turned: bool = False) -> Vocabulary:
    """A vocabulary of a map's images; it is also the describer's when this returns.

    images: preprocessed, (height, width, 3) uint8. Needs LEAST_IMAGES, else this is the model's own. turned: for a map
    that stores signs; this takes three times as long, since the views to both sides are looked at, too.
    """
    own = describer.own_vocabulary
    describer.vocabulary = own
    if len(images) < LEAST_IMAGES:
        return own
    some = images[:: -(-len(images) // _WORD_IMAGES)]
    tokens = np.concatenate([local for found in _parts(describer, some) for local in found.tokens])
    words = _k_means(tokens, own.words)
    describer.vocabulary = Vocabulary(words, own.mean, own.projection)
    raw = np.concatenate([found.raw for found in _parts(describer, images)])
    mean = (raw.sum(0) + _PRIOR_IMAGES * own.mean) / (len(images) + _PRIOR_IMAGES)
    projection = np.stack([_principal(raw[:, part] - mean[part], own.projection[part]) for part in range(len(mean))])
    if turned:
        raw = np.concatenate((raw, *(found.raw for found in _parts(describer, _side_views(images)))))
        numbers = _unit(_unit(raw - mean).swapaxes(0, 1) @ projection)
        projection = projection @ np.stack([turning(part) for part in numbers])
    describer.vocabulary = Vocabulary(words, mean, projection, turned)
    return describer.vocabulary


def _parts(describer: VocabularyDescriber, images: Iterable[np.ndarray]) -> Iterator[Parts]:
    return (describer.parts(np.stack(batch)) for batch in batched(images, describer.batch_sizes[0]))


def _side_views(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The views to both sides that a map keeps, too."""
    size = Preprocessing(*images[0].shape[:2])
    return (preprocess(view, size) for image in images for view in views(image, 3)[1:])


def turning(numbers: np.ndarray) -> np.ndarray:
    """The rotation (H, H) of numbers (N, H) that brings all nearest to their signs times one scale.

    Iterative quantisation (Gong and Lazebnik, CVPR 2011). The first numbers, one of SIGN_GROUP, stay together and so do
    the rest, so that the first serve alone. A map of a few hundred places loses little as signs then, and a large one
    what it loses by a random rotation.
    """
    first, rotation = numbers.shape[1] // SIGN_GROUP, np.zeros((numbers.shape[1],) * 2)
    for group in (slice(first), slice(first, None)):
        rotation[group, group] = _turning(numbers[:, group].astype(np.float64))
    return rotation.astype(np.float32)


def _turning(numbers: np.ndarray) -> np.ndarray:
    """All of them in one group. A share of the rotation before keeps what no number shows as it was."""
    size = numbers.shape[1]
    numbers = numbers / max(float(np.linalg.norm(numbers)), 1e-9)
    rotation: np.ndarray = np.linalg.qr(np.random.RandomState(0).normal(size=(size, size)))[0]
    for _ in range(_ROUNDS):
        towards = numbers.T @ np.sign(numbers @ rotation)
        towards += _STAY * max(float(np.linalg.norm(towards)), 1e-9) / size**0.5 * rotation
        values, vectors = np.linalg.eigh(towards.T @ towards)  # the nearest rotation, by the polar decomposition
        rotation = towards @ (vectors / np.sqrt(np.maximum(values, 1e-18))) @ vectors.T
    return rotation


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(..., D) at unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _k_means(tokens: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(N, C) -> (K, C) centres, from the model's own words on: the same images give the same words."""
    chosen = tokens.astype(np.float32)
    centres = np.array(start, np.float32)
    for _ in range(_ROUNDS):
        nearest = np.argmin(np.sum(centres**2, axis=1) - 2 * chosen @ centres.T, axis=1)
        for k in np.unique(nearest):
            centres[k] = chosen[nearest == k].mean(axis=0)
    return centres


def _principal(centred: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(N, R) residuals -> (R, H): principal components, then directions of the model's own for all that they leave out.

    What no image of the map shows would be lost, and two images that share it would look alike. Its share in random
    directions, scaled to their number, keeps the angles between such images (Johnson and Lindenstrauss). It counts half
    since the map's places have none of it: another season of a place, which has some, would be called off the map.
    """
    unit = _unit(centred)
    size = own.shape[1]
    values, vectors = np.linalg.eigh((unit @ unit.T).astype(np.float64))
    kept = np.argsort(values)[::-1][: min(size - max(1, size // _REST), len(unit) - 1)]
    kept = kept[values[kept] > 1e-6 * values[-1]]
    components = (unit.T @ vectors[:, kept]) / np.sqrt(values[kept])
    rest = own - components @ (components.T @ own)
    basis, _ = np.linalg.qr(np.concatenate((components, rest), axis=1)[:, :size])
    signs = np.sign(np.sum(basis[:, : len(kept)] * components, axis=0))
    basis[:, : len(kept)] *= np.where(signs == 0, 1, signs)
    basis[:, len(kept) :] *= np.sqrt(_UNSEEN * (len(basis) - len(kept)) / (size - len(kept)))
    return basis.astype(np.float32)


def fitting_inputs(vocabulary: Vocabulary, own: Vocabulary, manifest: Manifest) -> dict[str, np.ndarray]:
    """The graph's inputs. Raises ModelError for a vocabulary of other sizes than the model's own."""
    for name, array in vocabulary.inputs.items():
        if array.shape != (wanted := own.inputs[name].shape):
            raise ModelError(
                f"the map's vocabulary is not of the model {manifest.name}: {name} has shape {array.shape}, not "
                f"{wanted}; build the map again"
            )
    return vocabulary.inputs


def vocabulary_path(model: Path) -> Path:
    """The file of the own vocabulary of a model or of a variant of it, in the model's folder."""
    return model.with_name(f"{model.stem.removesuffix('_fp16').removesuffix('_int8')}_vocabulary.npz")


def own_vocabulary(model: Path, manifest: Manifest) -> Vocabulary:
    """A model's own vocabulary. Raises ModelError if its file is missing or is not the one of the manifest."""
    path = vocabulary_path(model)
    try:
        found = Vocabulary.from_bytes(path.read_bytes())
    except OSError as error:
        raise ModelError(f"no file {path}: a model with a vocabulary needs it in its folder") from error
    except ValueError as error:
        raise ModelError(f"the vocabulary {path} cannot be read: {error}; export the model again") from error
    if found.fingerprint != manifest.vocabulary:
        raise ModelError(f"{path} is not the vocabulary that the model's manifest names: export the model again")
    return found
