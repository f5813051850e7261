#!/usr/bin/env python3
"""What do stored descriptors of fewer bits cost? Answers of each type against float32, on a town and real recordings.

    python benchmarks/descriptor_types.py [--bags demo/bags] [--data FOLDER] [--model NAME] [--views 3] [--json FILE]

The demo's overcast drive is the map for its sun and night drives, with odometry. --data holds gardens_point, stromovka
and corridor: one drive of each is the map for another, by frame numbers and without odometry; what is not there is left
out. Nothing is calibrated. Prints recall@1 of single images, filtered recall@1 and the expected calibration error, also
of the first 256 and 512 numbers alone, as float16. A model with vocabularies learns them as for a map of signs.

Then the noise: the standard deviation of the errors of similarities, and the recall@1 of single images, mean and
standard deviation, if the errors were drawn anew. What is measured once is one draw: with a hundred images, luck is
larger than the limit. "ideal" is a code of so many bits for each number that knows the covariance of 16 places with all
their views, and reaches the limit of rate distortion theory for a normal law (reverse water-filling, Cover and Thomas,
Elements of Information Theory, 10.3.3): no code that only uses that has less noise.

Limits, against float32: recall@1 of single images and calibration error 0.01 worse, for each type that is listed by
--hold (int8 by default; "bit" is what is wanted, and misses). Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from described import Network
from described import described as drive_described
from rich.console import Console
from rich.table import Table

from vpr_ros.base.errors import DriveError
from vpr_ros.drives.drive import Drive, sample
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.record import Run, Tolerance, answer_from_estimate
from vpr_ros.evaluation.summary import assess, summarise_all
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.inference.vocabulary import with_vocabulary
from vpr_ros.localize.held_out import DescribedDrive
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import learn_vocabulary
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import SessionMean, centred, map_mean
from vpr_ros.maps.places import Places
from vpr_ros.maps.storage import DESCRIPTOR_TYPES, Storage

REAL = {  # reference, query, frames
    "gardens_point": ("day_right", "day_left", 3.0),
    "stromovka": ("season_00", "season_01", 1.0),
    "corridor": ("ref", "query", 2.0),
}
SPACING_M = 5.0
WORSE = 0.01
DRAWS = 100
BLOCK = 16  # places whose covariance a code may know
IDEAL_BITS = (1.0, 1.5, 2.0)
FIRST = (256, 512)


def opened(path: Path, numbered: bool) -> Drive:
    """A drive. numbered: whether its positions are the numbers of its frames."""
    drive = open_drive(path)
    return NumberedDrive(drive) if numbered else drive


def reference(path: Path, describer: Describer, views_each: int, numbered: bool, every_m: float = 0.0) -> Places:
    """A map of a drive. A model with vocabularies learns one from it, and keeps it for the queries."""
    if (learning := with_vocabulary(describer)) is not None:
        own = learn_vocabulary([opened(path, numbered)], describer, every_m, 0.0, turned=True)
        learning.vocabulary = own or learning.own_vocabulary
    return places_of(*described(path, describer, views_each, numbered, every_m))


def described(
    path: Path, describer: Describer, count: int, numbered: bool, every_m: float = 0.0
) -> tuple[DescribedDrive, np.ndarray]:
    """A drive after the network, with images every_m metres apart, and descriptors (F, count, D) of their views."""
    found = drive_described(path.name, sample(opened(path, numbered), every_m), count, Network(describer))
    return found.whole, found.descriptors


def places_of(drive: DescribedDrive, descriptors: np.ndarray) -> Places:
    """A map of a drive."""
    ids, names = np.arange(1, len(drive.stamps_ns) + 1), np.array([drive.name] * len(drive.stamps_ns))
    return Places(ids, names, drive.stamps_ns, drive.T_map_camera, descriptors)


def stored(places: Places, kind: str, describer: Describer) -> Places:
    """The places as a map with this type of descriptors gives them back."""
    dimension = places.descriptors.shape[-1]
    learning = with_vocabulary(describer)
    storage = Storage(kind).with_vocabulary(None if learning is None else learning.vocabulary)
    return replace(places, descriptors=storage.decoded(storage.encoded(places.descriptors), dimension))


def first(places: Places, queries: list[DescribedDrive], count: int) -> tuple[Places, list[DescribedDrive]]:
    """The same with the first numbers of all descriptors alone, at unit length, as float16."""

    def cut(descriptors: np.ndarray) -> np.ndarray:
        numbers = descriptors[..., :count]
        return (numbers / np.linalg.norm(numbers, axis=-1, keepdims=True)).astype(np.float16).astype(np.float32)

    return replace(places, descriptors=cut(places.descriptors)), [
        replace(query, descriptors=cut(query.descriptors)) for query in queries
    ]


def figures(
    places: Places, queries: list[DescribedDrive], describer: Describer, tolerance: Tolerance
) -> dict[str, float]:
    """Over all queries."""
    assessments = []
    calibration = Calibration.of_model(describer.manifest.calibration)
    for query in queries:
        localizer = Localizer(places, describer, None, calibration)
        answers = tuple(
            answer_from_estimate(localizer.recognise(int(stamp), x, T_odom), row, T, 0.0)
            for row, (stamp, x, T_odom, T) in enumerate(
                zip(query.stamps_ns, query.descriptors, query.T_odom_camera, query.T_map_camera, strict=True)
            )
        )
        assessments.append(assess(Run(query.name, query.name, answers, places.T_map_camera, tolerance)))
    summary = summarise_all(assessments)
    return {"single": summary.single.at_n[1], "filtered": summary.filtered.at_n[1], "ece": summary.ece}


def single_images(
    places: Places, queries: list[DescribedDrive], tolerance: Tolerance
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of Q images that have a right place: descriptors (Q, D) as they are compared, right places (Q, N), and the mean.

    mean: (D,), of the map.
    """
    mean, found, right = map_mean(places), [], []
    for query in queries:
        session = SessionMean(mean)
        found.append(np.stack([session.centred(descriptor) for descriptor in query.descriptors]))
        distances = np.linalg.norm(query.T_map_camera[:, None, :3, 3] - places.positions, axis=2)
        right.append(distances <= tolerance.frames if tolerance.frames else distances < tolerance.metres)
    on_map = np.concatenate(right).any(axis=1)
    return np.concatenate(found)[on_map], np.concatenate(right)[on_map], mean


def with_noise(exact: np.ndarray, right: np.ndarray, noise: float) -> tuple[float, float]:
    """Recall@1 of similarities (Q, N, V) with normal errors, mean and standard deviation. right: (Q, N)."""
    random = np.random.default_rng(0)
    drawn = [exact + random.normal(0, noise, exact.shape).astype(np.float32) for _ in range(DRAWS)]
    recalls = [right[np.arange(len(right)), one.max(axis=2).argmax(axis=1)].mean() for one in drawn]
    return float(np.mean(recalls)), float(np.std(recalls))


def least_noise(descriptors: np.ndarray, bits: float) -> float:
    """Noise of the best code of so many bits for each number of unit descriptors (N, V, D), for a normal law."""
    lost = []
    for block in np.array_split(descriptors, -(-len(descriptors) // BLOCK)):
        rows = block.reshape(-1, block.shape[-1]).astype(float)
        variances = np.maximum(np.linalg.eigvalsh(rows @ rows.T) / len(rows), 1e-9)
        low, high = 1e-12, 1.0
        for _ in range(60):
            level = np.sqrt(low * high)
            spent = np.maximum(np.log2(variances / level) / 2, 0).mean()
            low, high = (level, high) if spent > bits else (low, level)
        lost.append(np.minimum(variances, level).sum())
    share = float(np.mean(lost))
    return float(np.sqrt(share / (1 - share) / descriptors.shape[-1]))


def noises(
    places: Places, queries: list[DescribedDrive], tolerance: Tolerance, describer: Describer
) -> dict[str, list[float]]:
    """Noise, expected recall@1 and its standard deviation of each type, and of ideal codes."""
    images, right, mean = single_images(places, queries, tolerance)
    exact = centred(places.descriptors, mean) @ images.T
    found = {
        kind: float(np.std(centred(stored(places, kind, describer).descriptors, mean) @ images.T - exact))
        for kind in DESCRIPTOR_TYPES
    }
    for bits in IDEAL_BITS:
        found[f"ideal, {bits:g} bits"] = least_noise(centred(places.descriptors, mean), bits)
    exact = exact.transpose(2, 0, 1)
    return {name: [noise, *with_noise(exact, right, noise)] for name, noise in found.items()}


def main() -> int:
    """Returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"))
    parser.add_argument("--data", type=Path, help="folder of real recordings")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--views", type=int, default=3, choices=(1, 3))
    parser.add_argument(
        "--hold", nargs="*", default=["int8"], choices=[*DESCRIPTOR_TYPES, *(f"first {count}" for count in FIRST)]
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    describer = open_describer(given.model)
    places = reference(given.bags / "overcast", describer, given.views, False, SPACING_M)
    queries = [described(given.bags / name, describer, 1, False)[0] for name in ("sun", "night")]
    sets = {"town": (places, queries, Tolerance())}
    for name, (ref, query, frames) in REAL.items() if given.data else ():
        try:
            places = reference(given.data / name / ref, describer, given.views, True)
            tested = described(given.data / name / query, describer, 1, True)[0]
        except DriveError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        sets[name] = places, [tested], Tolerance(frames, frames, frames)
    found = {
        kind: {
            name: figures(stored(places, kind, describer), queries, describer, tolerance)
            for name, (places, queries, tolerance) in sets.items()
        }
        for kind in DESCRIPTOR_TYPES
    }
    for count in FIRST:
        found[f"first {count}"] = {
            name: figures(*first(places, queries, count), describer, tolerance)
            for name, (places, queries, tolerance) in sets.items()
        }
    table = Table("descriptors", *sets)
    for kind, of_sets in found.items():
        table.add_row(kind, *(", ".join(f"{value:.3f}" for value in values.values()) for values in of_sets.values()))
    Console(width=160).print(table)
    noise = {name: noises(*of_set, describer) for name, of_set in sets.items()}
    table = Table("noise, then recall@1 if it is drawn anew", *sets)
    for kind in noise["town"]:
        cells = (noise[name][kind] for name in sets)
        table.add_row(kind, *(f"{one:.4f}, {mean:.3f} ± {spread:.3f}" for one, mean, spread in cells))
    Console(width=160).print(table)
    missed = [
        f"{kind} on {name}: {what}"
        for kind in given.hold
        for name, values in found[kind].items()
        for what, worse in (
            ("single", found["float32"][name]["single"] - values["single"]),
            ("ece", values["ece"] - found["float32"][name]["ece"]),
        )
        if worse > WORSE
    ]
    print("\n".join(f"MISSED {line}" for line in missed) or f"{', '.join(given.hold)}: within {WORSE} of float32")
    if given.json:
        given.json.write_text(json.dumps({**found, "noise": noise, "missed": missed}, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
