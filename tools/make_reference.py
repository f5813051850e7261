#!/usr/bin/env python3
"""Writes what the documentation shows of the code; a test compares the two.

    python tools/make_reference.py

docs/reference/parameters.md comes from vpr_ros.ros.params.table(), command_line.md from the Typer app. A code block
below a comment with the path of a file, <!-- examples/lost_node.py -->, gets that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
_SHOWN = re.compile(r"(<!-- (\S+) -->\n```\w+\n).*?^```", re.S | re.M)
_NOTE = "<!-- Written by tools/make_reference.py: change the code, then run it again. -->"


def parameters() -> str:
    """The page of the node's parameters."""
    from vpr_ros.ros.params import table

    return f"""# Parameters

{_NOTE}

Set them as launch arguments (`--show-args` lists those used most; all others work, too), in a YAML file
(`params_file:=`), or with `--ros-args -p`.
A launch argument beats the file. An unknown name is an error that names the nearest known one; of launch arguments
only in a group, such as `filter.sped:=3`, as others may be a parent launch file's.
`vpr replay` takes all of mode localize with `--params-file` and `--set`.
`vpr evaluate` takes those of the stages `search.` to `hypotheses.` with `--set`.

{table()}
"""


def command_line() -> str:
    """The page of the ``vpr`` command."""
    import typer

    from vpr_ros.cli.main import app

    sections = "\n".join(_sections(typer.main.get_command(app), "vpr"))
    return f"""# Command line

{_NOTE}

`vpr --help` and `vpr COMMAND --help` show the same. In a ROS 2 workspace the command is `ros2 run vpr_ros vpr`.
It exits with 0, with 1 after an error, 2 for a wrong option and 130 after Ctrl-C.

{sections}
## Drive options

What `--drive-option` (`-d`) takes for each drive. A format of another package may have options of its own.

{_drive_options()}
"""


def _drive_options() -> str:
    from dataclasses import fields

    from vpr_ros.drives.options import DriveOptions
    from vpr_ros.ros.params import shown_default

    rows = ["| option | default | unit | meaning |", "| --- | --- | --- | --- |"]
    for field in fields(DriveOptions):
        unit, text = field.metadata["unit"], field.metadata["description"]
        rows.append(f"| `{field.name}` | {shown_default(field)} | {unit} | {text} |")
    return "\n".join(rows)


def _sections(command: Any, name: str) -> Iterator[str]:
    """A heading with usage and options for every command, depth first, in alphabetical order."""
    commands = getattr(command, "commands", {})
    if not commands or getattr(command, "invoke_without_command", False):
        yield from _section(command, name)
    for child in sorted(commands):
        yield from _sections(commands[child], f"{name} {child}")


def _section(command: Any, name: str) -> Iterator[str]:
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [_argument(parameter) for parameter in shown if parameter.param_type_name == "argument"]
    yield f"## {name}\n"
    yield " ".join((command.help or "").split()) + "\n"
    yield f"```bash\n{' '.join([name, *arguments, '[OPTIONS]'])}\n```\n"
    rows = []
    for parameter in shown:
        is_argument = parameter.param_type_name == "argument"
        flags = _argument(parameter) if is_argument else ", ".join(parameter.opts)
        text = " ".join((parameter.help or "").split()).replace("|", "\\|")
        rows.append(f"| `{flags}` | {_default(parameter)} | {text} |")
    if rows:
        yield "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    return f"{name}..." if parameter.nargs == -1 else name


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(getattr(parameter, "show_default", None), str):
        return str(parameter.show_default)
    value = getattr(parameter.default, "value", parameter.default)
    if getattr(parameter, "is_flag", False) or value in (None, "", [], ()) or callable(value):
        return ""
    return f"`{' '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}`"


def with_files(text: str) -> str:
    """A page whose code blocks are the files that it names."""
    return _SHOWN.sub(lambda found: f"{found[1]}{(ROOT / found[2]).read_text().rstrip()}\n```", text)


PAGES = {"parameters.md": parameters, "command_line.md": command_line}


def main() -> None:
    """Write both pages, and the files shown in all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make())
        print(f"wrote {FOLDER / name}")
    for path in sorted((ROOT / "docs").rglob("*.md")):
        old = path.read_text()
        if (new := with_files(old)) != old:
            path.write_text(new)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
