"""What the tests of TensorRT share."""

from __future__ import annotations

from typing import Any

import pytest

from vpr_ros.inference.engine_file import Fingerprint
from vpr_ros.inference.tensorrt import import_tensorrt


@pytest.fixture
def fingerprint() -> Fingerprint:
    return Fingerprint("a" * 64, "tensorrt 10.3.0", "Orin, compute capability 8.7", "fp16")


@pytest.fixture(scope="session")
def rtx() -> Any:
    """TensorRT for RTX, the only one that builds without a GPU."""
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx (pip install tensorrt-rtx-cu13)")
    return import_tensorrt(("tensorrt_rtx",))
