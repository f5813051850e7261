"""Running an engine, from host memory to host memory. Only the returned arrays are allocated for each call.

Single images and batches each have a lane: a profile, buffers and a stream. The lane for single images is one CUDA
graph, copies included, if TensorRT can be captured.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import MissingDependencyError, ModelError
from vpr_ros.base.files import written_whole

logger = logging.getLogger(__name__)


class Cuda:
    """CUDA's runtime calls, with errors raised. Raises MissingDependencyError without CUDA for Python."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                "the tensorrt backend needs CUDA for Python: pip install 'cuda-python>=12.6'"
            ) from error
        self.runtime: Any = runtime

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The value that a call returns, or None. Raises ModelError with CUDA's error if it fails."""
        error, *values = getattr(self.runtime, name)(*arguments)
        if error != self.runtime.cudaError_t.cudaSuccess:
            raise ModelError(f"CUDA call {name} failed: {error.name}")
        return values[0] if values else None

    def gpu(self) -> str:
        """Name and compute capability of the first GPU. Raises MissingDependencyError without a working one."""
        try:
            found = self("cudaGetDeviceProperties", 0)
        except ModelError as error:
            raise MissingDependencyError(f"the tensorrt backend needs a working NVIDIA GPU: {error}") from error
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return f"{name.rstrip(chr(0))}, compute capability {found.major}.{found.minor}"


class EngineRunner:
    """Callable: (B, height, width, 3) uint8 -> outputs by name, (B, ...) float32. A large B takes several runs.

    plan: the engine as TensorRT serialised it.
    kernels: file for the kernels that TensorRT for RTX compiles at the first start.
    Raises ModelError if the engine cannot be loaded or run.
    """

    def __init__(self, trt: Any, cuda: Any, plan: bytes, kernels: Path | None = None) -> None:
        self._trt, self._cuda = trt, cuda
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ModelError("TensorRT cannot load the engine on this GPU: see its log above")
        self._kernels = _Kernels(trt, self._engine, kernels)
        self._single = _Lane(trt, cuda, self._engine, 0, self._kernels.config())
        self._single.capture()
        self._batches: _Lane | None = None  # made on first use: a robot that only localises needs none
        self._given: dict[str, np.ndarray] = {}
        self._kernels.keep()

    def give(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the inputs beside the image, by name; they stay on the GPU until they are set again."""
        self._given = dict(arrays)
        for lane in (self._single, self._batches):
            if lane is not None:
                lane.give(self._given)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if len(images) == 1:
            return self._single.run(images)
        if self._batches is None:
            self._batches = _Lane(self._trt, self._cuda, self._engine, 1, self._kernels.config())
            self._batches.give(self._given)
        lane = self._batches
        parts = [lane.run(images[i : i + lane.batch]) for i in range(0, len(images), lane.batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in lane.outputs}


class _Lane:
    """One profile of an engine: a context, a stream, and pinned and device buffers for its largest batch.

    config: argument for the context, a runtime configuration or a memory strategy.
    """

    def __init__(self, trt: Any, cuda: Any, engine: Any, profile: int, config: Any) -> None:
        self._cuda = cuda
        self._release: list[tuple[str, Any]] = []
        self._context = engine.create_execution_context(config)
        if self._context is None:
            raise ModelError("TensorRT cannot prepare the engine, often because GPU memory is full: see its log above")
        self._stream = cuda("cudaStreamCreate")
        self._release.append(("cudaStreamDestroy", self._stream))
        self._require(self._context.set_optimization_profile_async(profile, int(self._stream)), "choose its profile")
        cuda("cudaStreamSynchronize", self._stream)
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._input = inputs[0]  # the images; others stay as they are given
        self.outputs = [name for name in names if name not in inputs]
        self.batch = int(engine.get_tensor_profile_shape(self._input, profile)[2][0])
        self._host: dict[str, np.ndarray] = {}
        self._device: dict[str, int] = {}
        for name in names:
            shape = tuple(engine.get_tensor_shape(name))
            if name not in inputs[1:]:
                shape = (self.batch, *shape[1:])
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            size = int(np.prod(shape)) * dtype.itemsize
            pinned = int(cuda("cudaMallocHost", size))
            self._release.append(("cudaFreeHost", pinned))
            self._device[name] = int(cuda("cudaMalloc", size))
            self._release.append(("cudaFree", self._device[name]))
            self._host[name] = np.frombuffer((ctypes.c_char * size).from_address(pinned), dtype).reshape(shape)
            self._require(self._context.set_tensor_address(name, self._device[name]), "take its buffers")
        self._count = 0
        self._graph: Any = None

    def __del__(self) -> None:
        self._context = None
        for name, handle in reversed(self._release):
            getattr(self._cuda.runtime, name)(handle)

    def give(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See ``EngineRunner.give``."""
        for name, array in arrays.items():
            self._host[name][:] = array
            self._copy(name, len(array), to_device=True)
        self._cuda("cudaStreamSynchronize", self._stream)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """At most ``batch`` images -> outputs by name, in new arrays."""
        count = len(images)
        self._host[self._input][:count] = images
        if self._graph is None:
            self._enqueue(count)
        else:
            self._cuda("cudaGraphLaunch", self._graph, self._stream)
        self._cuda("cudaStreamSynchronize", self._stream)
        return {name: self._host[name][:count].astype(np.float32) for name in self.outputs}

    def capture(self) -> None:
        """Capture a run of the largest batch as a CUDA graph, the only size that can run then; if it fails, none."""
        self._enqueue(self.batch)  # TensorRT needs one run before the capture
        self._cuda("cudaStreamSynchronize", self._stream)
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self._stream)):
            return
        try:
            mode = self._cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            self._cuda("cudaStreamBeginCapture", self._stream, mode)
            try:
                self._enqueue(self.batch)
            finally:
                captured = self._cuda("cudaStreamEndCapture", self._stream)
            graph = self._cuda("cudaGraphInstantiate", captured, 0)
            self._release.append(("cudaGraphExecDestroy", graph))
            self._cuda("cudaGraphDestroy", captured)
            self._cuda("cudaGraphLaunch", graph, self._stream)
            self._cuda("cudaStreamSynchronize", self._stream)
            self._graph = graph
        except ModelError as error:
            self._cuda.runtime.cudaGetLastError()  # clear it
            logger.debug("no CUDA graph: %s", error)

    def _enqueue(self, count: int) -> None:
        if count != self._count:
            shape = (count, *self._host[self._input].shape[1:])
            self._require(self._context.set_input_shape(self._input, shape), f"take {count} images")
            self._count = count
        self._copy(self._input, count, to_device=True)
        self._require(self._context.execute_async_v3(int(self._stream)), "run")
        for name in self.outputs:
            self._copy(name, count, to_device=False)

    def _copy(self, name: str, count: int, to_device: bool) -> None:
        host, device, kinds = self._host[name][:count], self._device[name], self._cuda.runtime.cudaMemcpyKind
        if to_device:
            target, source, kind = device, host.ctypes.data, kinds.cudaMemcpyHostToDevice
        else:
            target, source, kind = host.ctypes.data, device, kinds.cudaMemcpyDeviceToHost
        self._cuda("cudaMemcpyAsync", target, source, host.nbytes, kind, self._stream)

    @staticmethod
    def _require(done: bool, what: str) -> None:
        if not done:
            raise ModelError(f"the TensorRT engine cannot {what}: see its log above")


class _Kernels:
    """The configuration of contexts, and the kernels that TensorRT for RTX compiles, kept between starts.

    Engines of TensorRT itself contain their kernels. Contexts take the working memory of their own profile, not of the
    largest. RTX compiles kernels for each shape before its first run, so that none change under a captured graph.
    """

    def __init__(self, trt: Any, engine: Any, path: Path | None) -> None:
        self._trt, self._engine, self._path = trt, engine, path
        self._cache: Any = None

    def config(self) -> Any:
        """For ``create_execution_context``; a new one each time."""
        memory = self._trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if not hasattr(self._trt, "DynamicShapesKernelSpecializationStrategy"):
            return memory
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(memory)
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            if self._path is not None and self._path.is_file():
                self._cache.deserialize(self._path.read_bytes())  # TensorRT skips kernels that do not fit
        config.set_runtime_cache(self._cache)
        return config

    def keep(self) -> None:
        """Write the compiled kernels, unless the file has them already."""
        if self._cache is None or self._path is None:
            return
        compiled = bytes(self._cache.serialize())
        try:
            if not self._path.is_file() or self._path.stat().st_size != len(compiled):
                with written_whole(self._path) as part:
                    part.write_bytes(compiled)
        except OSError as error:
            logger.warning("compiled kernels cannot be saved for the next start: %s", error)
