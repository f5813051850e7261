"""An engine on disk: one line of JSON that says what it fits, then what TensorRT serialised.

The fingerprint lies in the same file, so that the two cannot part, and so does the plan's SHA-256: TensorRT may
crash on a damaged plan. Nothing here needs TensorRT.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vpr_ros.base.errors import ModelError
from vpr_ros.base.files import written_whole

MAGIC = b"vpr_ros engine 2\n"


@dataclass(frozen=True)
class Fingerprint:
    """What an engine fits, and nothing else. All are compared as text.

    onnx: SHA-256 of the ONNX file it was built from, hex. tensorrt: flavour and version, as in "tensorrt_rtx 1.7.1".
    gpu: name and compute capability, or the family where an engine fits many. precision: fp32, fp16 or int8.
    """

    onnx: str
    tensorrt: str
    gpu: str
    precision: str

    def difference(self, wanted: Fingerprint) -> str:
        """Why an engine of this fingerprint does not do where another is wanted, for people; empty where it does."""
        words = {"onnx": "ONNX file", "tensorrt": "TensorRT", "gpu": "GPU", "precision": "precision"}
        return ", ".join(
            f"its {word} is {getattr(self, name)[:40]}, not {getattr(wanted, name)[:40]}"
            for name, word in words.items()
            if getattr(self, name) != getattr(wanted, name)
        )


def save_engine(path: Path, fingerprint: Fingerprint, plan: bytes) -> None:
    """Write an engine with its fingerprint, whole or not at all. Raises OSError."""
    with written_whole(path) as part:
        header = {**asdict(fingerprint), "plan": hashlib.sha256(plan).hexdigest()}
        part.write_bytes(MAGIC + json.dumps(header).encode() + b"\n" + plan)


def load_engine(path: Path) -> tuple[Fingerprint, bytes]:
    """What ``save_engine`` wrote. Raises ModelError where it is missing or something else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"no engine file {path}") from error
    header, newline, plan = data[len(MAGIC) :].partition(b"\n")
    try:
        if not (data.startswith(MAGIC) and newline and plan):
            raise ValueError("not an engine of this package")
        told = json.loads(header)
        if told.pop("plan") != hashlib.sha256(plan).hexdigest():
            raise ValueError("the plan is damaged")
        return Fingerprint(**told), plan
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is no engine file of vpr_ros, or damaged: build it with `vpr export --tensorrt`"
        ) from error
