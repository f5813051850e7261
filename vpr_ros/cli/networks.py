"""`vpr train` and `vpr export`: drives -> checkpoint -> a model the robot runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpr_ros.cli.common import DriveOption, open_drives, pairs, progress_bar

app = typer.Typer(no_args_is_help=True, help="Train a network from drives of any kind.")


@app.command()
def cache(
    drives: Annotated[list[str], typer.Argument(help="Drives with true poses; with depth where they have it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Cache to write to; what is there already is kept.")],
    every: Annotated[float, typer.Option(help="Least distance between images, metres.")] = 5.0,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Decode drives once, at the network's size, for training."""
    from vpr_ros.image import Preprocessing
    from vpr_ros.training.datasets import cache_drive

    opened = open_drives(drives, drive_option)
    with progress_bar("caching drives") as progress:
        for done, drive in enumerate(opened, 1):
            cache_drive(drive, output, Preprocessing(), every)
            progress(done, len(opened))


@app.command()
def towns(
    output: Annotated[Path, typer.Option("--output", "-o", help="Cache to write to; what is there already is kept.")],
    first: Annotated[int, typer.Option(help="Seed of the first town.")] = 1001,
    count: Annotated[int, typer.Option(help="How many towns, about 20 s of one core each.")] = 40,
) -> None:
    """Render simulated towns for training, five kinds of weather each."""
    from vpr_ros.training.towns import cache_towns

    with progress_bar("rendering towns") as progress:
        cache_towns(output, range(first, first + count), progress)


@app.command()
def head(
    recipe: Annotated[Path, typer.Argument(help="YAML, such as config/recipes/demixvpr_mobilenet_head.yaml.")],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `vpr train run` to go on from.")],
    cached: Annotated[Path, typer.Argument(metavar="CACHE", help="What `vpr train cache` or `towns` wrote.")],
    held_out: Annotated[list[str], typer.Option(help="World kept aside to validate on; repeatable.")] = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")] = Path("runs/head.pt"),
) -> None:
    """Train what follows the frozen backbone on features computed once; much faster than `run`."""
    from vpr_ros.config import load_yaml
    from vpr_ros.training.checkpoint import Checkpoint
    from vpr_ros.training.datasets import load_shards
    from vpr_ros.training.head import train_head
    from vpr_ros.training.recipe import Recipe

    shards = load_shards(cached)
    kept = [shard for shard in shards if shard.world in held_out]
    learnt = [shard for shard in shards if shard.world not in held_out]
    output.parent.mkdir(parents=True, exist_ok=True)
    train_head(load_yaml(Recipe, recipe), Checkpoint.load(checkpoint), learnt, kept, output)
    typer.echo(f"checkpoint: {output}")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="YAML, such as config/recipes/demixvpr_mobilenet.yaml.")],
    cached: Annotated[Path, typer.Argument(metavar="CACHE", help="What `vpr train cache` or `towns` wrote.")],
    held_out: Annotated[list[str], typer.Option(help="World kept aside to validate on; repeatable.")] = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run goes on.")] = Path(
        "runs/train"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    set_: Annotated[list[str], typer.Option("--set", "-s", help="KEY=VALUE of the recipe; repeatable.")] = [],  # noqa: B006
) -> None:
    """Train by a recipe, or go on with a run."""
    from vpr_ros.config import load_yaml, save_yaml
    from vpr_ros.training.datasets import load_shards
    from vpr_ros.training.loop import train
    from vpr_ros.training.recipe import Recipe

    resolved = load_yaml(Recipe, recipe, pairs(set_))
    shards = load_shards(cached)
    kept = [shard for shard in shards if shard.world in held_out]
    output.mkdir(parents=True, exist_ok=True)
    save_yaml(resolved, output / "recipe.yaml")
    best = train(resolved, [shard for shard in shards if shard.world not in held_out], kept, output, device)
    typer.echo(f"best checkpoint: {best}")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `vpr train run`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write; its manifest goes beside it.")],
    licence: Annotated[str, typer.Option(help="Licence and origin of the starting weights, for the manifest.")] = "",
) -> None:
    """Write a checkpoint as ONNX and compare the two."""
    from vpr_ros.export import export as write
    from vpr_ros.training.checkpoint import Checkpoint

    parity = write(Checkpoint.load(checkpoint), output, {"licence": licence})
    typer.echo(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB; over {parity.images} images cosine of descriptors at least "
        f"{parity.cosine_min:.6f}, depth differs by at most {parity.depth_error_max_m:.2g} m"
    )
