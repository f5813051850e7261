"""What a number of a descriptor is stored as: how much the similarities lose, and that nothing else does."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import MapError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.inference.vocabulary import Vocabulary
from vpr_ros.maps.centring import centred, similarities
from vpr_ros.maps.editor import merge_maps, store_otherwise
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import DESCRIPTOR_TYPES, Storage
from vpr_ros.maps.stored_descriptors import paired_cosines

DIMENSION = 500  # not a whole number of bytes of signs
ERRORS = {
    "float32": 1e-7,
    "float16": 1e-4,
    "int8": 1e-3,
    "int4": 0.12 * DIMENSION**-0.5,
    "int2": 0.37 * DIMENSION**-0.5,
    "bit": 0.75 * DIMENSION**-0.5,
    "turned": 0.75 * DIMENSION**-0.5,
}  # standard deviations
BYTES = {"float32": 2000, "float16": 1000, "int8": 504, "int4": 254, "int2": 129, "bit": 67, "turned": 71}


KINDS = [*DESCRIPTOR_TYPES, "turned"]  # the last one: signs of a map with a vocabulary


def stored_as(kind: str) -> Storage:
    return Storage("bit", rotated=False, turned=True) if kind == "turned" else Storage(kind)


def unit(rows: int, seed: int) -> np.ndarray:
    """(rows, 3, DIMENSION) float32 of unit length, about a mean as real ones."""
    numbers = np.random.default_rng(seed).normal(0.3 * (np.arange(DIMENSION) % 7 == 0), 1, (rows, 3, DIMENSION))
    return (numbers / np.linalg.norm(numbers, axis=2, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_survive(kind: str) -> None:
    """Each type has the similarities of float32 with an error of its own, and without a bias that would move scores."""
    storage, original, queries = stored_as(kind), unit(300, 0), unit(40, 1)[:, 0]
    stored = storage.encoded(original)
    assert stored.dtype.itemsize == BYTES[kind]
    decoded = storage.decoded(np.frombuffer(stored.tobytes(), stored.dtype).reshape(300, 3), DIMENSION)
    errors = decoded.astype(np.float32) @ queries.T - original @ queries.T
    assert errors.std() < 1.1 * ERRORS[kind] and abs(errors.mean()) < 0.1 * ERRORS[kind] + 1e-7
    own = np.einsum("nvd,nvd->nv", decoded.astype(np.float32), original)
    assert np.allclose(own, 1, atol=2e-3)  # of a place with its own image


@pytest.mark.parametrize("kind", DESCRIPTOR_TYPES)
def test_descriptors_with_a_few_large_numbers_survive(kind: str) -> None:
    """A vocabulary that was learnt from few images makes them. Codes cut large numbers off, unless they are rotated."""
    storage, original, queries = Storage(kind), unit(300, 8) ** 5, unit(40, 9)[:, 0]
    original /= np.linalg.norm(original, axis=2, keepdims=True)
    decoded = storage.decoded(storage.encoded(original), DIMENSION).astype(np.float32)
    assert (decoded @ queries.T - original @ queries.T).std() < 1.1 * ERRORS[kind]


@pytest.mark.parametrize("kind", ["int4", "bit"])
def test_codes_of_the_first_version_are_read(tmp_path: Path, kind: str) -> None:
    """Its maps say nothing of a rotation, and have none."""
    path = made(tmp_path / "m.vprmap", Storage(kind, rotated=False))
    with sqlite3.connect(path) as connection:
        was = json.dumps({"descriptors": kind, "thumbnails": True})
        connection.execute("UPDATE meta SET value = ? WHERE key = 'storage'", (was,))
    with PlaceMap.open(path) as place_map:
        products = np.einsum("nvd,nvd->nv", place_map.places.descriptors, unit(60, 5))
    assert np.allclose(products, 1, atol=2e-3)
    assert "rotated" not in Storage("int8").to_meta()["storage"]  # which that version still reads


@pytest.mark.parametrize("kind", KINDS)
def test_storing_again_loses_nothing_more(kind: str) -> None:
    """A merged or copied map decodes and encodes: the tenth copy is as good as the first."""
    storage = stored_as(kind)
    once = storage.decoded(storage.encoded(unit(50, 2)), DIMENSION)
    again = storage.decoded(storage.encoded(once), DIMENSION)
    assert np.allclose(once.astype(np.float32), again.astype(np.float32), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_centring_is_right_for_what_is_decoded(kind: str) -> None:
    """Signs are longer than what they stand for: scaled to length 1, all similarities of a map would shrink."""
    storage, original, query = stored_as(kind), unit(300, 3), unit(1, 4)[0, 0]
    mean = original.mean((0, 1))
    decoded = storage.decoded(storage.encoded(original), DIMENSION)
    found = similarities(decoded, mean, query)
    assert np.allclose(found, centred(decoded, mean) @ query, atol=2e-3 if kind == "float16" else 1e-5)
    expected = centred(original, mean) @ query
    assert abs((found - expected).mean()) < 0.1 * ERRORS[kind] + 1e-6
    assert np.allclose(np.linalg.norm(centred(original, mean), axis=2), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_of_stored_pairs_are_those_of_the_originals(kind: str) -> None:
    """Without odometry, distance comes from how alike a map's places are, and codes of like images have like errors."""
    storage, one, other = stored_as(kind), unit(300, 6)[:, 0], unit(300, 7)[:, 0]
    for share in (0.0, 0.3, 1.0, 3.0):
        mixed = one + share * other
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        pair = (storage.decoded(storage.encoded(part), DIMENSION) for part in (one, mixed))
        found, expected = paired_cosines(*pair), np.einsum("nd,nd->n", one, mixed)
        assert found.max() < 1.005 and abs((found - expected).mean()) < 0.01, share


def made(path: Path, storage: Storage | None = None) -> Path:
    model = MapModel("toy", "f" * 64, DIMENSION, Preprocessing(32, 32), views=3)
    with PlaceMap.create(path, model, "town", storage=storage) as place_map, place_map.together():
        for number, descriptor in enumerate(unit(60, 5)):
            place_map.add("d", number, np.eye(4), descriptor)
    return path


@pytest.mark.parametrize("kind", ["int8", "int4", "int2", "bit"])
def test_a_map_is_built_upgraded_and_merged(tmp_path: Path, kind: str) -> None:
    """Built with a type or converted to it, a map holds the same; merging keeps the first map's type."""
    built, plain = made(tmp_path / "built.vprmap", Storage(kind)), made(tmp_path / "plain.vprmap")
    with store_otherwise(plain, Storage(kind), tmp_path / "upgraded.vprmap") as upgraded, PlaceMap.open(built) as own:
        assert np.array_equal(upgraded.places.descriptors, own.places.descriptors)
        assert own.bytes_by_kind()["descriptors"] == 60 * 3 * BYTES[kind]
        assert np.allclose(own.descriptors(7), own.places.descriptors[6])
    with merge_maps(tmp_path / "both.vprmap", [built, plain]) as both:
        assert both.storage == Storage(kind) and len(both) == 60


@pytest.mark.parametrize("kind", ["int4", "int2", "bit"])
def test_descriptors_that_keep_their_type_keep_their_bytes(tmp_path: Path, kind: str) -> None:
    """A map whose thumbnails went had other bytes in every place, and robots fetched tiles of equal content again."""
    original = made(tmp_path / "built.vprmap", Storage(kind))
    without = tmp_path / "without.vprmap"
    store_otherwise(original, Storage(kind, thumbnails=False), without).close()
    query = "SELECT descriptor FROM places ORDER BY id"
    assert sqlite3.connect(original).execute(query).fetchall() == sqlite3.connect(without).execute(query).fetchall()


def test_a_merge_says_what_it_leaves_out(tmp_path: Path) -> None:
    """With a map of few bits first, those of the others are lost without a word."""
    first = made(tmp_path / "first.vprmap", Storage("bit", thumbnails=False))
    tally = Tally()
    merge_maps(tmp_path / "both.vprmap", [first, made(tmp_path / "other.vprmap", Storage("int8"))], tally).close()
    assert "60 place(s) get descriptors of bit instead of int8, as the first map has" in tally.lines()[0]
    assert "60 place(s) lose their thumbnails" in tally.lines()[1]


def test_only_signs_of_a_map_with_a_turned_vocabulary_are_turned() -> None:
    """Converting such a map to another type and back must give what building it gives."""
    own, other = (Vocabulary(np.eye(3), np.zeros((2, 3)), np.stack([np.eye(3)] * 2), is_it) for is_it in (True, False))
    turned = Storage("bit").with_vocabulary(own)
    assert turned.turned and not turned.rotated and Storage.from_meta(turned.to_meta()) == turned
    assert turned.with_vocabulary(other) == turned.with_vocabulary(None) == Storage("bit")
    assert Storage("int8").with_vocabulary(own) == Storage("int8")
    assert Storage("bit", rotated=False).with_vocabulary(None).rotated is False  # the first version's
    assert "turned" not in Storage("bit").to_meta()["storage"]
    for damaged in ({"descriptors": "int8", "turned": True}, {"descriptors": "bit", "rotated": True, "turned": True}):
        with pytest.raises(ValueError, match="only signs can be turned"):  # a map file is untrusted
            Storage.from_dict(damaged)


@pytest.mark.parametrize("damage", ["00", "0000c07f" + "00" * 197, "ffff7f7f" + "00" * 197])
def test_damaged_records_are_one_sentence(tmp_path: Path, damage: str) -> None:
    """A map file is untrusted: a blob of another size, a scale that is no number, a huge one."""
    path = made(tmp_path / "m.vprmap", Storage("bit"))
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE places SET descriptor = x'{damage}' WHERE id = 7")
    with pytest.raises(MapError, match="is not a map, or is corrupt"), PlaceMap.open(path) as place_map:
        _ = place_map.places
