"""Any descriptor network as a model: its graph takes bytes and gives unit vectors, and a manifest describes it.

ONNX files need onnx alone. Networks of other frameworks come through entry points of group ``vpr.importers``: a name ->
``(text, folder, Wanted) -> Original``, which writes the network as ONNX into the folder. ``vpr_lab`` registers torch,
hub and timm.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import ConfigError, ModelError, brief, nearest_name
from vpr_ros.base.files import written_whole
from vpr_ros.base.image import IMAGENET, Preprocessing
from vpr_ros.base.registry import guarding, load
from vpr_ros.inference.describer import LARGEST_DIMENSION, Description, Manifest, fingerprint_file
from vpr_ros.inference.models import find_model
from vpr_ros.inference.onnx import OnnxDescriber, open_session, run_session
from vpr_ros.inference.onnx_folding import ONE_AT_A_TIME
from vpr_ros.inference.onnx_graph import Input, Outputs, image_input, load_graph, wrap, write_folded
from vpr_ros.inference.onnx_nodes import import_onnx
from vpr_ros.inference.parity import Parity
from vpr_ros.inference.precision import precision_of

GROUP = "vpr.importers"
INPUTS = ("nchw_float", "nhwc_float", "nhwc_uint8", "nchw_uint8")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".torch", ".safetensors", ".bin")
_LARGEST_SIDE = 4096
_DARKEST = 0.1  # brightness of a trial image, of that of the brightest
_TRIAL_IMAGES = 4
_PATCHES = 6  # of colour along each side of a trial image
_CONSTANT = 1e-5  # descriptors of different images that differ by less are no descriptors

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """What the user says of a network. None or empty: what its file says, or the default."""

    input: str = ""
    """One of INPUTS."""
    size: tuple[int, int] | None = None
    """Width and height of the input, pixels."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from pixels in 0..1; ImageNet's by default."""
    std: tuple[float, float, float] | None = None
    """The pixels are divided by it; ImageNet's by default."""
    descriptor: str = ""
    """The output that is the descriptor."""
    depth: str = ""
    """The output that is depth in metres, if any."""
    weights: Path | None = None
    """A file of weights, for networks that are code."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the code that makes the network."""


@dataclass(frozen=True, eq=False)
class Original:
    """A network as ONNX, and as its own runtime runs it."""

    onnx: Path
    run: Callable[[np.ndarray], Arrays]
    """One image as the network takes it, with a batch dimension of 1 -> its outputs by name."""
    origin: str
    """Where it is from, for the manifest."""
    name: str
    """A name for it."""
    preprocessing: Preprocessing | None = None
    """Its own, if it says; else the user's or the default."""


@dataclass(frozen=True)
class Imported:
    """What was written."""

    path: Path
    manifest: Manifest
    parity: Parity


def open_onnx(path: Path) -> Original:
    """An ONNX file as the original. Raises ModelError, MissingDependencyError."""
    if not path.is_file():
        raise ModelError(f"no file {path}: give an .onnx file, or --torch, --hub or --timm")
    if path.suffix in _WEIGHTS:
        raise ModelError(
            f"{path} is a file of torch: give TorchScript with --torch, and weights alone with --weights, beside the "
            "code of the network with --torch or --hub (a checkpoint of `vpr train` is exported by `vpr export`)"
        )
    load_graph(path)  # says what is wrong in a sentence
    opened = cache(lambda: open_session(path, gpu=False))  # after the graph is found to take images

    def run(image: np.ndarray) -> Arrays:
        session = opened()
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, run_session(session, names, {session.get_inputs()[0].name: image}), strict=True))

    return Original(path, run, path.name, path.stem)


def open_other(framework: str, text: str, folder: Path, wanted: Wanted) -> Original:
    """A network of a registered framework as the original, with its ONNX file in the folder.

    Raises ModelError, ConfigError for an unknown framework, MissingDependencyError.
    """
    import_onnx()  # fails now rather than after the network was made
    importer = load(GROUP, framework, {}, "importer")
    with guarding("importer", framework):
        opened = importer(text, folder, wanted)
    if not isinstance(opened, Original):
        raise ConfigError(f"importer '{framework}' returns {type(opened).__name__}, expected an Original")
    return opened


def import_model(
    open_original: Callable[[Path], Original],
    folder: Path,
    name: str = "",
    licence: str = "",
    source: str = "",
    wanted: Wanted | None = None,
) -> Imported:
    """Write ``folder/NAME.onnx`` and its manifest, after a comparison with the original. Both, or nothing.

    open_original: a temporary folder -> the network. licence: of its weights; must be given. name, source: its own by
    default. Raises ModelError if the network cannot be a model or the two disagree, MissingDependencyError without
    onnx.
    """
    wanted = wanted or Wanted()
    _check(wanted)
    if not licence.strip():
        raise ModelError("no licence given: say with --licence under which one the weights may be used, such as MIT")
    import_onnx()  # fails now rather than after the network was made
    if name:
        _check_name(name, folder)
    with tempfile.TemporaryDirectory() as temporary:
        original = open_original(Path(temporary))
        path = _check_name(name or original.name, folder)
        graph = load_graph(original.onnx)
        given = _input(image_input(graph, original.origin), wanted, original.origin)
        size = _preprocessing(given, wanted, original)
        images = trial_images(size)
        expected, outputs = _expected(original, given, size, images, wanted)
        dimension = expected.descriptors.shape[1]
        made = Path(temporary, "made", path.name)
        made.parent.mkdir()
        metadata = {"preprocessing": json.dumps(asdict(size)), "dimension": str(dimension)}
        write_folded(wrap(graph, given, size, outputs), made, metadata)
        manifest = Manifest(
            name=path.stem,
            fingerprint=fingerprint_file(made),
            dimension=dimension,
            depth=bool(outputs.depth),
            preprocessing=size,
            licence=licence.strip(),
            source=source.strip() or original.origin,
        )
        manifest.save(made)
        parity = _compare(made, images, expected)
        taken = {"input": f"{given.layout}_{given.dtype}", "descriptor": outputs.descriptor, "depth": outputs.depth}
        training = {"imported": {"from": original.origin, **taken}, "parity": asdict(parity)}
        manifest = replace(manifest, training=training)
        manifest.save(made)
        with written_whole(path.with_suffix(".json")) as described, written_whole(path) as part:
            shutil.copyfile(made, part)
            shutil.copyfile(made.with_suffix(".json"), described)
    return Imported(path, manifest, parity)


def _check(wanted: Wanted) -> None:
    """Raises ModelError for what no network can be."""
    if wanted.input and wanted.input not in INPUTS:
        raise ModelError(f"unknown input '{wanted.input}'; {nearest_name(wanted.input, INPUTS)}")
    if wanted.size and not all(0 < side <= _LARGEST_SIDE for side in wanted.size):
        raise ModelError(f"invalid size {wanted.size[0]} x {wanted.size[1]}: give 1 to {_LARGEST_SIDE} pixels a side")
    for name, numbers in (("mean", wanted.mean), ("std", wanted.std)):
        if numbers and not all(0 <= number <= 1 for number in numbers):
            shown = ", ".join(f"{number:g}" for number in numbers)
            raise ModelError(f"--{name} is {shown}: give it for pixels from 0 to 1 (divide it by 255)")
    if wanted.std and min(wanted.std) <= 0:
        raise ModelError("--std must be above 0, since the pixels are divided by it")


def _check_name(name: str, folder: Path) -> Path:
    """The file for a model of this name. Raises ModelError if the name is taken or cannot be a file's."""
    if name != Path(name).name or not name.strip() or name.startswith("."):
        raise ModelError(f"'{name}' cannot be a model's name: give the name of a file, without folder, with --name")
    path = folder / f"{name}.onnx"
    if precision_of(path) != "fp32":
        raise ModelError(f"'{name}' ends like a variant's name: give one without _{precision_of(path)} with --name")
    taken = path if path.exists() else path.with_suffix(".json")
    if not taken.exists():
        try:
            taken = find_model(name)
        except ModelError:
            return path
        if not taken.with_suffix(".json").exists():  # the file that is imported, in this folder
            return path
    elsewhere = ", or a folder with --output" if taken.parent.resolve() == folder.resolve() else ""
    raise ModelError(f"the name '{name}' is taken by {taken}: give another one with --name{elsewhere}")


def _input(found: Input, wanted: Wanted, name: str) -> Input:
    """The network's input, with the layout that the user says. Raises ModelError if the two do not fit."""
    own = f"{found.layout}_{found.dtype}"
    layout, _, dtype = (wanted.input or own).partition("_")
    if dtype != found.dtype or not found.fits(layout):
        raise ModelError(f"{name} takes {own}, not {wanted.input}: leave --input out")
    return replace(found, layout=layout)


def _preprocessing(given: Input, wanted: Wanted, original: Original) -> Preprocessing:
    """Size, mean and standard deviation: the user's, else the network's own. Raises ModelError without a size."""
    own, name = original.preprocessing, original.origin
    rows, columns = given.size
    width, height = wanted.size or (columns or (own and own.width), rows or (own and own.height))
    if not width or not height:
        raise ModelError(f"{name} takes images of any size: fix one with --size, such as --size 320 or --size 640x480")
    if rows not in (None, height) or columns not in (None, width):
        raise ModelError(
            f"{name} takes images of {columns or 'any'} x {rows or 'any'} pixels, not {width} x {height}: leave --size "
            "out, or export the network again with that size"
        )
    if given.dtype == "uint8":
        if wanted.mean or wanted.std:
            raise ModelError(f"{name} takes bytes, so it subtracts its own mean: leave --mean and --std out")
        return Preprocessing(height, width, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    default = own or IMAGENET
    mean = _times_255(wanted.mean) if wanted.mean else default.mean
    return Preprocessing(height, width, mean, _times_255(wanted.std) if wanted.std else default.std)


def _times_255(numbers: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (255 * number for number in numbers)
    return red, green, blue


def trial_images(size: Preprocessing, count: int = _TRIAL_IMAGES) -> np.ndarray:
    """(B, height, width, 3) uint8: random patches of colour with noise, so that no two look alike, from dark to bright.

    A traced network may have taken a branch that only bright images take.
    """
    import cv2

    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (count, _PATCHES, _PATCHES, 3)).astype(np.float32)
    smooth = np.stack([cv2.resize(patch, (size.width, size.height)) for patch in patches])
    smooth *= np.linspace(_DARKEST, 1, count, dtype=np.float32)[:, None, None, None]
    return np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def _expected(
    original: Original, given: Input, size: Preprocessing, images: np.ndarray, wanted: Wanted
) -> tuple[Description, Outputs]:
    """What the original says of images, and which outputs of it. Raises ModelError if they cannot be a model's."""
    found: list[Arrays] = []
    for image in images:
        pixels = image if given.dtype == "uint8" else ((image - np.array(size.mean)) / size.std).astype(np.float32)
        ordered = pixels.transpose(2, 0, 1) if given.layout == "nchw" else pixels
        try:
            found.append(original.run(np.ascontiguousarray(ordered[None])))
        except ModelError:
            raise
        except Exception as error:  # the runtimes' errors have no common base class
            raise ModelError(
                f"{original.origin} cannot be run on an image of {size.width} x {size.height} pixels: {brief(error)}"
            ) from error
    name, depth_name = _choose(found[0], wanted, original.origin)
    _check_repeats(original, np.ascontiguousarray(ordered[None]), found[-1], name)
    depth = _metres(found, depth_name) if depth_name else None
    return Description(_vectors(found, name), depth), Outputs(
        name, found[0][name].ndim, depth_name, found[0][depth_name].ndim if depth_name else 3
    )


def _check_repeats(original: Original, image: np.ndarray, before: Arrays, name: str) -> None:
    """Raises ModelError if the original gives another descriptor of the same image: then nothing can agree with it."""
    values, again = before[name], original.run(image)[name]
    if values.shape == again.shape and not np.allclose(values, again, rtol=1e-2, atol=1e-4, equal_nan=True):
        raise ModelError(
            f"{original.origin} gives other numbers for the same image each time: export it in evaluation mode, "
            "without dropout and other random numbers"
        )


def _choose(outputs: Arrays, wanted: Wanted, name: str) -> tuple[str, str]:
    """The outputs that are descriptor and depth. Raises ModelError if they cannot be told."""
    for asked in filter(None, (wanted.descriptor, wanted.depth)):
        if asked not in outputs:
            raise ModelError(f"{name} has no output '{asked}'; {nearest_name(asked, list(outputs))}")
    left = [wanted.descriptor] if wanted.descriptor else [output for output in outputs if output != wanted.depth]
    if len(left) != 1:
        shapes = ", ".join(f"{output} {outputs[output].shape}" for output in left) or "for depth alone"
        raise ModelError(f"{name} has the outputs {shapes}: say which one is the descriptor with --descriptor NAME")
    return left[0], wanted.depth


def _vectors(found: Sequence[Arrays], name: str) -> np.ndarray:
    """(B, D) of unit length, from the descriptors of one image each. Raises ModelError if they are no descriptors."""
    first = found[0][name]
    if first.dtype.kind != "f":
        raise ModelError(
            f"the output '{name}' is {first.dtype}: cast it to float32 in the network, or choose another one with "
            "--descriptor"
        )
    if first.ndim < 2 or first.shape[0] != 1 or max(first.shape) != first.size:
        remedy = "keep the batch dimension" if first.ndim < 2 else "pool the features"
        raise ModelError(
            f"the output '{name}' of one image has the shape {first.shape}, and not (1, D): choose another one with "
            f"--descriptor, or {remedy} in the network"
        )
    if not 2 <= first.size <= LARGEST_DIMENSION:
        raise ModelError(
            f"the output '{name}' has {first.size} dimensions, a map takes 2 to {LARGEST_DIMENSION}: project it in "
            "the network, for instance by PCA"
        )
    vectors = np.concatenate([outputs[name].reshape(1, -1) for outputs in found]).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise ModelError(f"the output '{name}' is not finite, or all zero: check --mean, --std and the weights")
    vectors /= lengths
    if np.ptp(vectors, axis=0).max() < _CONSTANT:
        raise ModelError(f"the output '{name}' is the same for every image: check --mean, --std and the weights")
    return vectors


def _metres(found: Sequence[Arrays], name: str) -> np.ndarray:
    """(B, h, w) from the depths of one image each. Raises ModelError if they have another shape."""
    metres = np.concatenate([outputs[name] for outputs in found])
    flat = metres[:, 0] if metres.ndim == 4 and metres.shape[1] == 1 else metres
    if flat.ndim != 3 or len(flat) != len(found) or flat.dtype.kind != "f" or not (flat >= 0).all():
        raise ModelError(
            f"the output '{name}' of one image is {metres.dtype} of shape {found[0][name].shape}, not metres of shape "
            "(1, h, w): leave --depth out"
        )
    return flat.astype(np.float32)


def _compare(path: Path, images: np.ndarray, expected: Description) -> Parity:
    """The model compared with its original, one image at a time and as a batch. Raises ModelError if they disagree."""
    describer = OnnxDescriber(path, threads=len(images) + 1)  # more than images: the graph gets these together
    singles = [describer.describe(image[None]) for image in images]
    depths = [single.depth for single in singles if single.depth is not None]
    alone = Description(np.concatenate([s.descriptors for s in singles]), np.concatenate(depths) if depths else None)
    Parity.of(alone, expected).check()
    try:
        together = describer.describe(images)
    except ModelError as error:
        raise ModelError(ONE_AT_A_TIME) from error
    parity = Parity.of(together, expected)
    try:
        parity.check()
    except ModelError as error:
        raise ModelError(
            "images of one batch change each other's descriptors: export the network in evaluation mode, with a free "
            "batch size"
        ) from error
    return parity
