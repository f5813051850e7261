"""What the file of a map holds of each place, by choice: the type of descriptors, and whether there are pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

DESCRIPTOR_TYPES = ("float32", "float16", "int8", "bit")
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * np.float32(2) - np.float32(1)  # of each byte
_LARGEST = 6e4  # absolute value in a descriptor; float16 can hold it


@dataclass(frozen=True)
class Storage:
    """The default is map format 1, which every version reads; the others are format 2.

    descriptors: one of DESCRIPTOR_TYPES. thumbnails: whether a place keeps a readable picture of its image. Raises
    ValueError for other values.
    """

    descriptors: str = "float32"
    thumbnails: bool = True

    def __post_init__(self) -> None:
        if self.descriptors not in DESCRIPTOR_TYPES or not isinstance(self.thumbnails, bool):
            raise ValueError(
                f"a map cannot be stored with descriptors of {self.descriptors!r}: choose {', '.join(DESCRIPTOR_TYPES)}"
            )

    @property
    def is_bit(self) -> bool:
        """Whether a descriptor keeps only the signs of its numbers."""
        return self.descriptors == "bit"

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of decoded descriptors in memory."""
        return np.dtype("float16" if self.descriptors == "float16" else "float32")

    def record(self, dimension: int) -> np.dtype[np.void]:
        """One stored descriptor of D numbers, little-endian: the numbers, or a scale and a code for each number."""
        code: tuple[str, int] = ("<" + self.dtype.str[1:], dimension)
        if self.descriptors == "int8":
            code = "i1", dimension
        elif self.is_bit:
            code = "u1", -(-dimension // 8)
        scale = [] if code[0].startswith("<") else [("scale", "<f4")]
        return np.dtype([*scale, ("code", code[0], (code[1],))])

    def encoded(self, descriptors: np.ndarray) -> np.ndarray:
        """Records (...) of unit descriptors (..., D).

        A sign stands for a number of one size, such that the descriptor's product with what is decoded is 1. The
        product of any other descriptor with it is then that with the original in the mean (Gao and Long, RaBitQ, 2024).
        """
        values: np.ndarray = np.asarray(descriptors, np.float32)
        records = np.empty(values.shape[:-1], self.record(values.shape[-1]))
        if self.descriptors == "int8":
            records["scale"] = np.maximum(np.abs(values).max(-1), np.float32(1e-12)) / 127
            values = np.round(values / records["scale"][..., None])
        elif self.is_bit:
            records["scale"] = (values**2).sum(-1) / np.maximum(np.abs(values).sum(-1), np.float32(1e-12))
            values = np.packbits(values >= 0, axis=-1)
        records["code"] = values
        return records

    def decoded(self, records: np.ndarray, dimension: int) -> np.ndarray:
        """Descriptors (..., D) of records (...). Raises ValueError if a value is not finite or too large."""
        code = records["code"]
        if "scale" not in (records.dtype.names or ()):
            values = code.astype(self.dtype, copy=False)
            if not np.all(np.abs(values) < self.dtype.type(_LARGEST)):
                raise ValueError("a descriptor is not finite, or too large")
            return values
        scale = records["scale"][..., None]
        if not np.all(np.abs(scale) < _LARGEST):
            raise ValueError("a descriptor is not finite, or too large")
        if self.is_bit:
            signs = np.take(_SIGNS, code, axis=0)
            values = signs.reshape(*code.shape[:-1], 8 * code.shape[-1])[..., :dimension]
        else:
            values = code.astype(np.float32)
        values *= scale
        return values

    def to_meta(self) -> dict[str, str]:
        """Entries of the map's meta table, ``format_version`` among them."""
        if self == Storage():
            return {"format_version": "1"}
        return {"format_version": "2", "storage": json.dumps(asdict(self))}

    @classmethod
    def from_meta(cls, meta: dict[str, str]) -> Storage:
        """From the meta table. Raises ValueError, TypeError or KeyError for other data."""
        return cls() if meta["format_version"] == "1" else cls(**json.loads(meta["storage"]))


HALF = Storage("float16")  # of maps that are built: the same answers, in half the space
