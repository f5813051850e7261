"""Tests that the node always ends cleanly if SIGINT or SIGTERM comes at a random moment, once or twice.

    python benchmarks/interrupts.py MAP [--count 50] [--seconds 5] [--launch FILE] [--json FILE]

Clean means: exit status 0, no traceback in the output, no child process left, all within two seconds of the first
signal. With --launch (in a ROS workspace) `ros2 launch` is started and interrupted as by Ctrl-C. Then only the nodes
count: output and status of launch itself, which a second signal can disturb, are only printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LIMIT_S = 2.0
_NODE = re.compile(r"^\[(localize|pose_graph)-\d+\]|process has died")  # how launch prints a node's output
_BAD_WORDS = ("Traceback", "Error:", "Fatal", "Segmentation", "process has died", "terminate called")


def command(options: argparse.Namespace) -> list[str]:
    """The command to start."""
    if options.launch:
        given = f"map:={options.map}" if options.launch == "localize" else f"session:={options.session}"
        return ["ros2", "launch", "vpr_ros", f"{options.launch}.launch.py", given, "odom:=/odom", "base_frame:=''"]
    module = [sys.executable, "-m", "vpr_ros.ros.node"]
    return [*module, "--ros-args", "-p", f"map:={options.map}", "-p", "base_frame:=''"]


def once(options: argparse.Namespace, chance: random.Random) -> dict[str, object]:
    """Start and interrupt once."""
    after_s, number, twice = (
        chance.uniform(options.least, options.seconds),
        chance.choice((2, 15)),
        chance.random() < 0.5,
    )
    process = subprocess.Popen(
        command(options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    time.sleep(after_s)
    sent = time.monotonic()
    for gap_s in (0.0, chance.uniform(0.0, 0.5))[: 1 + twice]:
        time.sleep(gap_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT) if options.launch else process.send_signal(number)
    try:
        output = process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0] + "\nError: still there after 20 s"
    took_s = time.monotonic() - sent
    lines = output.splitlines()
    if options.launch:
        lines = [line for line in lines if _NODE.search(line)]
    bad = [line for line in lines if any(word in line for word in _BAD_WORDS)]
    left = subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True, text=True, check=False).stdout.split()
    clean = (options.launch or process.returncode == 0) and not bad and not left and took_s < _LIMIT_S
    found = {"after_s": round(after_s, 3), "signal": number, "twice": twice, "status": process.returncode}
    return {**found, "took_s": round(took_s, 2), "clean": clean, "bad": bad[:3], "left": left}


def main() -> int:
    """Print the result of each trial; exit 1 if one was not clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--least", type=float, default=0.0, help="minimum seconds after the start")
    parser.add_argument("--seconds", type=float, default=5.0, help="maximum seconds after the start")
    parser.add_argument("--launch", choices=("localize", "map", "slam_demo"), help="launch file for ros2 launch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.map = options.map.resolve()
    options.session = Path(tempfile.mkdtemp(), "day.vprmap")
    chance, ends = random.Random(options.seed), []
    for _ in range(options.count):
        ends.append(once(options, chance))
        if not ends[-1]["clean"]:
            print("not clean:", ends[-1], flush=True)
    clean = sum(bool(end["clean"]) for end in ends)
    slowest = max(float(str(end["took_s"])) for end in ends)
    print(f"{clean} of {len(ends)} clean; slowest end {slowest:.2f} s (limit {_LIMIT_S:g} s)")
    if options.json:
        options.json.write_text(json.dumps({"clean": clean, "count": len(ends), "ends": ends}, indent=2) + "\n")
    return 0 if clean == len(ends) else 1


if __name__ == "__main__":
    sys.exit(main())
