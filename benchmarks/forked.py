"""Runs work in a forked process that may crash, and returns its output or the cause of death."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vpr_ros.base.errors import VprError


@dataclass(frozen=True)
class Outcome:
    """Result of a job.

    kind: "read", "sentence", or a fault: "exception", "died", "hung".
    text: output, error message or cause of death.
    """

    kind: str
    text: str = ""

    @property
    def fault(self) -> bool:
        """Whether no input may cause this outcome."""
        return self.kind not in ("read", "sentence")


def run(job: Callable[[], str | None], limit_s: float = 60.0, memory_bytes: int = 0) -> Outcome:
    """Run a job in a fork. The parent must have no threads. memory_bytes: limit of its allocations, 0 for none."""
    reader, writer = os.pipe()
    child = start(lambda: os.write(writer, "\t".join(_result(job)).encode()[:60000]), memory_bytes)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], limit_s)
    if not ready:
        os.kill(child, signal.SIGKILL)
    output = b""
    while block := os.read(reader, 65536):
        output += block
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if not ready:
        return Outcome("hung", f"after {limit_s:g} s")
    if os.WIFSIGNALED(status):
        return Outcome("died", signal.Signals(os.WTERMSIG(status)).name)
    kind, _, text = output.decode(errors="replace").partition("\t")
    return Outcome(kind or "died", text or f"exit status {os.waitstatus_to_exitcode(status)}")


def start(work: Callable[[], object], memory_bytes: int = 0) -> int:
    """Start work in a fork and return its process id. The fork exits after the work, with 1 after an exception."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if memory_bytes:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, -1))
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(child: int, limit_s: float) -> bool:
    """Kill a fork after limit_s. Returns whether it had ended before. Raises RuntimeError if it failed."""
    end = time.monotonic() + limit_s
    while (left := end - time.monotonic()) > 0:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"work failed by itself, status {os.waitstatus_to_exitcode(status)}: see above")
            return True
        time.sleep(min(left, 0.002))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _result(job: Callable[[], str | None]) -> tuple[str, str]:
    try:
        return "read", job() or ""
    except VprError as error:
        return ("sentence", str(error)) if "\n" not in str(error).strip() else ("exception", f"two lines: {error}")
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "vpr_ros" in f.filename]
        at = ours[-1] if ours else frame
        return "exception", f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"
