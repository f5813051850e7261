"""The backend on TensorRT or TensorRT for RTX, whichever Python module is installed.

Networks are strongly typed, the only kind that TensorRT 11 and TensorRT for RTX have: an engine computes in the types
of its ONNX file. So fp16 comes from ``NAME_fp16.onnx``, not from a flag. Float32 layers may use TF32.

TensorRT builds for the GPU of this machine. TensorRT for RTX builds anywhere, for GeForce and RTX cards from Ampere on
(compute capability 8.0, 8.6, 8.9, 12.0 and later), and compiles its kernels on the machine that runs it. An H100 and a
Jetson Orin need TensorRT itself.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import MissingDependencyError, ModelError
from vpr_ros.inference.describer import Description, Manifest, fingerprint_file
from vpr_ros.inference.engine_file import Fingerprint, load_engine, save_engine
from vpr_ros.inference.engine_runner import Cuda, EngineRunner
from vpr_ros.inference.onnx import OnnxDescriber
from vpr_ros.inference.precision import precision_of, variant_path
from vpr_ros.inference.vocabulary import LEARNT_FROM, Parts, Vocabulary, fitting_inputs, own_vocabulary

MODULES = ("tensorrt", "tensorrt_rtx")  # best first
PRECISIONS = ("auto", "fp32", "fp16")
MAX_BATCH = 32
_SAY_EVERY_S = 0.5  # time between progress messages of a build
RTX_GPUS = "any from Ampere on"

logger = logging.getLogger(__name__)


def import_tensorrt(modules: tuple[str, ...] = MODULES) -> Any:
    """The first of these modules that is installed. Raises MissingDependencyError if none is, or only an old one."""
    for name in modules:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):  # OSError: a wheel without its libraries
            continue
        if hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
            return module
    raise MissingDependencyError(
        f"the tensorrt backend needs {' 10 or later or '.join(modules)}: pip install 'vpr_ros[gpu]' "
        "(JetPack brings its own TensorRT), or use the onnx backend"
    )


def choose_variant(onnx_path: Path, manifest: Manifest, precision: str) -> Path:
    """The file to build from: the model itself, or ``NAME_fp16.onnx`` in its folder.

    precision: "auto" takes fp16 if that file exists and its manifest has this model's fingerprint as its origin, so
    that a variant of an older training is never used. Raises ModelError if there is no file of the wanted precision.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"unknown precision '{precision}': choose one of {', '.join(PRECISIONS)}")
    own = precision_of(onnx_path)
    if precision == own or (precision == "auto" and own != "fp32"):
        return onnx_path
    if own != "fp32":
        raise ModelError(f"{onnx_path.name} is {own}, not {precision}: give the model itself, not a variant")
    half = variant_path(onnx_path, "fp16")
    described = half.with_suffix(".json")
    if half.is_file() and described.is_file() and manifest.fingerprint in described.read_text():
        Manifest.load(half)
        return half
    if precision == "fp16":
        raise ModelError(f"no {half.name} made from {onnx_path.name} in its folder: write it with `vpr export --fp16`")
    return onnx_path


def fingerprint(trt: Any, onnx_path: Path, gpu: str) -> Fingerprint:
    """The fingerprint of an engine built here from this file. gpu: see ``Cuda.gpu``."""
    fits = RTX_GPUS if trt.__name__ == "tensorrt_rtx" else gpu
    return Fingerprint(fingerprint_file(onnx_path), f"{trt.__name__} {trt.__version__}", fits, precision_of(onnx_path))


def build_engine(trt: Any, onnx_path: Path) -> bytes:
    """ONNX file -> serialised engine with two profiles: one image, and batches of 1 to MAX_BATCH.

    Raises ModelError if TensorRT cannot parse or build the model, MissingDependencyError without a needed GPU.
    """
    log = trt.Logger(trt.Logger.ERROR)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # the bindings' error for a constructor that returned nothing
        raise MissingDependencyError("TensorRT needs a working NVIDIA GPU to build engines") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_path.read_bytes()):
        reason = str(parser.get_error(0).desc()).splitlines()[0]
        raise ModelError(f"TensorRT cannot read {onnx_path.name}: {reason}")
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # RTX needs it for CUDA graphs
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if hasattr(trt, "IProgressMonitor"):  # from TensorRT 10 on
        config.progress_monitor = _progress_monitor(trt)
    for output in [network.get_output(i) for i in range(network.num_outputs)]:
        if output.name in LEARNT_FROM:
            network.unmark_output(output)
    image = network.get_input(0)
    size = tuple(image.shape)[1:]
    for batches in ((1, 1, 1), (1, MAX_BATCH // 2, MAX_BATCH)):  # least, usual, most
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, *((batch, *size) for batch in batches))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"TensorRT cannot build an engine from {onnx_path.name}: see its log above")
    return bytes(engine)


def _progress_monitor(trt: Any) -> Any:
    """Logs at DEBUG how far a build is, phase by phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """TensorRT calls these from threads of its own."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._said_s = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if time.monotonic() - self._said_s > _SAY_EVERY_S:
                self._said_s = time.monotonic()
                logger.debug("building the engine: %s, %d of %d", phase_name, step + 1, self._steps.get(phase_name, 0))
            return True  # continue the build

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def export_engine(onnx_path: Path) -> Path:
    """Build an engine file next to its ONNX file, and return its path.

    Without a GPU, only TensorRT for RTX can. Raises MissingDependencyError, ModelError.
    """
    try:
        gpu = Cuda().gpu()
    except MissingDependencyError:
        gpu = ""
    trt = import_tensorrt(MODULES if gpu else MODULES[1:])
    engine_path = onnx_path.with_suffix(".engine")
    save_engine(engine_path, fingerprint(trt, onnx_path, gpu), build_engine(trt, onnx_path))
    return engine_path


def given_engine(engine_path: Path, wanted: Fingerprint) -> bytes:
    """The engine in a file. Raises ModelError if it does not fit here."""
    found, plan = load_engine(engine_path)
    if difference := found.difference(wanted):
        raise ModelError(f"{engine_path} does not fit: {difference}; build it here with `vpr export --tensorrt`")
    return plan


def cached_engine(trt: Any, onnx_path: Path, wanted: Fingerprint, cache: Path) -> bytes:
    """The engine of a model from the cache folder, built if there is none that fits."""
    path = cache / f"{onnx_path.stem}-{trt.__name__}.engine"
    reason = "it does not exist yet"
    if path.is_file():
        try:
            found, plan = load_engine(path)
            reason = found.difference(wanted)
        except ModelError:
            reason = "it cannot be read"
        if not reason:
            return plan
    logger.info("building the engine %s, which can take minutes: %s", path, reason)
    plan = build_engine(trt, onnx_path)
    try:
        save_engine(path, wanted, plan)
    except OSError as error:
        logger.warning("the engine cannot be saved for the next start: %s", error)
    return plan


class TensorRTDescriber:
    """A Describer on TensorRT.

    path: an ONNX file, whose engine is cached, or an engine file with its ONNX file in the same folder.
    threads: not used.
    precision: see ``choose_variant``; an engine file has its own.
    cache: folder of engines, default $XDG_CACHE_HOME/vpr_ros.
    Raises MissingDependencyError without TensorRT, CUDA's Python module or a GPU; ModelError if the model cannot be
    built or the engine file does not fit.
    """

    def __init__(self, path: Path, threads: int = 0, precision: str = "auto", cache: Path | None = None) -> None:
        trt, cuda = import_tensorrt(), Cuda()
        gpu = cuda.gpu()
        cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vpr_ros"
        if path.suffix == ".engine":
            onnx_path = path.with_suffix(".onnx")
            self.manifest = Manifest.load(onnx_path)
            plan = given_engine(path, fingerprint(trt, onnx_path, gpu))
        else:
            self.manifest = Manifest.load(path)
            onnx_path = choose_variant(path, self.manifest, precision)
            plan = cached_engine(trt, onnx_path, fingerprint(trt, onnx_path, gpu), cache)
        self._run = EngineRunner(trt, cuda, plan, cache / f"{onnx_path.stem}.kernels")
        self.backend = f"{trt.__name__} {precision_of(onnx_path)} ({gpu})"
        self.batch_sizes: tuple[int, ...] = (MAX_BATCH,)
        self._learning: OnnxDescriber | None = None
        if self.manifest.vocabulary:
            self.own_vocabulary = own_vocabulary(onnx_path, self.manifest)
            self._onnx_path = onnx_path
            self.vocabulary = self.own_vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary in use. Setting one of other sizes than the model's raises ModelError."""
        return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._run.give(fitting_inputs(vocabulary, self.own_vocabulary, self.manifest))
        self._vocabulary = vocabulary

    def parts(self, images: np.ndarray) -> Parts:
        """See ``VocabularyDescriber``. On ONNX Runtime: an engine has no outputs for this."""
        if self._learning is None:
            self._learning = OnnxDescriber(self._onnx_path)
        self._learning.vocabulary = self.vocabulary
        return self._learning.parts(images)

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 -> Description."""
        outputs = self._run(images)
        return Description(outputs["descriptor"], outputs.get("depth"))
