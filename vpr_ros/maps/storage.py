"""What the file of a map holds of each place, by choice: the type of descriptors, and whether there are pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

DESCRIPTOR_TYPES = ("float32", "float16")


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
                f"a map cannot be stored with descriptors of {self.descriptors!r}: choose float32, float16"
            )

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the numbers in a descriptor, little-endian."""
        return np.dtype(self.descriptors).newbyteorder("<")

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
