"""The backend on ONNX Runtime, on the CPU or with CUDA."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.errors import MissingDependencyError, ModelError, brief
from vpr_ros.inference.describer import GPU_BATCHES, Description, Manifest, check_description
from vpr_ros.inference.vocabulary import LEARNT_FROM, Parts, Vocabulary, fitting_inputs, own_vocabulary

PROVIDERS = {"CUDAExecutionProvider": "CUDA", "CPUExecutionProvider": "CPU"}  # best first
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
        self._path, self._threads = path, threads or os.cpu_count() or 1
        self._session = open_session(path, threads)
        outputs = [output.name for output in self._session.get_outputs()]
        if "descriptor" not in outputs or self.manifest.depth != ("depth" in outputs):
            raise ModelError(f"{path} has outputs {', '.join(outputs)}, unlike its manifest: export the model again")
        self._outputs = [name for name in outputs if name in ("descriptor", "depth")]
        self._input = self._session.get_inputs()[0].name
        self._vocabulary_inputs: dict[str, np.ndarray] = {}
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
            found = self._run_apart(names, images) if apart else self._run_on(self._session, names, images)
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelError(f"the model {self.manifest.name} cannot be run: {brief(error)}") from error
        return dict(zip(names, found, strict=True))

    def _run_apart(self, names: list[str], images: np.ndarray) -> list[np.ndarray]:
        """Each image in one thread."""
        session, threads = self._apart
        each = threads.map(lambda image: self._run_on(session, names, image[None]), images)
        return [np.concatenate(parts) for parts in zip(*each, strict=True)]

    def _run_on(self, session: Any, names: list[str], images: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = session.run(names, {self._input: images, **self._vocabulary_inputs})
        return found

    @cached_property
    def _apart(self) -> tuple[Any, ThreadPoolExecutor]:
        """A session that runs in the thread that calls it, and threads to call it."""
        session = self._session if self._threads == 1 else open_session(self._path, 1)
        return session, ThreadPoolExecutor(self._threads, "describe")


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
