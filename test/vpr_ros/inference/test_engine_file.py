"""Engine files: a plan and what it fits cannot part, and nothing else passes for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpr_ros.base.errors import ModelError
from vpr_ros.inference.engine_file import Fingerprint, load_engine, save_engine


def test_engine_file_keeps_plan_and_fingerprint(tmp_path: Path, fingerprint: Fingerprint) -> None:
    """Plans hold any bytes, newlines too; and nothing but the file may stay behind."""
    plan = bytes(range(256)) * 3
    save_engine(tmp_path / "new" / "m.engine", fingerprint, plan)
    assert load_engine(tmp_path / "new" / "m.engine") == (fingerprint, plan)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.engine"]


@pytest.mark.parametrize("content", [b"", b"another tool's plan", b"vpr_ros engine 1\n{}\nplan", b"vpr_ros"])
def test_other_files_are_no_engines(tmp_path: Path, content: bytes) -> None:
    """A plan without a fingerprint, such as trtexec's, could be of any model."""
    (tmp_path / "m.engine").write_bytes(content)
    with pytest.raises(ModelError, match="damaged or not an engine file of vpr_ros"):
        load_engine(tmp_path / "m.engine")
    with pytest.raises(ModelError, match="no engine file"):
        load_engine(tmp_path / "none.engine")
