"""The backend on ONNX Runtime, on the CPU or with CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import MissingDependencyError, ModelError, brief
from vpr_ros.inference.describer import GPU_BATCHES, Description, Manifest, check_description
from vpr_ros.inference.vocabulary import LEARNT_FROM, Parts, Vocabulary, fitting_inputs, own_vocabulary

PROVIDERS = {"CUDAExecutionProvider": "CUDA", "CPUExecutionProvider": "CPU"}  # best first
FATAL = 4  # of ONNX Runtime's log
_TOGETHER = 32  # images of a batch, at least: at its end, threads wait for the last one


class OnnxDescriber:
    """A Describer on ONNX Runtime; of a model with a vocabulary, a VocabularyDescriber.

    On the CPU, all threads share the operations of one image, and each takes whole images of a batch: that costs them
    less time together, and an image alone more.

    threads: CPU threads; 0: all cores.
    Raises ModelError if the model cannot be loaded or differs from its manifest, MissingDependencyError without ONNX
    Runtime.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self.manifest = Manifest.load(path)
        self._path, self._threads = path, threads or len(os.sched_getaffinity(0))
        self._session = open_session(path, threads)
        outputs = [output.name for output in self._session.get_outputs()]
        if "descriptor" not in outputs or self.manifest.depth != ("depth" in outputs):
            raise ModelError(f"{path} has outputs {', '.join(outputs)}, unlike its manifest: export the model again")
        self._outputs = [name for name in outputs if name in ("descriptor", "depth")]
        self._input = self._session.get_inputs()[0].name
        self._vocabulary_inputs: dict[str, np.ndarray] = {}
        self._workers: tuple[int, Any, ThreadPoolExecutor] | None = None  # of a process
        if self.manifest.vocabulary:
            self.own_vocabulary = own_vocabulary(path, self.manifest)
            self.vocabulary = self.own_vocabulary
        processor = PROVIDERS.get(self._session.get_providers()[0], "CPU")
        self.backend, self._on_cpu = f"onnx ({processor})", processor == "CPU"
        self.batch_sizes = (max(_TOGETHER, self._threads),) if self._on_cpu else GPU_BATCHES

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary in use. Setting one of other sizes than the model's raises ModelError."""
        return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._vocabulary_inputs = fitting_inputs(vocabulary, self.own_vocabulary, self.manifest)
        self._vocabulary = vocabulary

    def describe(self, images: np.ndarray) -> Description:
        """(B, height, width, 3) uint8 -> Description. Raises ModelError if the output is not as the manifest says."""
        outputs = self._run(self._outputs, images)
        description = Description(outputs["descriptor"], outputs.get("depth"))
        check_description(description, self.manifest, len(images))
        return description

    def parts(self, images: np.ndarray) -> Parts:
        """See ``VocabularyDescriber``."""
        outputs = self._run(list(LEARNT_FROM), images)
        return Parts(outputs["tokens"], outputs["raw"])

    def _run(self, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
        apart = self._on_cpu and len(images) >= max(2, self._threads)
        try:
            if apart:
                found = self._run_apart(names, images, self._vocabulary_inputs)
            else:
                found = run_session(self._session, names, {self._input: images, **self._vocabulary_inputs})
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelError(f"the model {self.manifest.name} cannot be run: {brief(error)}") from error
        return dict(zip(names, found, strict=True))

    def _run_apart(self, names: list[str], images: np.ndarray, more: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Each image in one thread. more: inputs beside the images."""
        session, run_all = self._apart

        def run(image: np.ndarray) -> Any:
            return run_session(session, names, {self._input: image[None], **more})

        return [np.concatenate(parts) for parts in zip(*run_all(run, images), strict=True)]

    @property
    def _apart(self) -> tuple[Any, Callable[..., Iterable[Any]]]:
        """A session that runs in the thread that calls it, and a map() over threads that call it."""
        if self._threads == 1:
            return self._session, map
        if self._workers is None or self._workers[0] != os.getpid():  # a forked process has none of the threads
            session = open_session(self._path, 1, gpu=False)
            self._workers = os.getpid(), session, ThreadPoolExecutor(self._threads, "describe")
        return self._workers[1], self._workers[2].map


def open_session(path: Path, threads: int = 0, gpu: bool = True) -> Any:
    """An onnxruntime.InferenceSession, with CUDA if available.

    threads: CPU threads; 0: all cores. gpu: false for the CPU only. Raises ModelError if the file cannot be loaded,
    MissingDependencyError without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("the onnx backend needs ONNX Runtime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Between two images the threads sleep instead of burning the robot's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    usable = onnxruntime.get_available_providers() if gpu else ["CPUExecutionProvider"]
    available = [name for name in PROVIDERS if name in usable]
    try:
        fallback = int(len(available) > 1)  # it prints a message
        return onnxruntime.InferenceSession(str(path), options, providers=available, enable_fallback=fallback)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise ModelError(f"ONNX Runtime cannot load {path}: {brief(error)}") from error


def run_session(session: Any, names: list[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs with these names. What goes wrong is the exception's alone: ONNX Runtime prints it, too."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = FATAL
    found: list[np.ndarray] = session.run(names, inputs, options)
    return found
