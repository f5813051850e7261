"""TensorRT without a GPU: engines are built for real, files are checked for real, and what runs engines is run on
stand-ins for CUDA and the engine, since the real ones refuse to start without a card.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.errors import MissingDependencyError, ModelError
from vpr_ros.inference import tensorrt
from vpr_ros.inference.describer import DEFAULT_MODEL, Manifest, fingerprint_file, open_describer
from vpr_ros.inference.engine_file import Fingerprint, load_engine, save_engine
from vpr_ros.inference.engine_runner import Cuda, EngineRunner

SHIPPED = Path(__file__).resolve().parents[2] / "models" / f"{DEFAULT_MODEL}.onnx"
FINGERPRINT = Fingerprint("a" * 64, "tensorrt 10.3.0", "Orin, compute capability 8.7", "fp16")

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None or not SHIPPED.is_file(),
    reason="builds the shipped model's engine: needs tensorrt_rtx (pip install tensorrt-rtx-cu13) and models/",
)


def gpu_works() -> bool:
    try:
        return bool(Cuda().gpu())
    except MissingDependencyError:
        return False


def write_model(path: Path, content: bytes = b"model", **fields: Any) -> Path:
    """A file that passes for a model as long as nobody runs it."""
    path.write_bytes(content)
    Manifest(path.stem, fingerprint_file(path), 8, True, **fields).save(path)
    return path


# The file


def test_engine_file_keeps_plan_and_fingerprint(tmp_path: Path) -> None:
    """Plans hold any bytes, newlines too; and nothing but the file may stay behind."""
    plan = bytes(range(256)) * 3
    save_engine(tmp_path / "new" / "m.engine", FINGERPRINT, plan)
    assert load_engine(tmp_path / "new" / "m.engine") == (FINGERPRINT, plan)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.engine"]


@pytest.mark.parametrize("content", [b"", b"another tool's plan", b"vpr_ros engine 1\n{}\nplan", b"vpr_ros"])
def test_other_files_are_no_engines(tmp_path: Path, content: bytes) -> None:
    """A plan without a fingerprint, such as trtexec's, could be of any model."""
    (tmp_path / "m.engine").write_bytes(content)
    with pytest.raises(ModelError, match="no engine file of vpr_ros"):
        load_engine(tmp_path / "m.engine")
    with pytest.raises(ModelError, match="no engine file"):
        load_engine(tmp_path / "none.engine")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("onnx", "b" * 64, "ONNX file is aaa"),
        ("tensorrt", "tensorrt 10.8.0", "TensorRT is tensorrt 10.3.0, not tensorrt 10.8.0"),
        ("gpu", "H200, compute capability 9.0", "GPU is Orin"),
        ("precision", "fp32", "precision is fp16, not fp32"),
    ],
)
def test_engine_of_another_kind_is_refused_or_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """An engine of another model, TensorRT, GPU or precision must never run: TensorRT itself only checks some."""
    wanted = replace(FINGERPRINT, **{name: value})
    save_engine(tmp_path / "m.engine", FINGERPRINT, b"plan")
    assert tensorrt.given_engine(tmp_path / "m.engine", FINGERPRINT) == b"plan"
    with pytest.raises(ModelError, match=words):
        tensorrt.given_engine(tmp_path / "m.engine", wanted)

    monkeypatch.setattr(tensorrt, "build_engine", lambda trt, path: b"built")
    module = SimpleNamespace(__name__="tensorrt")
    shutil.copy(tmp_path / "m.engine", tmp_path / "m-tensorrt.engine")
    with caplog.at_level(logging.INFO):
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", FINGERPRINT, tmp_path) == b"plan" and not caplog.text
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", wanted, tmp_path) == b"built"
        assert words in caplog.text
    assert load_engine(tmp_path / "m-tensorrt.engine") == (wanted, b"built")


def test_broken_cache_is_rebuilt_and_read_only_one_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot must start with a full or read-only disk and with a cache file cut short by a power failure."""
    monkeypatch.setattr(tensorrt, "build_engine", lambda trt, path: b"built")
    module = SimpleNamespace(__name__="tensorrt")
    (tmp_path / "m-tensorrt.engine").write_bytes(b"vpr_ros eng")
    assert tensorrt.cached_engine(module, tmp_path / "m.onnx", FINGERPRINT, tmp_path) == b"built"
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert tensorrt.cached_engine(module, tmp_path / "m.onnx", FINGERPRINT, tmp_path / "file" / "in") == b"built"
    assert "cannot be kept" in caplog.text


# The choice


def test_half_precision_comes_only_from_a_variant_of_this_very_model(tmp_path: Path) -> None:
    """A variant left over from an older training would give descriptors the map does not know."""
    model = write_model(tmp_path / "m.onnx")
    manifest = Manifest.load(model)
    with pytest.raises(ModelError, match=r"no m_fp16\.onnx made from m\.onnx"):
        tensorrt.choose_variant(model, manifest, "fp16")
    half = write_model(tmp_path / "m_fp16.onnx", b"half", training={"made_from": "0" * 64})
    assert tensorrt.choose_variant(model, manifest, "auto") == model
    write_model(half, b"half", training={"made_from": manifest.fingerprint})
    assert tensorrt.choose_variant(model, manifest, "auto") == half
    assert tensorrt.choose_variant(model, manifest, "fp16") == half
    assert tensorrt.choose_variant(model, manifest, "fp32") == model
    assert tensorrt.choose_variant(half, Manifest.load(half), "auto") == half
    for path, precision, words in ((half, "fp32", "is fp16, not fp32"), (model, "fp8", "unknown precision")):
        with pytest.raises(ModelError, match=words):
            tensorrt.choose_variant(path, manifest, precision)


def test_missing_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each missing part has its own remedy, and a TensorRT too old for typed networks counts as none."""
    old = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0))
    monkeypatch.setattr(tensorrt.importlib, "import_module", lambda name: old)
    with pytest.raises(MissingDependencyError, match=r"vpr_ros\[gpu\]"):
        tensorrt.import_tensorrt()


@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped model is not in models/")
@pytest.mark.skipif(gpu_works(), reason="there is a GPU")
def test_auto_says_why_not_tensorrt(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Without a GPU, or without TensorRT, "auto" goes on with ONNX Runtime, and the log names both."""
    with caplog.at_level(logging.INFO, "vpr_ros"):
        assert open_describer(SHIPPED, threads=1).backend.startswith("onnx")
    assert "not on TensorRT: the tensorrt backend needs" in caplog.text and "runs on onnx" in caplog.text
    with pytest.raises(MissingDependencyError, match="the tensorrt backend needs"):
        open_describer(SHIPPED, "tensorrt")
    engine = tmp_path / "m.engine"
    engine.touch()
    with pytest.raises(MissingDependencyError):  # never silently another model
        open_describer(engine)
    with pytest.raises(ModelError, match="engine for TensorRT"):
        open_describer(engine, "onnx")


# The build


@needs_rtx
def test_shipped_model_builds_without_a_gpu(tmp_path: Path) -> None:
    """What `vpr export --tensorrt` does on a machine without a card: the shipped graph must suit TensorRT entirely."""
    trt = tensorrt.import_tensorrt(("tensorrt_rtx",))
    path = tmp_path / "m.engine"
    made_for = tensorrt.fingerprint(trt, SHIPPED, "")
    save_engine(path, made_for, tensorrt.build_engine(trt, SHIPPED))
    assert made_for.onnx == json.loads(SHIPPED.with_suffix(".json").read_text())["fingerprint"]
    assert made_for.gpu == tensorrt.RTX_GPUS and made_for.precision == "fp32" and trt.__version__ in made_for.tensorrt
    plan = tensorrt.given_engine(path, tensorrt.fingerprint(trt, SHIPPED, "RTX 4090, compute capability 8.9"))
    assert len(plan) > SHIPPED.stat().st_size  # the weights are inside
    if not gpu_works():
        with pytest.raises(ModelError, match="cannot load the engine"):
            EngineRunner(trt, None, plan)
        model = shutil.copy(SHIPPED, tmp_path / "copy.onnx")
        assert tensorrt.export_engine(Path(model)) == tmp_path / "copy.engine"
        assert load_engine(tmp_path / "copy.engine")[0] == made_for


@needs_rtx
def test_half_precision_builds_and_mixed_types_are_refused(tmp_path: Path) -> None:
    """Strongly typed networks take fp16 files as they are; a conversion that forgot a cast gets one sentence."""
    onnx = pytest.importorskip("onnx")
    trt = tensorrt.import_tensorrt(("tensorrt_rtx",))
    types, helper = onnx.TensorProto, onnx.helper

    def write(cast: int) -> Path:
        mean = helper.make_tensor("mean", types.FLOAT16, (), [127.5])
        nodes = [
            helper.make_node("Cast", ["image"], ["typed"], to=cast),
            helper.make_node("Sub", ["typed", "mean"], ["centred"]),
            helper.make_node("Cast", ["centred"], ["descriptor"], to=types.FLOAT),
        ]
        image = helper.make_tensor_value_info("image", types.UINT8, ["batch", 8, 8, 3])
        descriptor = helper.make_tensor_value_info("descriptor", types.FLOAT, ["batch", 8, 8, 3])
        graph = helper.make_graph(nodes, "m", [image], [descriptor], [mean])
        path = tmp_path / "m_fp16.onnx"
        path.write_bytes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
        )
        return path

    assert tensorrt.build_engine(trt, write(types.FLOAT16))
    with pytest.raises(ModelError, match=r"cannot read m_fp16\.onnx"):
        tensorrt.build_engine(trt, write(types.FLOAT))


# The run


@needs_rtx
def test_everything_the_runner_calls_exists() -> None:
    """The stand-ins below must not make up an interface: TensorRT's and CUDA's own modules have each of these names."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    trt = tensorrt.import_tensorrt(("tensorrt_rtx",))
    used = {
        trt: "Runtime TensorIOMode nptype",
        trt.Runtime: "deserialize_cuda_engine",
        trt.ICudaEngine: "create_execution_context create_runtime_config num_io_tensors get_tensor_name "
        "get_tensor_mode get_tensor_dtype get_tensor_shape get_tensor_profile_shape",
        trt.IExecutionContext: "set_optimization_profile_async set_tensor_address set_input_shape execute_async_v3 "
        "is_stream_capturable",
        trt.IRuntimeConfig: "set_execution_context_allocation_strategy dynamic_shapes_kernel_specialization_strategy "
        "create_runtime_cache set_runtime_cache",
        trt.IRuntimeCache: "serialize deserialize",
        trt.ExecutionContextAllocationStrategy: "ON_PROFILE_CHANGE",
        trt.DynamicShapesKernelSpecializationStrategy: "EAGER",
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
            raise ModelError(f"the GPU gave up: {name} says so")
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
        view("descriptor", np.float16, (shape[0], 3))[:] = images.mean((1, 2))
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


def small_tensorrt(cuda: Memory, rtx: bool = False) -> Any:
    """A TensorRT module with one engine: (B, 2, 2, 3) uint8 -> descriptor (B, 3) float16, depth (B, 2, 2) float32."""
    tensors = {"image": ("IN", np.uint8, (2, 2, 3)), "descriptor": ("OUT", np.float16, (3,)),
               "depth": ("OUT", np.float32, (2, 2))}  # fmt: skip
    engine = SimpleNamespace(
        num_io_tensors=3,
        create_execution_context=lambda config: Context(cuda),
        create_runtime_config=Config,
        get_tensor_name=lambda i: list(tensors)[i],
        get_tensor_mode=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
        get_tensor_shape=lambda name: (-1, *tensors[name][2]),
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
    with pytest.raises(ModelError, match="cudaMalloc says"):
        EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    cuda = Memory()
    run = EngineRunner(small_tensorrt(cuda), cuda, b"plan")
    cuda.fails = "cudaMemcpyAsync"
    with pytest.raises(ModelError, match="cudaMemcpyAsync says"):
        run(np.zeros((2, 2, 2, 3), np.uint8))
