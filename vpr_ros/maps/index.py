"""The search index (FAISS): a cache file next to the map, rebuilt whenever it is missing or stale."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from vpr_ros.base.errors import ConfigError, MapError, brief
from vpr_ros.base.files import written_whole
from vpr_ros.maps.centring import centred
from vpr_ros.maps.constants import CENTRING, INDEX
from vpr_ros.maps.map_file import INDEX_CACHE
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.places import spread
from vpr_ros.maps.stored_descriptors import paired_cosines

logger = logging.getLogger(__name__)

AUTO, FLAT = "auto", "Flat"
_METRIC = faiss.METRIC_INNER_PRODUCT
_MOST = 1e6  # limit of similarities: those of a damaged cache may be anything
_LEAST_CELLS, _CELLS_SHARE = 8, 10  # cells of an IVF index that are searched: so many, or one in so many
_QUERY_BITS = 4  # for each number of a query, in an index of one bit a number: as good as 8, and faster
_BLOCK = 4096  # descriptors in a block of a growing index
_MAPPED = 1 << 25  # bytes of an index file from which on it is mapped into memory
_LEAST_FREE = 1 << 20  # bytes: a disk with less is full


class Index:
    """Search over the descriptors of a map by cosine. The similarity of a place is that of its best view."""

    def __init__(self, index: faiss.Index, views: int) -> None:
        self._index = index
        self._views = views
        inner = index
        if cells := _cells(index):
            inner = cells
            cells.nprobe = min(cells.nlist, max(_LEAST_CELLS, cells.nlist // _CELLS_SHARE))
            assert cells.invlists is not None
            lists = faiss.downcast_InvertedLists(cells.invlists)
            if hasattr(lists, "prefetch_nthread"):  # a thread for each list, to read ahead: slower than reading
                lists.prefetch_nthread = 0
        if hasattr(inner, "qb"):
            inner.qb = _QUERY_BITS

    @classmethod
    def build(cls, descriptors: np.ndarray, factory: str = "Flat") -> Index:
        """An index of descriptors (N, V, D) float32, unit length. factory: FAISS index factory string, or auto.

        Raises ConfigError for a bad factory.
        """
        count, views, dimension = descriptors.shape
        factory = chosen_factory(factory, count * views)
        rows = descriptors.reshape(-1, dimension)
        if "OPQ" in factory and 0 < len(rows) < dimension:  # FAISS would crash
            raise ConfigError(
                f"the FAISS index '{factory}' is trained on at least {dimension} descriptors, and {count} places have "
                f"{len(rows)}; try Flat"
            )
        try:
            index = faiss.index_factory(dimension, factory, _METRIC)
            if (cells := _cells(index)) is not None and not cells.nlist:
                raise RuntimeError("it has no cells")
            if count:
                index.train(rows)
                index.add(rows)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[-1]
            of_places = f" of {count} places" if count else ""
            raise ConfigError(f"FAISS cannot build an index '{factory}'{of_places} ({reason}); try Flat") from error
        return cls(index, views)

    @classmethod
    def growing(cls, dimension: int, views: int, factory: str = "Flat") -> Index:
        """An empty index for a map that grows. Raises ConfigError for a bad factory and one that needs training."""
        index = cls.build(np.zeros((0, views, dimension), np.float32), factory)
        if not index._index.is_trained:
            raise ConfigError(
                f"a map cannot grow with the FAISS index '{factory}', which has to be trained on all its places: "
                "choose Flat or SQfp16"
            )
        return cls(_Blocks(index._index), views)

    @classmethod
    def of_map(
        cls,
        place_map: PlaceMap,
        factory: str = "Flat",
        mean: np.ndarray | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        cache: bool = True,
    ) -> Index:
        """The index of a map, from its cache, or built and cached.

        mean: (D,) to centre descriptors on, or None. on_progress: called with the places so far and all, while it is
        built; None: this is logged. cache: False for a map that is soon gone. A cache that cannot be written is left
        out. It takes all descriptors, so it also finds ``Places.steps`` of the map.
        """
        path = cache_path(place_map.path)
        count, views = len(place_map.places), place_map.model.views
        factory = chosen_factory(factory, count * views)
        key = {
            "revision": place_map.revision,
            "places": count,
            "sample": place_map.sample_checksum,
            "factory": factory,
            "model": place_map.model.fingerprint,
            "views": views,
            "mean": None if mean is None else [CENTRING.share, zlib.crc32(mean.tobytes())],
        }
        cached = _read(path, key, place_map.model.dimension) if cache else None
        if cached is not None:
            place_map.places.with_statistics({"steps": cached[1]})
            return cls(cached[0], views)
        index = cls.build(np.zeros((0, views, place_map.model.dimension), np.float32), factory)
        if not index._index.is_trained:
            places = place_map.places
            sample = centred(places.descriptors[spread(count, -(-INDEX.training // views))], mean)
            logger.info("training the index '%s' on %d places, which can take minutes", factory, len(sample))
            trained = cls.build(sample, factory)._index
            trained.reset()
            index = cls(trained, views)
            del sample
        steps = index._filled(place_map, mean, on_progress)
        place_map.places.with_statistics({"steps": steps})
        if not cache:
            return index
        _write(path, key, index._index, steps)
        if _cells(index._index):  # from the file, so that its lists need not stay in memory
            cached = _read(path, key, place_map.model.dimension)
            return index if cached is None else cls(cached[0], views)
        return index

    def _filled(
        self, place_map: PlaceMap, mean: np.ndarray | None, on_progress: Callable[[int, int], None] | None
    ) -> np.ndarray:
        """Add all places of a map, and return ``Places.steps``."""
        ids, last, steps = place_map.places.ids, np.zeros((0, place_map.model.dimension)), []
        count, told = len(ids), 0
        for piece in place_map.pieces(last=int(ids[-1]) if count else 0):  # others may have been added meanwhile
            descriptors = np.asarray(piece.descriptors)
            self.add(centred(descriptors, mean))
            first = np.concatenate([last, descriptors[:, 0]])
            steps.append(paired_cosines(first[:-1], first[1:]))
            last = first[-1:]
            if on_progress:
                on_progress(len(self), count)
            elif len(self) - told >= INDEX.told_every:
                told = len(self)
                logger.info("building the index: %d of %d places", told, count)
        return np.concatenate([np.zeros(0, np.float32), *steps])

    def save(self, path: Path) -> None:
        """Write the bare index, for ``load``. Raises OSError."""
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # FAISS has no other
            if shutil.disk_usage(path.parent).free < _LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise OSError(errno.EIO, f"the index cannot be written ({brief(error)})", str(path)) from error

    @classmethod
    def load(cls, path: Path, size: tuple[int, int], count: int) -> Index:
        """An index that ``save`` wrote; a large one is mapped into memory, so that what is not searched is not read.

        Of a file that is mapped, a part that is overwritten in place ends the process.

        size: (V, D) of a place's descriptors. count: of places. A damaged file may crash FAISS: check its hash first.
        Raises MapError if it is another index.
        """
        mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", None)  # FAISS has it from 1.11 on
        try:
            is_large = path.stat().st_size > _MAPPED
            index = faiss.read_index(str(path), mapped if is_large and mapped is not None else 0)
        except OSError as error:
            raise MapError(f"{path} cannot be read ({error.strerror})") from error
        except RuntimeError as error:
            raise MapError(f"{path} is not an index that FAISS {faiss.__version__} reads: update FAISS") from error
        if (index.d, index.ntotal, index.metric_type) != (size[1], count * size[0], _METRIC):
            raise MapError(f"{path} is an index of other places than the map's")
        return cls(index, size[0])

    def on(self, device: str) -> Index:
        """The same index on a device: cpu, gpu, or auto, which is a GPU if FAISS knows one and has this index for it.

        Raises ConfigError if a GPU is asked for and cannot take it.
        """
        known = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        if device == "cpu" or (device == "auto" and not known):
            return self
        if not known:
            raise ConfigError(
                "search.device is gpu, and FAISS here knows no GPU: install a build of FAISS for one, or set auto"
            )
        try:
            moved = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self._index)
        except (RuntimeError, AssertionError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1]
            if device == "gpu":
                raise ConfigError(
                    f"FAISS cannot move this index to the GPU ({reason}): set search.index=Flat"
                ) from error
            logger.info("the index stays on the CPU: %s", reason)
            return self
        return Index(moved, self._views)

    def __len__(self) -> int:
        return int(self._index.ntotal) // self._views

    def add(self, descriptors: np.ndarray) -> None:
        """Add places at the end: (N, V, D) float32, unit length. Raises ConfigError if this index cannot grow."""
        try:
            self._index.add(np.ascontiguousarray(descriptors.reshape(-1, descriptors.shape[-1]), np.float32))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"this FAISS index cannot grow ({reason}): choose Flat or SQfp16") from error

    def search(self, descriptor: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Search a descriptor (D,) float32: cosines (K,) float32, highest first, and rows (K,) int64; K <= count."""
        wanted = min(count, len(self)) * self._views
        similarities, rows = (found[0] for found in self._index.search(descriptor[None], wanted))
        found = (rows >= 0) & (rows < len(self) * self._views)  # approximate indexes pad with -1, at the end
        similarities = np.fmin(np.fmax(similarities[found], -_MOST), _MOST)  # fmax: NaN is the least
        places = rows[found] // self._views
        first = np.sort(np.unique(places, return_index=True)[1])[:count]
        return similarities[first], places[first]


def chosen_factory(factory: str, count: int) -> str:
    """The FAISS factory string for a number of descriptors; "auto" chooses by it.

    Exact search is fast while there are few. One bit for each number and a random rotation (RaBitQ, Gao and Long 2024)
    finds the same places ten times as fast, since the localiser compares what is found exactly. Very many are put in
    cells, of which a part is searched.
    """
    if factory != AUTO:
        return factory
    if count <= INDEX.exact or not hasattr(faiss, "IndexRaBitQ"):  # FAISS has it from 1.11 on
        return FLAT
    if count <= INDEX.one_bit:
        return "RaBitQ"
    return f"IVF{int(INDEX.cells * count**0.5)},RaBitQ"


class _Blocks(faiss.IndexShards):
    """An index in blocks. A single one is copied whole each time it outgrows its memory, which takes seconds."""

    _empty: faiss.Index = None  # type: ignore[assignment]  # FAISS objects take no attributes that their class lacks
    _last: faiss.Index | None = None

    def __init__(self, empty: faiss.Index) -> None:
        super().__init__(empty.d)
        self.successive_ids = True
        self._empty = empty

    def add(self, x: np.ndarray) -> None:  # type: ignore[override]
        """Add (N, D) float32 to the last block."""
        if self._last is None or self._last.ntotal >= _BLOCK:
            self._last = faiss.clone_index(self._empty)
            self.add_shard(self._last)
        self._last.add(x)
        self.ntotal += len(x)


def cache_path(map_path: Path) -> Path:
    """Path of the cached index of a map."""
    return map_path.with_name(map_path.name + INDEX_CACHE)


def _read(path: Path, key: dict[str, Any], dimension: int) -> tuple[faiss.Index, np.ndarray] | None:
    """The cached index and ``Places.steps``; None if it is missing, stale or damaged.

    The file is FAISS's own, as that can be mapped into memory, then the steps, a JSON text and the length of that. A
    damaged index may crash FAISS, so it is checked, apart from its lists: these are numbers of which any is allowed,
    they are most of the file, and ``search`` drops rows that no place has.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size - 8)
            end = size - 8 - int.from_bytes(file.read(8), "little")
            if end < 0:
                return None
            file.seek(end)
            header = json.loads(file.read(size - 8 - end))
            steps_start = end - 4 * max(key["places"] - 1, 0)
            start = steps_start - header["lists"]
            if header != {**key, "lists": header["lists"], "sha256": _checksum(file, start, steps_start, end)}:
                return None
            file.seek(steps_start)
            steps = np.frombuffer(file.read(end - steps_start), "<f4")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        cells = _cells(index)
        listed = index.ntotal if cells is None else sum(map(cells.get_list_size, range(cells.nlist)))
        if (index.d, index.ntotal) == (dimension, key["places"] * key["views"]) and listed == index.ntotal:
            return (index, steps) if _lists_size(index) == header["lists"] else None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, RecursionError, MemoryError):
        pass
    return None


def _cells(index: faiss.Index) -> faiss.IndexIVF | None:
    """The part of an index that has cells with lists; None if it has none."""
    found = faiss.try_extract_index_ivf(index)
    downcast = None if found is None else faiss.downcast_index(found)
    return downcast if isinstance(downcast, faiss.IndexIVF) else None


def _lists_size(index: faiss.Index) -> int:
    """Bytes of an index's lists in a file: a code and a number for each descriptor."""
    cells = _cells(index)
    return 0 if cells is None else int(index.ntotal * (cells.code_size + 8))


def _checksum(file: BinaryIO, lists_start: int, lists_end: int, end: int) -> str:
    """Of a file up to an end, without its lists."""
    file.seek(0)
    found = hashlib.sha256(file.read(lists_start))
    file.seek(lists_end)
    found.update(file.read(end - lists_end))
    return found.hexdigest()


def _write(path: Path, key: dict[str, Any], index: faiss.Index, steps: np.ndarray) -> None:
    """Write the cache; no error if its folder cannot be written to."""
    with suppress(OSError, RuntimeError, TypeError), written_whole(path) as part:  # TypeError: a path not in UTF-8
        faiss.write_index(index, str(part))
        lists_end = part.stat().st_size
        lists = _lists_size(index)
        with part.open("r+b") as file:
            file.seek(lists_end)
            file.write(np.asarray(steps, "<f4").tobytes())
            end = file.tell()
            file.flush()
            checksum = _checksum(file, lists_end - lists, lists_end, end)
            header = json.dumps({**key, "lists": lists, "sha256": checksum}).encode()
            file.seek(end)
            file.write(header + len(header).to_bytes(8, "little"))
            file.flush()
            os.fsync(file.fileno())
