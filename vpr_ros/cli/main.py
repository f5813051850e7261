"""Entry point of the `vpr` command. Nothing heavy is imported before a command runs."""

import io
import logging
import os
import sys
from typing import NoReturn

import typer

import vpr_ros
from vpr_ros.base import utf8
from vpr_ros.base.errors import VprError, explained, missing_dependency
from vpr_ros.base.registry import load_registered
from vpr_ros.cli import demo, evaluate, fleet, maps, model, upkeep

logger = logging.getLogger(__name__)


class _InOrder(typer.core.TyperGroup):
    """Lists this package's commands first, in the order in which one needs them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        own = ("map", "model", "evaluate", "replay", "fleet", "demo")
        found = super().list_commands(ctx)
        return [*own, *sorted(set(found) - set(own))]


app = typer.Typer(
    name="vpr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Visual localisation with one camera: build maps from drives, localise on them, measure how well.",
    cls=_InOrder,
)
maps.app.command("refresh")(upkeep.refresh)
maps.app.command("health")(upkeep.health)
app.add_typer(maps.app, name="map")
app.add_typer(model.app, name="model")
app.command("evaluate")(evaluate.evaluate)
app.command("replay")(evaluate.replay)
app.add_typer(fleet.app, name="fleet")
app.add_typer(demo.app, name="demo")


def _add_registered() -> None:
    """Add the commands that packages register as entry points of group ``vpr.commands``: a Typer app or a function."""
    own = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    for name, command in load_registered("vpr.commands", "command").items():
        if name in own:
            logger.warning("command '%s' of another package is left out: vpr has one of that name", name)
        elif isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(vpr_ros.__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


_add_registered()


def _fail(sentence: str) -> NoReturn:
    typer.secho(f"vpr: {sentence}", fg=typer.colors.RED, err=True)
    sys.exit(1)


def main() -> None:
    """Run the command. An expected error prints one line, an unexpected one a traceback."""
    utf8.ensure()
    # Its lines say again, in its own words, what is reported of a broken image.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of another encoding, by PYTHONIOENCODING
            stream.reconfigure(errors="replace")
    try:
        app()
    except (VprError, OSError) as error:
        _fail(explained(error))
    except ImportError as error:
        missing = missing_dependency(error)
        if missing is None:
            raise
        _fail(str(missing))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
