"""Choosing adapters by name: nothing is imported that was not asked for, and mistakes are told in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packages import install

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from vpr_ros.base.errors import ConfigError, MissingDependencyError
from vpr_ros.ros.adapters import open as adapters


def test_unknown_name_is_answered_with_the_nearest(bench: Any) -> None:
    """A typing error in a launch file has to name itself."""
    with pytest.raises(ConfigError, match="did you mean 'lio_sam'"):
        bench.open("lio-sam")


def test_adapter_for_the_wrong_mode_is_refused(bench: Any) -> None:
    """It would stay silent for ever."""
    with pytest.raises(ConfigError, match="mode:=map"):
        bench.open("hydra", mode="localize")


def test_missing_messages_are_named(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of an import, but the package to install."""
    for module in [name for name in sys.modules if "pose_graph_tools_msgs" in name or name.endswith("adapters.hydra")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pose_graph_tools_msgs", None)
    with pytest.raises(MissingDependencyError, match="package pose_graph_tools_msgs"):
        bench.open("hydra")


def test_only_what_is_chosen_is_imported() -> None:
    """A robot with LIO-SAM has no messages of RTAB-Map."""
    code = (
        "import sys; import vpr_ros.ros.adapters.open as adapters; adapters._adapter_class('lio_sam');"
        "assert not [m for m in sys.modules if m.startswith(('rtabmap_msgs', 'pose_graph_tools_msgs', 'cslam'))]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_choice_is_an_adapter() -> None:
    """The list and the files must not drift apart: each has what the modes it serves call."""
    for name, choice in adapters.CHOICES.items():
        try:
            made = adapters._adapter_class(name)
        except MissingDependencyError as error:
            pytest.skip(f"{error} (python tools/build_messages.py)")
        calls = {"localize": ["publish"], "map": ["keyframe", "closed"]}
        for method in [call for mode in choice.modes for call in calls[mode]] + ["forget", "close"]:
            assert callable(getattr(made, method)), f"{name}.{method}"


BROKEN = """
class Broken:
    def __init__(self, node, params):
        if params.map_frame == "bad":
            raise KeyError("frame")

    def publish(self, answer):
        raise ZeroDivisionError("answer")

    def forget(self):
        pass

    def close(self):
        pass
"""


def test_faults_of_an_adapter_from_outside_are_logged_by_its_name(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An "internal error" of the node hid which package to repair, and its other outputs were not published."""
    install(tmp_path / "broken_pkg", monkeypatch, "vpr.adapters", {"broken": "broken_fmt:Broken"}, broken_fmt=BROKEN)
    with pytest.raises(ConfigError, match=r"adapter 'broken' cannot be opened: KeyError: 'frame', .*broken_fmt"):
        bench.open("broken", mode="localize", map_frame="bad")
    bench.open("broken", mode="localize").publish(None)
    said = capfd.readouterr()
    log = said.out + said.err
    assert "adapters: broken" in log and "adapter 'broken' failed in publish" in log and "ZeroDivisionError" in log


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("def forget", "def forgett"), "has no method forget, which mode localize calls"),
        (("def publish", "def send"), "has no method publish"),
        (("class Broken:", "class Broken:\n    modes = ('lokalize',)"), "has modes .*; give some of localize, map"),
    ],
)
def test_an_adapter_that_lacks_a_method_is_refused(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], says: str
) -> None:
    """It was opened without a word, and each image was an internal error."""
    source, module = BROKEN.replace(*change), f"lacking_{abs(hash(change))}"
    install(tmp_path / "lacking_pkg", monkeypatch, "vpr.adapters", {"lacking": f"{module}:Broken"}, **{module: source})
    with pytest.raises(ConfigError, match=f"adapter 'lacking' {says}"):
        bench.open("lacking", mode="localize")
