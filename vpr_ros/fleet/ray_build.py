"""`vpr fleet build`: a map built on a Ray cluster, the same as one process makes.

Drives go to tasks that decode them, wherever there is room; prepared images go to describers, actors that hold the
network on a CPU or a GPU; what they give comes back to the command, which stores it in ``Parts``. Ray runs again what a
dead machine was doing. The stages are those of ``maps.builder``.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpr_ros.base.errors import ConfigError, DriveError, MapError, ModelError, VprError, brief
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.left_out import EMPTY_PLACES, UNREADABLE
from vpr_ros.fleet.constants import RAY
from vpr_ros.fleet.parts import End, Parts, Place
from vpr_ros.inference.batches import Batches
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import Vocabulary, with_vocabulary
from vpr_ros.maps.builder import empty_map, vocabulary_of
from vpr_ros.maps.features import choose_extractor
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.stages import Described, Passage, Prepared, Progress, describe, find_features, prepare, reader
from vpr_ros.maps.storage import BUILT, Storage

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Work:
    """What is made of the drives; see ``builder.build_map``. model, backend: of ``open_describer``, on every machine.

    local_features: of ``features.choose_extractor``.
    """

    model: str
    backend: str = "auto"
    every_m: float = 5.0
    every_s: float = 0.0
    views_each: int = 3
    local_features: str = "none"
    storage: Storage = BUILT


def build_on_ray(
    path: Path,
    drives: Sequence[Drive],
    work: Work,
    address: str = "local",
    describers: int = 0,
    device: str = "auto",
    vocabulary: Path | None = None,
    on_progress: Progress | None = None,
    tally: Tally | None = None,
) -> PlaceMap:
    """Build a new map on a Ray cluster. What an interrupted call did is kept beside the path, and not done again.

    Every machine needs this package, and reads drives and model at the paths that they have here. address: of the
    cluster, or "local" for this machine. describers: number of them; 0 for one on each GPU, or else on each core.
    device: of the describers, auto, cpu or gpu. vocabulary: map whose vocabulary to take. on_progress: called with the
    images passed and those of all drives. tally: gets what was left out. Raises MissingDependencyError without Ray,
    DriveError if drives give no places (those of the others are kept), and what ``build_map`` raises.
    """
    import ray

    _check_address(address)
    describer = open_describer(work.model, work.backend, threads=0 if vocabulary is None else 1)
    extractor = choose_extractor(work.local_features)
    pickled = [_pickled(drive) for drive in drives]
    with Parts(path, drives, _options(work, describer, drives, vocabulary)) as parts:
        words = None if vocabulary is None else vocabulary_of(vocabulary, describer)
        if parts.head.exists() and with_vocabulary(describer) is not None:
            words = vocabulary_of(parts.head, describer)
        head = parts.folder / "new.vprmap"
        head.unlink(missing_ok=True)
        empty_map(
            head, drives, describer, work.every_m, work.every_s, work.views_each, extractor, words, work.storage
        ).close()
        head.replace(parts.head)
        with _cluster(address):
            layout = _layout(describers, device, ray.cluster_resources())
            fingerprint = describer.manifest.fingerprint
            decode = Decode(work, describer.manifest.preprocessing)
            with PlaceMap.open(parts.head) as made:
                words = made.vocabulary
            _run(parts, pickled, drives, decode, layout, (work, fingerprint, words, layout.threads), on_progress)
        return parts.merge(Tally() if tally is None else tally)


def _options(work: Work, describer: Describer, drives: Sequence[Drive], vocabulary: Path | None) -> dict[str, Any]:
    """What changes the places of a drive, as plain data."""
    words: Any = None
    if with_vocabulary(describer) is not None:  # learnt from these drives, or given
        words = [drive.name for drive in drives] if vocabulary is None else str(vocabulary)
    return {
        "model": describer.manifest.fingerprint,
        "every_m": work.every_m,
        "every_s": work.every_s,
        "views": work.views_each,
        "local_features": work.local_features,
        "storage": work.storage.to_meta(),
        "vocabulary": words,
    }


def _pickled(drive: Drive) -> bytes:
    """A drive to send to another process."""
    try:
        return pickle.dumps(drive)
    except Exception as error:  # of another package's drive
        raise DriveError(
            f"drive {drive.name} cannot be sent to other processes ({brief(error)}): its class needs to be picklable"
        ) from error


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Connects to a cluster, or starts one on this machine, unless the caller has; leaves it at the end."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    alone = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, error) from error
    except Exception as error:
        if type(error) is not Exception:  # Ray's, of a machine that is too busy to start it in time
            raise
        raise MapError(f"Ray does not start ({brief(error)}): give the same command again") from error
    try:
        yield
    finally:
        ray.shutdown()


def _no_cluster(address: str, error: Exception) -> ConfigError:
    return ConfigError(f"there is no Ray cluster at '{address}' ({brief(error)}): give its address, or local")


def _check_address(address: str) -> None:
    """Raises ConfigError if nothing listens there: Ray would try for half a minute and print a page."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), RAY.reach_s).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


@dataclass(frozen=True)
class Layout:
    """Describers, and the cores and GPUs that Ray reserves for each and for a task that decodes."""

    describers: int
    threads: int
    cpus: float
    gpus: float
    decode_cpus: float


def _layout(describers: int, device: str, resources: dict[str, float]) -> Layout:
    """Raises ConfigError for a device that the cluster has not."""
    if device not in DEVICES:
        raise ConfigError(f"device is '{device}': choose {', '.join(DEVICES)}")
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "gpu" and not gpus:
        raise ConfigError("the Ray cluster has no GPU: give --device cpu or auto")
    if gpus and device != "cpu":
        return Layout(min(describers or gpus, gpus), threads=0, cpus=1.0, gpus=1.0, decode_cpus=1.0)
    if not cores:
        raise ConfigError("the Ray cluster has no CPU: start its nodes with --num-cpus")
    count = min(describers or cores, cores)
    return Layout(count, threads=1, cpus=RAY.describer_cpus, gpus=0.0, decode_cpus=RAY.decode_cpus)


def _run(
    parts: Parts,
    pickled: Sequence[bytes],
    drives: Sequence[Drive],
    decode: Decode,
    layout: Layout,
    describing: tuple[Any, ...],
    on_progress: Progress | None,
) -> None:
    """Complete all parts. After a failure of the cluster the rest is tried again, while that gets further."""
    import ray

    errors: dict[int, str] = {}
    images = [len(drive) for drive in drives]
    while missing := [k for k in range(len(drives)) if k not in errors and not parts.is_complete(k)]:
        there = [parts.stamps(k) for k in missing]
        rows = [
            {"drive": k, "item": pickle.dumps((pickled[k], stamps))} for k, stamps in zip(missing, there, strict=True)
        ]
        passed = [0 if k in missing else images[k] for k in range(len(drives))]
        stored = 0
        try:
            for k, number, count, item in _stream(rows, decode, layout, describing):
                found = pickle.loads(item)
                stored += 1
                passed[k] = max(passed[k], count)
                if parts.take(k, number, found) and isinstance(found, End) and found.error:
                    errors[k] = found.error
                if on_progress is not None:
                    on_progress(sum(passed), sum(images))
        except ray.exceptions.RayError as error:
            parts.forget()
            cause = getattr(error, "cause", None)
            if isinstance(cause, VprError):
                raise cause from error
            if not stored:
                raise MapError(
                    f"the Ray cluster failed ({brief(error)}): {parts.folder} keeps what is done, so give the same "
                    "command again"
                ) from error
            logger.warning("the Ray cluster failed (%s): what is missing is done again", brief(error))
    if errors:
        first = min(errors)
        raise DriveError(
            f"{len(errors)} of {len(drives)} drive(s) give no places, the first: {errors[first]}; leave them out and "
            f"give the command again: {parts.folder} keeps the others"
        )


def _stream(
    rows: list[dict[str, Any]], decode: Decode, layout: Layout, describing: tuple[Any, ...]
) -> Iterator[tuple[int, int, int, bytes]]:
    """Drive, number in the drive, images passed in it and pickled Place or End, as they come."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = RAY.block_bytes
    described = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .flat_map(decode, num_cpus=layout.decode_cpus)
        .map_batches(
            Describe,
            fn_constructor_args=describing,
            batch_size=RAY.describe_together,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=layout.describers),
            num_cpus=layout.cpus,
            num_gpus=layout.gpus,
        )
    )
    for table in described.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        columns = (table.column(name).to_pylist() for name in ("drive", "number", "passed", "item"))
        yield from zip(*columns, strict=True)


@dataclass(frozen=True)
class Decode:
    """Task that decodes a drive."""

    work: Work
    preprocessing: Preprocessing

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The drive's frames that are no places yet, each pickled, as Prepared; at last an End."""
        pickled, there = pickle.loads(row["item"])
        drive: Drive = pickle.loads(pickled)
        passage, number, tally, error = Passage(drive, there), 0, Tally(), ""
        keep_image = self.work.local_features != "none"

        def numbered(item: Prepared | End) -> dict[str, Any]:
            return {
                "drive": row["drive"], "number": number, "passed": len(passage.stamps_ns), "item": pickle.dumps(item)
            }  # fmt: skip

        try:
            for frame in passage.frames(self.work.every_m, self.work.every_s):
                found = prepare(frame, reader(frame), self.preprocessing, self.work.views_each, keep_image)
                if isinstance(found, VprError):
                    passage.tally.add(UNREADABLE, str(found))
                    continue
                passage.tally.add(EMPTY_PLACES, f"drive {drive.name}", found.empty)
                yield numbered(_portable(found))
                number += 1
            passage.finish(number, tally)
        except (VprError, OSError) as problem:
            error = str(problem)
        yield numbered(End(tally, error))


def _portable(prepared: Prepared) -> Prepared:
    """Without what reads the image: that was done."""
    return replace(prepared, frame=replace(prepared.frame, read=_was_read, read_depth=None, detach=None))


def _was_read() -> Any:
    raise DriveError("the image of this frame was read on another machine")


class Describe:
    """Actor that holds the network."""

    def __init__(self, work: Work, fingerprint: str, vocabulary: Vocabulary | None, threads: int) -> None:
        """fingerprint: of the model that the map is of. Raises ModelError if another lies there on this machine."""
        self._describer = open_describer(work.model, work.backend, threads)
        manifest = self._describer.manifest
        if manifest.fingerprint != fingerprint:
            raise MapError(
                f"a machine of the cluster has another model {manifest.name} ({manifest.fingerprint[:12]}, not "
                f"{fingerprint[:12]}): install the same version of vpr_ros on all"
            )
        learning = with_vocabulary(self._describer)
        if learning is not None and vocabulary is not None:
            learning.vocabulary = vocabulary
        self._extractor = choose_extractor(work.local_features)
        self._batches, self._views = Batches(self._describer), work.views_each

    def __call__(self, table: Any) -> Any:
        """A table of pickled Prepared and End -> the same of Place and End."""
        import pyarrow

        items = [pickle.loads(item) for item in table.column("item").to_pylist()]
        described = describe([item for item in items if isinstance(item, Prepared)], self._batches, self._views)
        if described.problems:  # the places of a drive are numbered before they are described
            raise ModelError(f"no descriptor of an image: {described.problems[0]}")
        features = find_features(described, self._describer.manifest, "of the fleet", self._extractor)
        places: Iterator[Place] = (
            Place(Described([replace(one, inputs=one.inputs[:0], image_rgb=None)], [descriptor], [None], []), found)
            for one, descriptor, found in zip(described.ready, described.descriptors, features, strict=True)
        )
        made = [pickle.dumps(next(places) if isinstance(item, Prepared) else item) for item in items]
        return table.set_column(table.schema.get_field_index("item"), "item", pyarrow.array(made, pyarrow.binary()))
