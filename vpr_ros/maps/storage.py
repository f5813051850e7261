"""What the file of a map holds of each place, by choice: the type of descriptors, and whether there are pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from vpr_ros.inference.vocabulary import SIGN_GROUP, Vocabulary

DESCRIPTOR_TYPES = ("float32", "float16", "int8", "int4", "int2", "bit")
BITS = {"int4": 4, "int2": 2, "bit": 1}  # of a number's code, several of which are in a byte
# Between values, in standard deviations: best for a normal law (Max, 1960).
STEPS = {"int4": 0.335, "int2": 0.996, "bit": 1.0}
_LARGEST = 6e4  # absolute value in a descriptor; float16 can hold it


def _values(bits: int) -> np.ndarray:
    """Values (256, 8 / bits) float32 of the codes in each byte: -0.5 and 0.5, or up to 1.5 or 7.5 in steps of 1."""
    places = np.arange(8 - bits, -1, -bits)  # the first number is in the highest bits
    codes = np.arange(256)[:, None] >> places & (2**bits - 1)
    return (codes - (2**bits - 1) / 2).astype(np.float32)


_VALUES = {name: _values(bits) for name, bits in BITS.items()}


@cache
def _rotation(dimension: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signs (D,) and cosine transforms (A, A) and (B, B) float32, A * B = D: together they are one rotation."""
    rows = next(size for size in range(int(dimension**0.5), 0, -1) if dimension % size == 0)
    signs = np.random.RandomState(0).randint(0, 2, dimension) * 2 - 1  # its numbers are the same in all versions
    return signs.astype(np.float32), _cosines(rows), _cosines(dimension // rows)


def _cosines(size: int) -> np.ndarray:
    """The orthonormal discrete cosine transform (size, size) float32."""
    frequency, place = np.arange(size)[:, None], np.arange(size) + 0.5
    matrix = np.cos(np.pi / size * frequency * place) * np.sqrt(np.where(frequency, 2, 1) / size)
    return matrix.astype(np.float32)


@dataclass(frozen=True)
class Storage:
    """The default is map format 1, which every version reads; the others are format 2.

    descriptors: one of DESCRIPTOR_TYPES. thumbnails: whether a place keeps a readable picture of its image. rotated:
    whether codes of 4 bits and less are of the descriptor's numbers after a fixed rotation, as they are but for the
    first version's maps. turned: whether signs are of the numbers as they are, the first quarter with a scale of its
    own, since the map's vocabulary is turned for that (``Vocabulary.turned``). Raises ValueError for other values.
    """

    descriptors: str = "float32"
    thumbnails: bool = True
    rotated: bool = True
    turned: bool = False

    def __post_init__(self) -> None:
        flags = self.thumbnails, self.rotated, self.turned
        if self.turned and (self.descriptors != "bit" or self.rotated):
            raise ValueError("only signs can be turned, and then they are not rotated")
        if self.descriptors not in DESCRIPTOR_TYPES or not all(isinstance(flag, bool) for flag in flags):
            raise ValueError(
                f"a map cannot be stored with descriptors of {self.descriptors!r}: choose {', '.join(DESCRIPTOR_TYPES)}"
            )

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of decoded descriptors in memory."""
        return np.dtype("float16" if self.descriptors == "float16" else "float32")

    def with_vocabulary(self, vocabulary: Vocabulary | None) -> Storage:
        """The same for a map with this vocabulary of its own, or with none."""
        turned = vocabulary is not None and vocabulary.turned and self.descriptors == "bit"
        return replace(self, turned=turned, rotated=not turned and (self.rotated or self.turned))

    def record(self, dimension: int) -> np.dtype[np.void]:
        """One stored descriptor of D numbers, little-endian: the numbers, or a scale and a code for each number."""
        if self.descriptors in BITS:
            scale = ("scale", "<f4", (2,)) if self.turned else ("scale", "<f4")
            return np.dtype([scale, ("code", "u1", (-(-dimension * BITS[self.descriptors] // 8),))])
        if self.descriptors == "int8":
            return np.dtype([("scale", "<f4"), ("code", "i1", (dimension,))])
        return np.dtype([("code", "<" + self.dtype.str[1:], (dimension,))])

    def encoded(self, descriptors: np.ndarray) -> np.ndarray:
        """Records (...) of unit descriptors (..., D).

        The scale of int4, int2 and bit is such that the descriptor's product with what is decoded is 1. The product of
        any other descriptor with it is then that with the original in the mean (Gao and Long, RaBitQ, 2024). These
        codes suit numbers of a normal law. A rotation gives any descriptor such numbers: without it, those of a
        vocabulary that was learnt from few images lose up to ten times as much. One that is turned for signs loses
        least as it is.
        """
        records = np.empty(descriptors.shape[:-1], self.record(descriptors.shape[-1]))
        if descriptors.dtype == self.dtype == records["code"].dtype:  # stored as they are
            records["code"] = descriptors
            return records
        values: np.ndarray = np.asarray(descriptors, np.float32)
        if self.descriptors == "int8":
            records["scale"] = np.maximum(np.abs(values).max(-1), np.float32(1e-12)) / 127
            values = np.round(values / records["scale"][..., None])
        elif self.descriptors in BITS:
            if self.rotated:
                signs, left, right = _rotation(values.shape[-1])
                blocks = (values * signs).reshape(*values.shape[:-1], len(left), len(right))
                values = (left @ blocks @ right.T).reshape(values.shape)
            squared, half = (values**2).sum(-1), 2 ** (BITS[self.descriptors] - 1)
            step = STEPS[self.descriptors] * np.sqrt(squared / values.shape[-1])
            codes = np.clip(np.floor(values / np.maximum(step, np.float32(1e-12))[..., None]), -half, half - 1)
            products = (codes + 0.5) * values
            if self.turned:
                squared, products = (self._groups(numbers) for numbers in (values**2, products))
            else:
                products = products.sum(-1)
            records["scale"] = squared / np.maximum(products, np.float32(1e-12))
            values = self._packed((codes + half).astype(np.uint8))
        records["code"] = values
        return records

    @staticmethod
    def _groups(numbers: np.ndarray) -> np.ndarray:
        """Sums (..., 2) of the first quarter of numbers (..., D), and of the rest."""
        first = numbers.shape[-1] // SIGN_GROUP
        return np.stack((numbers[..., :first].sum(-1), numbers[..., first:].sum(-1)), axis=-1)

    def _packed(self, codes: np.ndarray) -> np.ndarray:
        """Codes (..., D) in as few bytes as they take, the first one in the highest bits; missing ones are 0."""
        bits = BITS[self.descriptors]
        each = np.unpackbits(codes[..., None], axis=-1)[..., 8 - bits :]
        return np.packbits(each.reshape(*codes.shape[:-1], -1), axis=-1)

    def check(self, records: np.ndarray) -> None:
        """Raises ValueError if a value of records is not finite or too large."""
        values = np.abs(records["scale" if "scale" in (records.dtype.names or ()) else "code"])
        if not np.all(values < values.dtype.type(_LARGEST)):
            raise ValueError("a descriptor is not finite, or too large")

    def decoded(self, records: np.ndarray, dimension: int) -> np.ndarray:
        """Descriptors (..., D) of records (...). Raises ValueError if a value is not finite or too large."""
        self.check(records)
        code = records["code"]
        if "scale" not in (records.dtype.names or ()):  # plain numbers
            return np.asarray(code.astype(self.dtype, copy=False))
        if self.descriptors in BITS:
            table = _VALUES[self.descriptors]
            values = np.take(table, code, axis=0).reshape(*code.shape[:-1], code.shape[-1] * table.shape[1])
            values = values[..., :dimension]
        else:
            values = code.astype(np.float32)
        if self.turned:
            first = dimension // SIGN_GROUP
            values[..., :first] *= records["scale"][..., :1]
            values[..., first:] *= records["scale"][..., 1:]
        else:
            values *= records["scale"][..., None]
        if self.descriptors in BITS and self.rotated:
            signs, left, right = _rotation(dimension)
            blocks = values.reshape(*values.shape[:-1], len(left), len(right))
            values = (left.T @ blocks @ right).reshape(values.shape) * signs
        return values

    def to_dict(self) -> dict[str, Any]:
        """Plain data. What says nothing is left out, as earlier versions do not know it."""
        data = asdict(self)
        if self.descriptors not in BITS:
            del data["rotated"]
        if not self.turned:
            del data["turned"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Storage:
        """Read the output of ``to_dict``. Raises ValueError or TypeError for other data."""
        return cls(**{"rotated": data.get("descriptors") not in BITS, **data})

    def to_meta(self) -> dict[str, str]:
        """Entries of the map's meta table, ``format_version`` among them."""
        if self == Storage():
            return {"format_version": "1"}
        return {"format_version": "2", "storage": json.dumps(self.to_dict())}

    @classmethod
    def from_meta(cls, meta: dict[str, str]) -> Storage:
        """From the meta table. Raises ValueError, TypeError or KeyError for other data."""
        return cls() if meta["format_version"] == "1" else cls.from_dict(json.loads(meta["storage"]))


BUILT = Storage("int8")  # of maps that are built: the same answers, in a quarter of the space
