"""TensorRT or TensorRT for RTX, whichever Python module is installed: the same code builds and runs the engine.

An engine fits one model, one TensorRT version, one GPU and one precision; it is built once, which takes a while, and
cached under a name made of these four.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.errors import MissingDependencyError, ModelError
from vpr_ros.inference.describer import Description, Manifest

MODULES = ("tensorrt", "tensorrt_rtx")
MAX_BATCH = 32


def import_tensorrt() -> Any:
    """The first TensorRT module there is. Raises MissingDependencyError where there is none."""
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise MissingDependencyError(
        "the tensorrt backend needs TensorRT: pip install tensorrt (JetPack brings its own), or use the onnx backend"
    )


def engine_name(fingerprint: str, version: str, gpu: str, precision: str) -> str:
    """File name of a cached engine: anything that makes an engine unfit changes it."""
    key = hashlib.sha256("\n".join((fingerprint, version, gpu, precision)).encode()).hexdigest()
    return f"{fingerprint[:12]}-{key[:16]}.engine"


def build_engine(onnx_path: Path, manifest: Manifest, precision: str = "fp16") -> bytes:
    """ONNX file -> serialized engine for batches of 1 to MAX_BATCH. precision: fp32 or fp16.

    Raises ModelError where TensorRT cannot parse or build the model.
    """
    trt = import_tensorrt()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    flags = 0
    for name in (
        "STRONGLY_TYPED",
        "EXPLICIT_BATCH",
    ):  # what the versions call "the network says its own types and batch"
        if name == "STRONGLY_TYPED" and precision == "fp16":
            continue
        if hasattr(trt.NetworkDefinitionCreationFlag, name):
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_path.read_bytes()):
        raise ModelError(f"TensorRT cannot read {onnx_path.name}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    if precision == "fp16" and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    size = (manifest.preprocessing.height, manifest.preprocessing.width, 3)
    profile.set_shape(network.get_input(0).name, (1, *size), (1, *size), (MAX_BATCH, *size))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"TensorRT cannot build an engine from {onnx_path.name}: its log above says why")
    return bytes(engine)


class TensorRTDescriber:
    """A Describer on TensorRT; builds the engine at first, then loads it from the cache.

    cache: folder of engines, default $XDG_CACHE_HOME/vpr_ros. Raises MissingDependencyError without TensorRT,
    CUDA's Python module or a GPU; ModelError where the model does not build.
    """

    def __init__(self, path: Path, precision: str = "fp16", cache: Path | None = None) -> None:
        trt = import_tensorrt()
        try:
            from cuda.bindings import runtime as cuda
        except ImportError as error:
            raise MissingDependencyError(
                "the tensorrt backend needs CUDA for Python: pip install cuda-python"
            ) from error
        self._cuda = cuda
        self.manifest = Manifest.load(path)
        properties = self._check(cuda.cudaGetDeviceProperties(0))
        cache = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vpr_ros"
        cached = cache / engine_name(self.manifest.fingerprint, trt.__version__, properties.name.decode(), precision)
        if not cached.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            part = cached.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(build_engine(path, self.manifest, precision))
            part.replace(cached)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(cached.read_bytes())
        if self._engine is None:
            raise ModelError(f"TensorRT cannot load the cached engine {cached}: delete it and try again")
        self._context = self._engine.create_execution_context()
        self._stream = self._check(cuda.cudaStreamCreate())
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._input = next(n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT)
        self._buffers = {name: self._allocate(name) for name in names}
        self.backend = f"{trt.__name__} {precision}"

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8, B up to MAX_BATCH -> Description."""
        images = np.ascontiguousarray(images, np.uint8)
        self._context.set_input_shape(self._input, images.shape)
        self._copy(self._buffers[self._input], images, to_device=True)
        self._context.execute_async_v3(self._stream)
        outputs = {}
        for name, buffer in self._buffers.items():
            if name != self._input:
                outputs[name] = np.empty(tuple(self._context.get_tensor_shape(name)), np.float32)
                self._copy(buffer, outputs[name], to_device=False)
        self._check(self._cuda.cudaStreamSynchronize(self._stream))
        return Description(outputs["descriptor"], outputs.get("depth"))

    def _allocate(self, name: str) -> int:
        """Memory on the device for a tensor at the largest batch."""
        shape = (MAX_BATCH, *tuple(self._engine.get_tensor_shape(name))[1:])
        address = self._check(self._cuda.cudaMalloc(int(np.prod(shape)) * 4))
        self._context.set_tensor_address(name, address)
        return int(address)

    def _copy(self, address: int, array: np.ndarray, to_device: bool) -> None:
        kind = self._cuda.cudaMemcpyKind
        if to_device:
            arguments = (address, array.ctypes.data, array.nbytes, kind.cudaMemcpyHostToDevice)
        else:
            arguments = (array.ctypes.data, address, array.nbytes, kind.cudaMemcpyDeviceToHost)
        self._check(self._cuda.cudaMemcpyAsync(*arguments, self._stream))

    def _check(self, result: tuple[Any, ...]) -> Any:
        """The value of a CUDA call. Raises MissingDependencyError with CUDA's own words where it failed."""
        error, *values = result
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise MissingDependencyError(f"the tensorrt backend needs a working NVIDIA GPU: CUDA says {error.name}")
        return values[0] if values else None
