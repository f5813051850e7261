"""What is imported is declared, what is declared is tested, and what is missing is said: newcomers install by these."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import defaultdict
from pathlib import Path

import processes
import pytest

import vpr_ros
from vpr_ros.base.errors import REMEDIES
from vpr_ros.ros import typed_messages

ROOT = processes.ROOT
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
# What a distribution's module is called, where it is not called as the distribution.
MODULES = {
    "opencv-python-headless": "cv2",
    "faiss-cpu": "faiss",
    "pyyaml": "yaml",
    "pytorch-metric-learning": "pytorch_metric_learning",
    "cuda-python": "cuda",
}
# Of rosdep's index, which `rosdep resolve KEY` asks; those of August 2026 for Ubuntu 24.04.
KNOWN_KEYS = {
    f"python3-{name}"
    for name in ("numpy", "opencv", "yaml", "typer", "rich", "matplotlib", "jinja2", "pyproj", "faiss")
} | {"python3-onnxruntime-pip", "python3-rosbags-pip"}
WITHOUT_KEY = {"plotly"}
ROSDEP = {"cv2": "opencv"}  # python3-... of a module, where it is not its name
# Adapters for these are imported only when a user, who then has them, asks for one.
CONSUMERS = {"cslam_common_interfaces", "pose_graph_tools_msgs", "rtabmap_msgs"}


def requirements(text: str) -> dict[str, str]:
    """Distribution -> lowest version allowed, empty for any."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, least = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[[\w,]+\])?(?:[>=]=([0-9.]+))?(?:;.*)?", line).groups()  # type: ignore[union-attr]
        found[name] = least or ""
    return found


REQUIRED = requirements(SETUP["options"]["install_requires"])
EXTRAS = {name: requirements(text) for name, text in SETUP["options.extras_require"].items()}


def imported() -> dict[str, set[str]]:
    """Module outside the standard library and this package -> files of the package that import it, anywhere."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted([*(ROOT / "vpr_ros").rglob("*.py"), *(ROOT / "vpr_lab").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                found[name.split(".")[0]].add(str(path.relative_to(ROOT)))
    return {
        name: files for name, files in found.items() if name not in {*sys.stdlib_module_names, "vpr_ros", "vpr_lab"}
    }


def test_everything_imported_is_declared() -> None:
    """What comes along with something else today is gone with its next version, as scipy would have been."""
    always = {MODULES.get(name, name) for name in REQUIRED}
    ros = {depend.text for depend in MANIFEST.findall("exec_depend")}
    for module, files in imported().items():
        if module in always | ros | CONSUMERS:
            continue
        assert module in REMEDIES, f"{module} ({', '.join(sorted(files))}) is declared nowhere"
        extras = re.findall(r"vpr_ros\[([\w,-]+)\]", REMEDIES[module])
        named = {MODULES.get(name, name) for extra in ",".join(extras).split(",") for name in EXTRAS[extra]}
        assert module in {*named, "rclpy", "vpr_msgs"}, f"{module} is not in the extra {extras} of setup.cfg"


def test_a_robot_gets_everything_from_rosdep() -> None:
    """rosdep reads package.xml alone: what setup.cfg requires of everybody has a key there, or is named beside it.

    A key that rosdep does not know ends the installation of the whole workspace.
    """
    keys = {depend.text for depend in MANIFEST.findall("exec_depend")}
    assert {key for key in keys if key and key.startswith("python3-")} <= KNOWN_KEYS
    for name in REQUIRED:
        if name in WITHOUT_KEY:
            for page in ("docs/guides/robot.md", "Dockerfile", ".github/workflows/ci.yaml"):
                assert f"pip install {name}" in (ROOT / page).read_text(encoding="utf-8"), page
            continue
        module = ROSDEP.get(MODULES.get(name, name), MODULES.get(name, name))
        assert {f"python3-{module}", f"python3-{module}-pip"} & keys, name
    assert "rviz2" not in keys, "a headless robot needs no window"


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    """A lower bound that nobody runs is a guess: tools/oldest.txt pins each one, for make test-oldest."""
    pinned: dict[str, list[str]] = defaultdict(list)
    for line in (ROOT / "tools" / "oldest.txt").read_text().splitlines():
        if name := re.match(r"([a-z0-9-]+)==([0-9.]+)", line):
            pinned[name[1]].append(name[2])
    for name, least in REQUIRED.items():
        assert any((version + ".").startswith(least + ".") for version in pinned[name]), (
            f"{name}>={least} is not tested"
        )


def test_the_command_runs_as_a_module() -> None:
    """Where pip's folder of commands is not in PATH, and for a Python that is named exactly."""
    done = subprocess.run(
        [sys.executable, "-m", "vpr_ros.cli", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == vpr_ros.__version__, done.stderr


def test_found_is_what_can_be_imported() -> None:
    """find_spec finds any folder of that name, and a clone has folders called vpr_msgs and launch."""
    for folder in ("vpr_ros", "vpr_lab", "tools", "test", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert path == Path(__file__) or "find_spec(" not in text, path
    for text in map(Path.read_text, (ROOT / "test").rglob("*.py")):
        assert not re.search(r'importorskip\(\s*"\w+_(msgs|interfaces)', text), "a message package: needs.module_with"


def test_a_folder_of_the_name_is_no_message_package(tmp_path: Path) -> None:
    """`python -m vpr_ros.ros.node` in a clone puts the source folder vpr_msgs on the path: no messages, no failure."""
    (tmp_path / "vpr_msgs" / "msg").mkdir(parents=True)
    code = "import sys; from vpr_ros.ros import typed_messages; sys.exit(typed_messages.available())"
    built = typed_messages.available()
    environment = processes.environment()
    for blind in (False, True):  # -S: without site-packages, where built messages may lie
        command = [sys.executable, *(["-S"] if blind else []), "-c", code]
        only = {"PYTHONPATH": str(ROOT)} if blind else {}  # a sourced workspace has messages, too
        status = subprocess.run(command, cwd=tmp_path, env={**environment, **only}, check=False).returncode
        assert status == (0 if blind else built)


def vpr(*arguments: str, cwd: Path, without: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own. without: a module that cannot be imported there."""
    block = f"sys.modules[{without!r}] = None; " if without else ""
    code = f"import sys; {block}from vpr_ros.cli.main import main; main()"
    environment = processes.environment(**variables)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env=environment, text=True, encoding="utf-8", capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("without", "extra", "command"),
    [
        ("torch", "train", "lab run gem"),
        ("torch", "train", "lab export run -o gem.onnx"),
        ("torch", "train", "lab data -o lab"),
        ("torch", "train", "train run recipe.yaml cache"),
        ("torch", "train", "train cache drive -o cache"),
        ("torch", "train", "train grid recipe.yaml cache"),
        ("torch", "train", "train head recipe.yaml last.pt cache"),
        ("torch", "train", "train towns -o cache"),
    ],
)
def test_a_missing_part_is_one_sentence(tmp_path: Path, without: str, extra: str, command: str) -> None:
    """Whatever command needs it, before any work: what is missing and how to get it."""
    done = vpr(*command.split(), cwd=tmp_path, without=without)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"vpr: this needs {without}, which is not installed here")
    assert said.endswith(f"pip install 'vpr_ros[{extra}]'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["demo", "demo slam"])
def test_the_demo_says_that_it_needs_a_clone(tmp_path: Path, command: str) -> None:
    """Its drives are no part of a wheel."""
    done = vpr(*command.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert "clone of the repository" in done.stderr and "--bags" in done.stderr
    assert not list(tmp_path.iterdir())


def test_any_locale_takes_any_name(tmp_path: Path, painted_drive: type) -> None:
    """A drive and a map in folders with umlauts and spaces, under a locale that is not UTF-8: as under any other."""
    from vpr_ros.drives.bag import write_bag

    folder = tmp_path / "Straße über Köln"
    folder.mkdir()
    write_bag(folder / "früh.mcap", painted_drive(name="früh", length=30.0))
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in (
        ["map", "build", f"{folder.name}/früh.mcap", "-o", f"{folder.name}/größe.vprmap"],
        ["evaluate", f"{folder.name}/größe.vprmap", f"{folder.name}/früh.mcap", "-o", f"{folder.name}/läufe"],
    ):
        done = vpr(*command, cwd=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
    assert (folder / "läufe" / "report.html").is_file()


def test_a_wheel_holds_what_a_robot_needs(tmp_path: Path) -> None:
    """Out of the clone and without it: model, recipes and launch files come along, tests and drives do not."""
    pytest.importorskip("setuptools", minversion="70.1", reason="an older setuptools builds no wheel by itself")
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("setup.py", "setup.cfg", "package.xml", "vpr_ros", "config", "launch", "models", "resource"):
        (clone / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*pip, str(clone)], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {re.sub(r"^vpr_ros-[^/]*\.data/data/", "", name) for name in zipfile.ZipFile(wheel).namelist()}
    wanted = ("package.xml", "models/demixvpr_mobilenet.onnx", "launch/localize.launch.py", "config/localizer.yaml")
    assert {f"share/vpr_ros/{name}" for name in wanted} | {"vpr_ros/cli/main.py", "vpr_ros/py.typed"} <= names
    assert not [name for name in names if name.startswith(("test/", "demo/"))]


@pytest.mark.parametrize("flags", [["-I"], ["-E"], ["-X", "utf8=0"]])
def test_a_latin_locale_and_flags_that_ignore_the_environment_end(tmp_path: Path, flags: list[str]) -> None:
    """The program started itself again in UTF-8 mode, for ever, where that mode had no effect."""
    code = "from vpr_ros.base import utf8; utf8.ensure(); print('on')"
    env = {**processes.environment(), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.stdout == "on\n", done.stderr


def test_nothing_is_sent_or_written_without_being_asked(tmp_path: Path) -> None:
    """ONNX Runtime 1.30 and later writes a device's number into the user's cache, and sends it with other facts."""
    env = {**processes.environment(), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    code = (
        "from vpr_ros import open_describer; import numpy as np; d = open_describer('demixvpr_lite0', 'onnx', 1); "
        "p = d.manifest.preprocessing; d.describe(np.zeros((1, p.height, p.width, 3), np.uint8))"
    )
    subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, timeout=60, check=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
