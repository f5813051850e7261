"""Engine files: one line of JSON with the fingerprint, then the plan that TensorRT serialised.

The fingerprint is in the same file, so that the two cannot get separated. So is the plan's SHA-256, because TensorRT
may crash on a damaged plan. Needs no TensorRT.
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
    """What an engine works with. Compared as text."""

    onnx: str
    """SHA-256 of the ONNX file, hex."""
    tensorrt: str
    """Module and version, such as "tensorrt_rtx 1.7.1"."""
    gpu: str
    """Name and compute capability, or the family if an engine works on many."""
    precision: str
    """fp32, fp16 or int8."""

    def difference(self, wanted: Fingerprint) -> str:
        """How this fingerprint differs from the wanted one, to read; "" if it does not."""
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
    """Read a file of ``save_engine``. Raises ModelError if it is missing, damaged or another file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"no engine file {path}") from error
    header, newline, plan = data[len(MAGIC) :].partition(b"\n")
    try:
        if not (data.startswith(MAGIC) and newline and plan):
            raise ValueError("not an engine of this package")
        fields = json.loads(header)
        if fields.pop("plan") != hashlib.sha256(plan).hexdigest():
            raise ValueError("the plan is damaged")
        return Fingerprint(**fields), plan
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged or not an engine file of vpr_ros: build it with `vpr export --tensorrt`"
        ) from error
