"""Models, or variants of one, compared: accuracy, size, speed and memory on this machine."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.files import write_json
from vpr_ros.base.image import Preprocessing, preprocess
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.drives.drive import Drive, sample
from vpr_ros.drives.left_out import UNREADABLE
from vpr_ros.evaluation.metrics import share
from vpr_ros.evaluation.recall import TOLERANCE_M, right_at_1
from vpr_ros.inference.describer import Describer, Manifest
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import Vocabulary, with_vocabulary
from vpr_ros.maps.builder import learn_vocabulary

if TYPE_CHECKING:
    from rich.table import Table

BATCH = 8
FAR_AWAY = "image(s) are not judged: no image of the reference is within the tolerance, or there are no poses"


@dataclass(frozen=True)
class Figures:
    """One model's figures compared with the first one's. None: not measured, without drives or depth.

    recall_at_1: per query drive, nearest reference image within TOLERANCE_M, over the queries that have one.
    recall_error: standard error of its mean over the drives, as of independent queries; change_error: of the
    difference to the first model's, query by query. cosine: of its descriptors and the first model's on the same
    images, if it is a variant of it. depth_difference: mean of |d - d0| / d0.
    latency: one image at a time, in turns with the others. memory_mb: how much a fresh process grows at its peak.
    """

    model: str
    backend: str
    threads: int
    size_mb: float
    latency_p50_ms: float
    latency_p95_ms: float
    memory_mb: float | None
    images: int = 0
    recall_at_1: dict[str, float] = field(default_factory=dict)
    recall_error: float | None = None
    change_error: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    depth_difference: float | None = None

    @property
    def recall(self) -> float | None:
        """Mean over the query drives, or None."""
        return float(np.mean(list(self.recall_at_1.values()))) if self.recall_at_1 else None


def measure(
    paths: Sequence[Path],
    drives: Sequence[Drive],
    threads: int = 2,
    runs: int = 100,
    every_m: float = 5.0,
    on_progress: Callable[[int, int], None] | None = None,
    rivals: Sequence[Path] = (),
    tolerance_m: float = TOLERANCE_M,
    tally: Tally | None = None,
) -> list[Figures]:
    """Figures of each model, in order; the first is what the others are compared with.

    drives: the reference, then queries in the same world; none leaves out everything but speed, size and memory.
    threads: of the CPU, 0 for all. every_m: least distance between images. rivals: other networks, whose speed, size
    and memory are measured too; they come last. tolerance_m: see ``right_at_1``. tally: counts images that are left
    out, and queries that are near no reference image. Raises ModelError, DriveError.
    """
    describers = [open_for_measuring(path, threads) for path in (*paths, *rivals)]
    tally = Tally() if tally is None else tally
    quality = _compare(describers[: len(paths)], drives, every_m, tolerance_m, on_progress, tally)
    quality += [{} for _ in rivals]
    paths = [*paths, *rivals]
    times = latencies_ms(describers, runs)
    memory = [peak_memory_mb(path, threads) for path in paths]
    if on_progress:
        on_progress(len(drives) + 1, len(drives) + 1)
    return [
        Figures(
            model=path.stem if path.suffix == ".onnx" else path.name,
            backend=describer.backend,
            threads=threads,
            size_mb=path.stat().st_size / 1e6,
            latency_p50_ms=float(np.percentile(own, 50)),
            latency_p95_ms=float(np.percentile(own, 95)),
            memory_mb=grown,
            **found,
        )
        for path, describer, own, grown, found in zip(paths, describers, times, memory, quality, strict=True)
    ]


def open_for_measuring(path: Path, threads: int) -> Describer:
    """ONNX files on ONNX Runtime, whatever "auto" would take; engines on TensorRT."""
    return open_describer(path, "tensorrt" if path.suffix == ".engine" else "onnx", threads)


def latencies_ms(describers: Sequence[Describer], runs: int) -> list[np.ndarray]:
    """(runs,) milliseconds of one image for each model; the models take turns, so that all meet the same machine."""
    sizes = [describer.manifest.preprocessing for describer in describers]
    images = [np.random.default_rng(0).integers(0, 256, (1, size.height, size.width, 3), np.uint8) for size in sizes]
    times = np.zeros((len(describers), runs))
    warm_up = min(10, runs)
    for run in range(-warm_up, runs):
        for number, (describer, image) in enumerate(zip(describers, images, strict=True)):
            start = time.perf_counter()
            describer.describe(image)
            times[number, run] = 1e3 * (time.perf_counter() - start)  # the last ones first, overwritten later
    return list(times)


def peak_memory_mb(path: Path, threads: int) -> float | None:
    """How much a fresh process grows, at its peak, when it opens a model and runs it; None without Linux' /proc."""
    if not Path("/proc/self/status").is_file():
        return None
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_own_peak_memory_mb, path, threads).result()


def _own_peak_memory_mb(path: Path, threads: int) -> float:
    before = _memory_mb("VmRSS")
    describer = open_for_measuring(path, threads)
    latencies_ms([describer], 3)
    return _memory_mb("VmHWM") - before


def _memory_mb(field_name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field_name))


@dataclass(frozen=True, eq=False)
class _Described:
    """One drive through M models.

    positions: (N, 3), NaN without a pose. descriptors: (N, D) of each model. The others: (M, N), NaN where they cannot
    be compared with the first model's.
    """

    name: str
    positions: np.ndarray
    descriptors: list[np.ndarray]
    cosine: np.ndarray
    depth_difference: np.ndarray


def _compare(
    describers: Sequence[Describer],
    drives: Sequence[Drive],
    every_m: float,
    tolerance_m: float,
    on_progress: Callable[[int, int], None] | None,
    tally: Tally,
) -> list[dict[str, Any]]:
    """For each model, the fields of Figures that need images."""
    for drive in drives[1:]:
        if drive.world != drives[0].world:
            raise DriveError(
                f"drive {drive.name} lies in world '{drive.world}', the reference {drives[0].name} in "
                f"'{drives[0].world}': recall needs drives of one world"
            )
    if not drives:
        return [{} for _ in describers]
    _learn_vocabularies(describers, drives[0], every_m)
    described = []
    for drive in drives:
        described.append(_describe(describers, drive, every_m, tally))
        if on_progress:
            on_progress(len(described), len(drives) + 1)
    found: list[dict[str, Any]] = []
    first: dict[str, np.ndarray] = {}
    for number in range(len(describers)):
        cosine = np.concatenate([drive.cosine[number] for drive in described])
        difference = np.concatenate([drive.depth_difference[number] for drive in described])
        right = {query.name: _right(described[0], query, number, tolerance_m) for query in described[1:]}
        if not number:
            for query in described[1:]:
                tally.add(FAR_AWAY, query.name, len(query.positions) - len(right[query.name]))
        right = {name: found for name, found in right.items() if len(found)}
        first = first or right
        comparable = not np.isnan(cosine).any()
        found.append(
            {
                "images": len(cosine),
                "recall_at_1": {name: share(found) for name, found in right.items()},
                "recall_error": _error_of_mean(right.values()),
                "change_error": _error_of_mean(found.astype(float) - first[name] for name, found in right.items()),
                "cosine_mean": float(cosine.mean()) if comparable else None,
                "cosine_min": float(cosine.min()) if comparable else None,
                "depth_difference": None if np.isnan(difference).all() else float(np.nanmean(difference)),
            }
        )
    return found


def _error_of_mean(drives: Iterable[np.ndarray]) -> float | None:
    """Standard error of the mean over drives of the means of (F,) each; None without drives."""
    squares = [float(np.var(values)) / len(values) for values in drives]
    return math.sqrt(sum(squares)) / len(squares) if squares else None


def _learn_vocabularies(describers: Sequence[Describer], reference: Drive, every_m: float) -> None:
    """Models with vocabularies get one of the reference's images, a model and its variants the same."""
    learnt: dict[str, Vocabulary] = {}
    for describer in describers:
        learning, origin = with_vocabulary(describer), _origin(describer)
        if learning is not None and origin in learnt:
            learning.vocabulary = learnt[origin]
        elif (found := learn_vocabulary([reference], describer, every_m, 0.0)) is not None:
            learnt[origin] = found


def _readable(frames: Iterable[DriveFrame], tally: Tally) -> Iterator[tuple[DriveFrame, np.ndarray]]:
    """Frames with their images; those that cannot be read are left out and counted."""
    for frame in frames:
        try:
            yield frame, frame.read()
        except (ImageError, DriveError) as error:
            tally.add(UNREADABLE, str(error))


def _depth_difference(depth: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean (B,) of |depth - first| / first over the pixels of (B, h, w) where first is above 0; NaN without any."""
    seen = first > 0
    relative = np.divide(np.abs(depth - first), first, out=np.zeros_like(first), where=seen)
    counts = seen.sum(axis=(1, 2))
    return np.where(counts > 0, relative.sum(axis=(1, 2)) / np.maximum(counts, 1), np.nan)


def _describe(describers: Sequence[Describer], drive: Drive, every_m: float, tally: Tally) -> _Described:
    """Every model sees the same images, batch by batch, each at its own size."""
    frames = _spaced(drive, every_m)
    positions: list[np.ndarray] = []
    parts: list[tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]] = []
    sizes = [(d.manifest.preprocessing.height, d.manifest.preprocessing.width) for d in describers]
    readable = _readable(frames, tally)
    while batch := list(islice(readable, BATCH)):
        positions += [np.full(3, np.nan) if f.T_map_camera is None else f.T_map_camera[:3, 3] for f, _ in batch]
        images = {
            size: np.stack([preprocess(image, Preprocessing(*size)) for _, image in batch]) for size in set(sizes)
        }
        outputs = [describer.describe(images[size]) for describer, size in zip(describers, sizes, strict=True)]
        first, unknown = outputs[0], np.full(len(batch), np.nan)
        related = [_origin(describer) == _origin(describers[0]) for describer in describers]
        cosine = [
            (output.descriptors * first.descriptors).sum(1) if alike else unknown
            for output, alike in zip(outputs, related, strict=True)
        ]
        depth = [
            unknown
            if not alike or output.depth is None or first.depth is None
            else _depth_difference(output.depth, first.depth)
            for output, alike in zip(outputs, related, strict=True)
        ]
        parts.append(([output.descriptors for output in outputs], cosine, depth))
    if not parts:
        raise DriveError(f"drive {drive.name} holds no images to compare models on")
    descriptors = [np.concatenate([part[0][number] for part in parts]) for number in range(len(describers))]
    joined = [np.concatenate([np.stack(part[k]) for part in parts], axis=1) for k in (1, 2)]
    return _Described(drive.name, np.stack(positions), descriptors, *joined)


def _origin(describer: Describer) -> str:
    """The fingerprint of a model, or of the one that a variant was made from."""
    manifest = describer.manifest
    return str(manifest.training.get("variant", {}).get("of_fingerprint", manifest.fingerprint))


def _spaced(drive: Drive, every_m: float) -> Iterator[DriveFrame]:
    """Frames at least every_m apart, or all of them if none has a pose."""
    found = False
    for frame in sample(drive, every_m):
        found = True
        yield frame
    if not found:
        yield from drive


def _right(reference: _Described, query: _Described, number: int, tolerance_m: float) -> np.ndarray:
    """Whether one model finds each query that has a reference image near it: (F,) bool."""
    searched = reference.descriptors[number], reference.positions
    return right_at_1(query.descriptors[number], query.positions, *searched, tolerance_m)


def save_report(variant: Path, first: Figures, own: Figures, drives: Sequence[str]) -> Path:
    """Write ``NAME_report.json`` beside a variant, and its scores into its manifest if it has one of its own."""
    measured_at = {
        "drives": list(drives),
        "tolerance_m": TOLERANCE_M,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    kind = "" if variant.suffix == ".onnx" else "_engine"
    path = variant.with_name(f"{variant.stem}{kind}_report.json")
    write_json(path, {**measured_at, "variant": asdict(own), "float32": asdict(first)})
    if variant.suffix == ".onnx":
        scores = {"measured_at": measured_at, **asdict(own), "recall_at_1_float32": first.recall_at_1}
        replace(Manifest.load(variant), scores=scores).save(variant)
    return path


def table(figures: Sequence[Figures], tolerance: float = TOLERANCE_M, unit: str = "m") -> Table:
    """One row a model, ready for ``Console.print``. tolerance: of R@1, in unit."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = (
        f"R@1 within {tolerance:g} {unit} and difference in depth in percent; ±: standard error; file and memory in "
        f"MB; one image in ms, CPU threads: {figures[0].threads or 'all'}"
    )
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    header = ("model", "R@1", "±", "change", "±", "cosine", "least", "depth", "file", "p50", "p95", "RAM")
    for position, name in enumerate(header):
        made.add_column(name, justify="left" if position == 0 else "right", no_wrap=True)
    first = figures[0]
    for row in figures:
        change = None if row.recall is None or first.recall is None else 100 * (row.recall - first.recall)
        made.add_row(
            escape(row.model.removeprefix(f"{first.model}_")),
            _shown(row.recall, "{:.1f}", 100),
            _shown(row.recall_error, "{:.1f}", 100),
            _shown(change, "{:+.2f}"),
            _shown(row.change_error, "{:.2f}", 100),
            _shown(row.cosine_mean, "{:.4f}"),
            _shown(row.cosine_min, "{:.4f}"),
            _shown(row.depth_difference, "{:.1f}", 100),
            f"{row.size_mb:.1f}",
            f"{row.latency_p50_ms:.1f}",
            f"{row.latency_p95_ms:.1f}",
            _shown(row.memory_mb, "{:.0f}"),
        )
    return made


def _shown(value: float | None, form: str, scale: float = 1.0) -> str:
    return "-" if value is None else form.format(scale * value)
