"""A vocabulary is learnt from a map's own images, survives storage to the bit, and no file can harm with it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import ModelError
from vpr_ros.base.image import Preprocessing
from vpr_ros.inference.describer import Description, Manifest
from vpr_ros.inference.vocabulary import (
    LEAST_IMAGES,
    SIGN_GROUP,
    Parts,
    Vocabulary,
    fitting_inputs,
    learn,
    own_vocabulary,
    turning,
    vocabulary_path,
)

WORDS, CHANNELS, RAW, HALF = 3, 4, 12, 5


def vocabulary(seed: int = 0) -> Vocabulary:
    random = np.random.default_rng(seed)
    directions = [np.linalg.qr(random.normal(size=(RAW, HALF)))[0] for _ in range(2)]
    return Vocabulary(random.normal(size=(WORDS, CHANNELS)), np.zeros((2, RAW)), np.stack(directions))


class Toy:
    """Images are numbers that seed their local features; the raw vectors are linear in them."""

    batch_sizes = (1,)
    backend = "toy"

    def __init__(self) -> None:
        self.own_vocabulary = self.vocabulary = vocabulary()
        self.manifest = Manifest("toy", "f", 2 * HALF, False, Preprocessing(8, 8), vocabulary="own")
        self.mixing = np.random.default_rng(9).normal(size=(2, 2 * CHANNELS, RAW))

    def parts(self, images: np.ndarray) -> Parts:
        tokens = np.stack([np.random.default_rng(int(image[0, 0, 0])).normal(size=(6, CHANNELS)) for image in images])
        pooled = np.concatenate((tokens.mean(1), tokens.max(1)), axis=1)
        raw = np.einsum("bc,pcr->bpr", pooled, self.mixing)
        return Parts(tokens.astype(np.float32), (raw / np.linalg.norm(raw, axis=2, keepdims=True)).astype(np.float32))

    def describe(self, images: np.ndarray) -> Description:
        raise AssertionError("learning takes the parts")


def images(count: int, first: int = 0) -> list[np.ndarray]:
    return [np.full((8, 8, 3), first + number, np.uint8) for number in range(count)]


def test_storage_keeps_every_bit() -> None:
    """Descriptors of the map and of the robot come from the same numbers, so a stored vocabulary is the one used."""
    one = vocabulary()
    again = Vocabulary.from_bytes(one.to_bytes())
    assert again.fingerprint == one.fingerprint != vocabulary(1).fingerprint
    for name, array in one.inputs.items():
        assert array.dtype == np.float32 and np.array_equal(array, again.inputs[name])


def test_what_is_learnt_fits_the_images() -> None:
    """Words come from the images' local features, and the projection keeps what tells these images apart."""
    toy = Toy()
    learnt = learn(toy, images(40))
    assert toy.vocabulary is learnt and learnt.fingerprint == learn(Toy(), images(40)).fingerprint
    tokens = np.concatenate([toy.parts(image[None]).tokens[0] for image in images(40)])

    def spread(words: np.ndarray) -> float:
        return float(np.linalg.norm(tokens[:, None] - words, axis=2).min(1).mean())

    assert spread(learnt.words) < spread(toy.own_vocabulary.words)
    raw = np.concatenate([toy.parts(image[None]).raw for image in images(40)])
    for part in range(2):
        directions = learnt.projection[part]
        products = directions.T @ directions
        assert np.allclose(products - np.diag(np.diag(products)), 0, atol=5e-3)
        kept, before = (
            (raw[:, part] - learnt.mean[part]) @ d for d in (directions, toy.own_vocabulary.projection[part])
        )
        assert np.square(kept).sum() > np.square(before).sum()
        variances = np.square(kept).mean(0)
        assert variances[0] == max(variances)  # the first numbers serve alone


def test_turning_brings_numbers_near_their_signs() -> None:
    """A map of a few hundred places loses little as signs; the first numbers are turned among themselves."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(100, 64)) * np.linspace(2, 0.1, 64)
    rotation = turning(numbers)
    assert np.allclose(rotation.T @ rotation, np.eye(64), atol=1e-4)
    first = 64 // SIGN_GROUP
    assert not rotation[:first, first:].any() and not rotation[first:, :first].any()

    def kept(found: np.ndarray) -> float:  # cosine of numbers and their signs, groups apart
        groups = np.abs(found[:, :first]), np.abs(found[:, first:])
        return float(np.mean([g.sum(1).mean() / np.linalg.norm(g, axis=1).mean() / g.shape[1] ** 0.5 for g in groups]))

    assert kept(numbers @ rotation) > kept(numbers) + 0.05


def test_a_turned_vocabulary_gives_the_same_similarities() -> None:
    """Only what signs keep changes. Storage must not forget that it is turned, or signs would be read wrongly."""
    toy = Toy()
    plain, turned = learn(toy, images(40)), learn(toy, images(40), turned=True)
    assert turned.turned and Vocabulary.from_bytes(turned.to_bytes()).turned
    assert not plain.turned and not Vocabulary.from_bytes(plain.to_bytes()).turned
    raw = np.concatenate([toy.parts(image[None]).raw for image in images(40)])[:, 0] - plain.mean[0]
    one, other = (raw @ own.projection[0] for own in (plain, turned))
    assert np.allclose(one @ one.T, other @ other.T, atol=2e-2 * np.abs(one @ one.T).max())
    assert np.allclose(np.abs(one[:, :1]), np.abs(other[:, :1]), atol=2e-2)  # a group of one number


def test_what_no_image_of_the_map_shows_still_counts() -> None:
    """Two images of somewhere else must not look alike because both show nothing of the map: their angle stays."""
    toy = Toy()
    toy.mixing = np.random.default_rng(3).normal(size=(2, 2 * CHANNELS, 400))
    random = np.random.default_rng(4)
    directions = np.stack([np.linalg.qr(random.normal(size=(400, 200)))[0] for _ in range(2)])
    toy.own_vocabulary = Vocabulary(vocabulary().words, np.zeros((2, 400)), directions)
    projection = learn(toy, images(20)).projection[0]
    one, two = (toy.parts(images(1, number)[0][None]).raw[0, 0] for number in (1, 2))
    other, another = random.normal(size=(2, 400))
    third = other + another

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert abs(cosine(one @ projection, two @ projection) - cosine(one, two)) < 0.05
    assert abs(cosine(other @ projection, third @ projection) - cosine(other, third)) < 0.15


def test_few_images_take_the_models_own() -> None:
    """A map of one place would subtract itself."""
    toy = Toy()
    toy.vocabulary = vocabulary(5)
    assert learn(toy, images(LEAST_IMAGES - 1)) is toy.own_vocabulary and toy.vocabulary is toy.own_vocabulary


def test_equal_images_are_no_reason_to_fail() -> None:
    """A robot that stood still while the map was recorded."""
    learnt = learn(Toy(), images(1) * 20)
    assert all(np.isfinite(array).all() for array in learnt.inputs.values())
    assert np.linalg.matrix_rank(learnt.projection[0]) == HALF


def saved(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, words=np.zeros((1 << 10, 1 << 12), np.float16), mean=0, projection=0)
    return buffer.getvalue()


GOOD = {name: array.astype(np.float16) for name, array in vocabulary().inputs.items()}
BAD = {
    "nothing": b"",
    "text": b"a vocabulary",
    "cut": vocabulary().to_bytes()[:-40],
    "an array missing": saved(words=GOOD["words"]),
    "another shape": saved(**{**GOOD, "mean": GOOD["mean"][:, :3]}),
    "another type": saved(**{**GOOD, "words": GOOD["words"].astype(np.float64)}),
    "objects": saved(**{**GOOD, "words": np.array([[object()]])}),
    "not finite": saved(**{**GOOD, "words": GOOD["words"] * np.float16(np.nan)}),
    "compressed, a thousand times larger": compressed(),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_file_is_one_sentence(data: bytes) -> None:
    """Maps and models are untrusted: no pickle, no large allocation, no traceback."""
    with pytest.raises(ValueError, match=r"."):
        Vocabulary.from_bytes(data)


def test_the_models_file_is_checked(tmp_path: Path) -> None:
    """A vocabulary of another export would give descriptors that look right and match nothing."""
    model = tmp_path / "toy.onnx"
    manifest = Manifest("toy", "f", 2 * HALF, False, vocabulary=vocabulary().fingerprint)
    with pytest.raises(ModelError, match=r"no file .*toy_vocabulary\.npz"):
        own_vocabulary(model, manifest)
    assert vocabulary_path(tmp_path / "toy_int8.onnx") == vocabulary_path(tmp_path / "toy_fp16.onnx")
    vocabulary_path(model).write_bytes(vocabulary(1).to_bytes())
    with pytest.raises(ModelError, match="not the vocabulary that the model's manifest names"):
        own_vocabulary(model, manifest)
    vocabulary_path(model).write_bytes(vocabulary().to_bytes())
    assert own_vocabulary(model, manifest).fingerprint == vocabulary().fingerprint
    other = Vocabulary(np.zeros((2, CHANNELS)), GOOD["mean"], GOOD["projection"])
    with pytest.raises(ModelError, match="words has shape"):
        fitting_inputs(other, vocabulary(), manifest)
