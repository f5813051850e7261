"""What the commands share: options, progress bars, opening drives."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_type_hints

import typer

from vpr_ros.base.errors import ConfigError

if TYPE_CHECKING:
    from vpr_ros.base.tally import Tally
    from vpr_ros.drives.drive import Drive
    from vpr_ros.localize.config import LocalizerConfig


def at_least(least: float) -> Callable[[typer.CallbackParam, float], float]:
    """The callback of an option in metres or seconds, which ``min`` would let be nan or inf."""

    def check(option: typer.CallbackParam, value: float) -> float:
        if not least <= value < math.inf:
            raise ConfigError(f"{option.opts[0]} must be a finite number from {least:g} on, not {value:g}")
        return value

    return check


Model = Annotated[str, typer.Option(help="Model file, or the name of a shipped one.")]
MapModel = Annotated[str, typer.Option("--model", help="Model file or name, where the map's own is not found by name.")]
Backend = Annotated[str, typer.Option(help="auto, onnx, tensorrt or torch.")]
DriveOption = Annotated[
    list[str],
    typer.Option("--drive-option", "-d", help="KEY=VALUE of the drive, such as camera=stereo/left; repeatable."),
]
Numbered = Annotated[
    bool, typer.Option("--numbered", help="Images without poses: the frame's number stands for metres.")
]
Config = Annotated[
    Optional[Path], typer.Option(help="YAML of localiser parameters; only what differs from the defaults.")
]
Set = Annotated[list[str], typer.Option("--set", "-s", help="KEY=VALUE, beats the file; repeatable.")]


def pairs(values: list[str], texts: Collection[str] = ()) -> dict[str, Any]:
    """KEY=VALUE strings, values read as YAML. Raises ConfigError for anything else.

    texts: keys whose values are text, also where YAML reads a number, a date or nothing at all.
    """
    import yaml

    found = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"'{text}' is not KEY=VALUE")
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date such as 2014-13-40
            if key not in texts:
                raise ConfigError(f"the value of '{text}' cannot be read as YAML") from error
            found[key] = value
        if key in texts and not isinstance(found[key], str):
            found[key] = value
    return found


def localizer_config(path: Path | None, overrides: list[str]) -> "LocalizerConfig":
    """Defaults, beaten by the file, beaten by the flags."""
    from vpr_ros.base.config import from_dict, load_yaml, nested
    from vpr_ros.localize.config import LocalizerConfig

    changes = nested(pairs(overrides))
    return load_yaml(LocalizerConfig, path, changes) if path else from_dict(LocalizerConfig, changes, "--set")


def open_drives(specs: list[str], options: list[str], numbered: bool = False) -> "list[Drive]":
    """Drives of any kind, all of them opened before any work starts."""
    from vpr_ros.base.config import from_dict
    from vpr_ros.drives import open as opening
    from vpr_ros.drives.options import DriveOptions
    from vpr_ros.drives.views import NumberedDrive

    texts = [name for name, hint in get_type_hints(DriveOptions).items() if hint is str]
    chosen = from_dict(DriveOptions, pairs(options, texts), "--drive-option")
    drives = opening.open_drives(specs, chosen)
    return [NumberedDrive(drive) for drive in drives] if numbered else drives


@contextmanager
def reported_tally() -> "Iterator[Tally]":
    """Counts what a job leaves out; at its end, and if it fails, that is said by kind and count, and why."""
    from vpr_ros.base.tally import Tally

    tally = Tally()
    try:
        yield tally
    finally:
        for line in tally.lines():
            typer.echo(line, err=True)


@contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """A folder for a job's results, made before the work; if the job fails and leaves it empty, it goes again."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # one that is not empty stays
                folder.rmdir()
        raise


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with a total; call it with (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
    if not console.is_terminal:
        console.print(f"{label}: done")


def counted(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """A progress bar for work that reports steps instead of a total."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return step
