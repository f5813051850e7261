"""A headless Chromium, driven through its DevTools pipe: no package and no port are needed for that."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium reads commands from descriptor 3 and writes to 4; high copies first, since either pipe may be one of these.
_START = """import os, sys
pipes = [os.dup2(int(number), 200 + i) for i, number in enumerate(sys.argv[1:3])]
os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])"""
MISSING = "headless Chromium is not installed (Debian: apt install chromium)"


def chromium() -> str | None:
    """The program, if one is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page.

    requests: addresses that it asked for. errors: warnings and errors of its console, exceptions of its scripts.
    """

    def __init__(self, program: str, size: tuple[int, int] = (1400, 1200), wait_s: float = 60.0) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._wait_s, self._number, self._session, self._buffer = wait_s, 0, "", b""
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}"]
        options += [f"--window-size={size[0]},{size[1]}", "about:blank"]
        numbers = [str(for_browser), str(from_browser)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *numbers, program, *options],
            pass_fds=(for_browser, from_browser), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(for_browser), os.close(from_browser)
        targets = self.command("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write), os.close(self._read)
        self._profile.cleanup()

    def open(self, path: Path, ready: str) -> None:
        """Load a file and wait until the expression ``ready`` is true."""
        self.command("Page.navigate", url=path.resolve().as_uri())
        self.wait_for(ready)

    def wait_for(self, expression: str) -> None:
        """Until it is true. Raises TimeoutError with what the page complained of."""
        end = time.monotonic() + self._wait_s
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} is not true; errors of the page: {self.errors}")
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, through JSON; None if it throws."""
        return self.command("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def key(self, name: str, shift: bool = False) -> None:
        """Press and release."""
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name, modifiers=8 if shift else 0)

    def click(self, x: float, y: float) -> None:
        """With the mouse, at pixels of the window."""
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        time.sleep(0.2)  # charts look for the nearest point when the mouse has moved, not when it is pressed
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """The window as PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one and return its result; events that come before it are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise RuntimeError("Chromium has ended")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: str, details: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(details["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in details["args"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.errors.append(details["entry"]["text"])
