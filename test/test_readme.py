"""A README that lies costs every newcomer an hour: its commands and its Python are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import processes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.S | re.M)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=processes.environment(COLUMNS="120"), text=True, capture_output=True, check=False
    )


def test_make_commands_exist():
    """Every `make` verb of the README is one."""
    verbs = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert {"demo", "test"} <= verbs
    for verb in verbs:
        assert run(["make", "-n", verb], ROOT).returncode == 0


def test_vpr_commands_run_in_order(tmp_path, painted_drive):
    """The walk through one's own data, as written, on four tiny drives."""
    from vpr_ros.drives.bag import write_bag

    for name, start in (("drive_a", 0.0), ("drive_b.mcap", 1.0), ("drive_c.mcap", 2.0), ("live.mcap", 2.5)):
        write_bag(tmp_path / name, painted_drive(name=name.split(".")[0], start=start, noise=5.0))
    commands = [command for command in COMMANDS if command.startswith("vpr ")]
    assert len(commands) >= 5
    for command in commands:
        done = run([sys.executable, "-m", "vpr_ros.cli.main", *shlex.split(command)[1:]], tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in ("results.json", "report.html", "localizer.yaml"):
        assert (tmp_path / "runs" / "c" / name).is_file()
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Hypothesis(") > 12


def test_the_quickstart_says_the_same():
    """Its commands and its Python are those that were run here."""
    page = (ROOT / "docs" / "quickstart.md").read_text()
    for command in COMMANDS:
        if command.startswith("vpr "):
            assert command in page
    lines = [line.split("  #")[0] for line in re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)[0].splitlines()]
    assert "\n".join(lines) in page
