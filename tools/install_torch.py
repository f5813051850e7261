#!/usr/bin/env python3
"""Install the training extra with PyTorch's CPU build into the environment that runs this script.

PyPI's build for Linux brings gigabytes of CUDA. Where pip would take that one, uv is asked for the CPU build instead;
where neither works, training and its tests are done without.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

TORCH = "torch==2.13.0"
WITH_TORCH = ["pytorch-metric-learning>=2.5", "tensorboard>=2.14", "onnx>=1.15"]
FOR_TESTS = ["kornia>=0.8"]  # compared with; it would bring PyTorch with CUDA, were it asked for first


def pip(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run pip in this environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, text=True, check=False, capture_output=quiet)


def pip_would_bring_cuda() -> bool:
    """Whether pip resolves torch to a CUDA build (or to nothing)."""
    asked = pip("install", "--dry-run", "--quiet", "--report", "-", TORCH, quiet=True)
    if asked.returncode != 0:
        return True
    names = {item["metadata"]["name"].lower() for item in json.loads(asked.stdout)["install"]}
    return any(name.startswith(("nvidia", "cuda", "triton")) for name in names)


def install_torch() -> bool:
    """The CPU build, from wherever it can be had."""
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401

        return True
    if not pip_would_bring_cuda():
        return pip("install", TORCH).returncode == 0
    print("pip would take PyTorch with CUDA here; asking uv for the CPU build", flush=True)
    if pip("install", "--quiet", "uv").returncode != 0:
        return False
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--python",
        sys.executable,
        "--torch-backend",
        "cpu",
        TORCH,
    ]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    if not install_torch():
        print("PyTorch's CPU build cannot be had here: training and its tests are done without", file=sys.stderr)
        return 0
    return pip("install", *WITH_TORCH, *FOR_TESTS).returncode


if __name__ == "__main__":
    sys.exit(main())
