"""What runs engines, on stand-ins for CUDA and the engine, since the real ones refuse to start without a card."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import ModelError
from vpr_ros.inference.engine_runner import EngineRunner


def test_everything_the_runner_calls_exists(rtx: Any) -> None:
    """The stand-ins below must not make up an interface: TensorRT's and CUDA's own modules have each of these names."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    used = {
        rtx: "Runtime TensorIOMode nptype",
        rtx.Runtime: "deserialize_cuda_engine",
        rtx.ICudaEngine: "create_execution_context create_runtime_config num_io_tensors get_tensor_name "
        "get_tensor_mode get_tensor_dtype get_tensor_shape get_tensor_profile_shape",
        rtx.IExecutionContext: "set_optimization_profile_async set_tensor_address set_input_shape execute_async_v3 "
        "is_stream_capturable",
        rtx.IRuntimeConfig: "set_execution_context_allocation_strategy dynamic_shapes_kernel_specialization_strategy "
        "create_runtime_cache set_runtime_cache",
        rtx.IRuntimeCache: "serialize deserialize",
        rtx.ExecutionContextAllocationStrategy: "ON_PROFILE_CHANGE",
        rtx.DynamicShapesKernelSpecializationStrategy: "EAGER",
        runtime: "cudaGetDeviceProperties cudaStreamCreate cudaStreamSynchronize cudaStreamDestroy cudaMallocHost "
        "cudaMalloc cudaFreeHost cudaFree cudaMemcpyAsync cudaStreamBeginCapture cudaStreamEndCapture cudaGetLastError "
        "cudaGraphInstantiate cudaGraphLaunch cudaGraphDestroy cudaGraphExecDestroy",
        runtime.cudaError_t: "cudaSuccess",
        runtime.cudaMemcpyKind: "cudaMemcpyHostToDevice cudaMemcpyDeviceToHost",
        runtime.cudaStreamCaptureMode: "cudaStreamCaptureModeThreadLocal",
    }
    assert not [(owner, name) for owner, names in used.items() for name in names.split() if not hasattr(owner, name)]


class Memory:
    """CUDA on host memory: it copies and keeps books, records what is captured, and fails where told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls, self.live = fails, [], {}
        self.recording: list[Callable[[], Any]] | None = None
        kinds = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")
        mode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        self.runtime = SimpleNamespace(
            cudaMemcpyKind=kinds,
            cudaStreamCaptureMode=mode,
            cudaGetLastError=lambda: None,
            cudaFree=self.free,
            cudaFreeHost=self.free,
            cudaStreamDestroy=lambda stream: None,
            cudaGraphExecDestroy=lambda graph: None,
        )

    def free(self, address: int) -> None:
        del self.live[address]

    def __call__(self, name: str, *arguments: Any) -> Any:
        self.calls.append(name)
        if name == self.fails:
            self.recording = None
            raise ModelError(f"CUDA call {name} failed")
        return getattr(self, name)(*arguments)

    def do(self, work: Callable[[], Any]) -> None:
        work() if self.recording is None else self.recording.append(work)

    def cudaStreamCreate(self) -> int:
        return 7

    def cudaStreamSynchronize(self, stream: int) -> None:
        assert self.recording is None, "CUDA forbids to wait while it captures"

    def cudaMalloc(self, size: int) -> int:
        assert self.recording is None
        memory = ctypes.create_string_buffer(size)
        self.live[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    cudaMallocHost = cudaMalloc

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: str, stream: int) -> None:
        device = target if kind == "in" else source
        assert size <= ctypes.sizeof(self.live[device])
        self.do(lambda: ctypes.memmove(target, source, size))

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> None:
        self.recording = []

    def cudaStreamEndCapture(self, stream: int) -> list[Callable[[], Any]]:
        recorded, self.recording = self.recording, None
        assert recorded
        return recorded

    def cudaGraphInstantiate(self, graph: list[Callable[[], Any]], flags: int) -> list[Callable[[], Any]]:
        return list(graph)

    def cudaGraphDestroy(self, graph: list[Callable[[], Any]]) -> None:
        graph.clear()

    def cudaGraphLaunch(self, graph: list[Callable[[], Any]], stream: int) -> None:
        for work in graph:
            work()


class Context:
    """An execution context that describes an image by its mean colour, in half precision."""

    def __init__(self, cuda: Memory) -> None:
        self.cuda, self.addresses, self.shape = cuda, {}, (0,)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.most = (1, 4)[profile]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= self.most

    def execute_async_v3(self, stream: int) -> bool:
        shape = self.shape
        self.cuda.do(lambda: self.compute(shape))
        return True

    def compute(self, shape: tuple[int, ...]) -> None:
        def view(name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            return np.frombuffer((ctypes.c_char * size).from_address(self.addresses[name]), dtype).reshape(shape)

        images = view("image", np.uint8, shape)
        words = view("words", np.float32, (2, 3)).sum(0) if "words" in self.addresses else 0
        view("descriptor", np.float16, (shape[0], 3))[:] = images.mean((1, 2)) + words
        view("depth", np.float32, (shape[0], 2, 2))[:] = images[..., 0]


class Config:
    """A runtime configuration of TensorRT for RTX, whose compiled kernels are a few bytes."""

    def __init__(self) -> None:
        self.kernels = b""

    def create_runtime_cache(self) -> Config:
        return self

    def set_runtime_cache(self, cache: Config) -> None:
        assert isinstance(cache, Config)

    def set_execution_context_allocation_strategy(self, strategy: int) -> None:
        assert strategy == 1

    def deserialize(self, kernels: bytes) -> None:
        self.kernels = kernels

    def serialize(self) -> bytes:
        return self.kernels or b"compiled"


def small_tensorrt(cuda: Memory, rtx: bool = False, words: bool = False) -> Any:
    """A TensorRT module with one engine: (B, 2, 2, 3) uint8 -> descriptor (B, 3) float16, depth (B, 2, 2) float32.

    words: it has a second input (2, 3) float32 of fixed size, which every descriptor is moved by.
    """
    tensors = {"image": ("IN", np.uint8, (2, 2, 3)), "descriptor": ("OUT", np.float16, (3,)),
               "depth": ("OUT", np.float32, (2, 2))}  # fmt: skip
    if words:
        tensors["words"] = ("IN", np.float32, (2, 3))
    engine = SimpleNamespace(
        num_io_tensors=len(tensors),
        create_execution_context=lambda config: Context(cuda),
        create_runtime_config=Config,
        get_tensor_name=lambda i: list(tensors)[i],
        get_tensor_mode=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
        get_tensor_shape=lambda name: tensors[name][2] if name == "words" else (-1, *tensors[name][2]),
        get_tensor_profile_shape=lambda name, profile: [(most, *tensors[name][2]) for most in (1, 1, (1, 4)[profile])],
    )
    module = SimpleNamespace(
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan else None),
        TensorIOMode=SimpleNamespace(INPUT="IN"),
        ExecutionContextAllocationStrategy=SimpleNamespace(ON_PROFILE_CHANGE=1),
        nptype=lambda dtype: dtype,
    )
    if rtx:
        module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER=1)
    return module


@pytest.mark.parametrize("fails", ["", "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_runner_moves_the_right_bytes(fails: str) -> None:
    """Any number of images in any order, with and without a CUDA graph: the same answers, each in memory of its own."""
    cuda = Memory(fails)
    run = EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    images = np.random.default_rng(0).integers(0, 256, (9, 2, 2, 3), np.uint8)
    answers = []
    for first, count in ((0, 1), (0, 9), (3, 1), (5, 3), (8, 1)):
        outputs = run(images[first : first + count])
        answers.append((images[first : first + count], outputs))
    for described, outputs in answers:  # compared last: a later run must not have written into an earlier answer
        assert outputs["descriptor"].dtype == outputs["depth"].dtype == np.float32
        assert np.allclose(outputs["descriptor"], described.mean((1, 2)), atol=0.1)
        assert np.array_equal(outputs["depth"], described[..., 0])
    assert ("cudaGraphLaunch" in cuda.calls) == (not fails)


@pytest.mark.parametrize("fails", ["", "cudaStreamBeginCapture"])
def test_what_is_given_once_stays(fails: str) -> None:
    """A map's vocabulary is copied to the GPU once, for single images and for batches, and replaced when it changes."""
    cuda = Memory(fails)
    run = EngineRunner(small_tensorrt(cuda, words=True), cuda, b"plan")
    images = np.full((3, 2, 2, 3), 10, np.uint8)
    for words in (np.ones((2, 3)), np.arange(6.0).reshape(2, 3)):
        run.give({"words": words})
        copies = cuda.calls.count("cudaMemcpyAsync")
        for count in (1, 3, 1):
            assert np.allclose(run(images[:count])["descriptor"], 10 + words.sum(0), atol=0.1)
        if not fails:  # the second time the lane for batches is there already
            assert cuda.calls.count("cudaMemcpyAsync") - copies <= 4
    del run
    assert not cuda.live


def test_runner_allocates_nothing_per_frame_and_gives_all_back() -> None:
    """Allocation per frame is what makes a robot's latency jump; opening models again must not fill the GPU."""
    cuda = Memory()
    run = EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    run(np.zeros((1, 2, 2, 3), np.uint8))
    assert len(cuda.live) == 6  # batches have none before they are needed
    run(np.zeros((2, 2, 2, 3), np.uint8))
    cuda.calls.clear()
    for count in (1, 3, 1, 2, 9):
        run(np.zeros((count, 2, 2, 3), np.uint8))
    assert set(cuda.calls) == {"cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"}
    run(np.zeros((1, 2, 2, 3), np.uint8))
    assert cuda.calls[-2:] == ["cudaGraphLaunch", "cudaStreamSynchronize"]  # a frame is one launch
    del run
    assert not cuda.live


def test_compiled_kernels_are_kept_for_the_next_start(tmp_path: Path) -> None:
    """TensorRT for RTX compiles for seconds at the first start; the second must find the file, none must need it."""
    path, cuda = tmp_path / "cache" / "m.kernels", Memory()
    EngineRunner(small_tensorrt(cuda), cuda, b"plan", path)
    assert not path.exists()  # TensorRT itself compiles nothing
    for _ in range(2):
        run = EngineRunner(small_tensorrt(cuda, rtx=True), cuda, b"plan", path)
        assert run(np.zeros((3, 2, 2, 3), np.uint8))["descriptor"].shape == (3, 3)
        assert path.read_bytes() == b"compiled" and [other.name for other in path.parent.iterdir()] == [path.name]
    EngineRunner(small_tensorrt(cuda, rtx=True), cuda, b"plan", path / "under a file")


def test_runner_says_what_failed() -> None:
    """Out of memory, or a card that falls off the bus: one sentence with CUDA's own word."""
    with pytest.raises(ModelError, match="cannot load the engine"):
        EngineRunner(small_tensorrt(Memory()), Memory(), b"")
    cuda = Memory("cudaMalloc")
    with pytest.raises(ModelError, match="cudaMalloc failed"):
        EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    cuda = Memory()
    run = EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    cuda.fails = "cudaMemcpyAsync"
    with pytest.raises(ModelError, match="cudaMemcpyAsync failed"):
        run(np.zeros((2, 2, 2, 3), np.uint8))
