"""`vpr train` and `vpr export`: drives -> checkpoint -> a model the robot runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vpr_lab.cli.device import Device
from vpr_ros.base.errors import ConfigError
from vpr_ros.cli.common import DriveOption, Numbered, at_least, open_drives, pairs, progress_bar, reported_tally

if TYPE_CHECKING:
    from vpr_lab.training.datasets import Shard
    from vpr_lab.training.recipe import Recipe
    from vpr_ros.drives.drive import Drive

app = typer.Typer(no_args_is_help=True, help="Train a network from drives of any kind.")


Cached = Annotated[Path, typer.Argument(metavar="CACHE", help="Cache that `vpr train cache` or `towns` wrote.")]
HeldOut = Annotated[list[str], typer.Option(help="World held out for validation; repeatable.")]
Set = Annotated[list[str], typer.Option("--set", "-s", help="KEY=VALUE of the recipe; repeatable.")]


@app.command()
def cache(
    drives: Annotated[list[str], typer.Argument(help="Drives with true poses, with or without depth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Cache to write to; existing drives are kept.")],
    every: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Minimum distance between images, metres.")
    ] = 5.0,
    dense: Annotated[
        bool, typer.Option("--dense", help="Fill the holes in depth, as between a lidar's scans.")
    ] = False,
    size: Annotated[
        int, typer.Option(min=16, max=2048, help="Width and height of the images; the network resizes.")
    ] = 224,
    condition: Annotated[
        str, typer.Option(help="Condition of these drives, such as night; by default the last word of each name.")
    ] = "",
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Decode drives once, at one size, for training."""
    from vpr_lab.training.datasets import cache_drive, load_shards
    from vpr_ros.base.image import Preprocessing

    opened = open_drives(drives, drive_option)
    folders = []
    with reported_tally() as tally, progress_bar("caching drives") as progress:
        for done, drive in enumerate(opened, 1):
            folders.append(cache_drive(drive, output, Preprocessing(size, size), every, dense, condition, tally=tally))
            progress(done, len(opened))
    shards = {(shard.world, shard.name): shard for shard in load_shards(output)}
    for folder in folders:
        shard = shards[folder.parent.name, folder.name]
        typer.echo(f"{folder}: {len(shard)} images, world {shard.world}, condition {shard.condition}")


@app.command()
def towns(
    output: Annotated[Path, typer.Option("--output", "-o", help="Cache to write to; existing drives are kept.")],
    first: Annotated[int, typer.Option(help="Seed of the first town.")] = 1001,
    count: Annotated[int, typer.Option(help="Number of towns, about 45 s of one core each, 15 s with a GPU.")] = 40,
    jobs: Annotated[int, typer.Option(callback=at_least(1), help="Towns rendered at once, a core each.")] = 1,
) -> None:
    """Render simulated towns for training, five kinds of weather each."""
    from vpr_lab.training.towns import cache_towns

    with progress_bar("rendering towns") as progress:
        cache_towns(output, range(first, first + count), progress, jobs)


@app.command()
def head(
    recipe: Annotated[Path, typer.Argument(help="YAML, such as config/recipes/demixvpr_mobilenet_head.yaml.")],
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of `vpr train run` to start from.")],
    cached: Cached,
    held_out: HeldOut = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")] = Path("runs/head.pt"),
) -> None:
    """Train only the head, on features computed once; much faster than `run`."""
    from vpr_lab.training.checkpoint import Checkpoint
    from vpr_lab.training.head import train_head

    resolved, learnt, kept = _prepared(recipe, [], cached, held_out)
    output.parent.mkdir(parents=True, exist_ok=True)
    train_head(resolved, Checkpoint.load(checkpoint), learnt, kept, output)
    typer.echo(f"checkpoint: {output}")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="YAML, such as config/recipes/demixvpr_mobilenet.yaml.")],
    cached: Cached,
    held_out: HeldOut = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder; an interrupted run is resumed.")] = Path(
        "runs/train"
    ),
    device: Device = "cpu",
    start: Annotated[
        Optional[Path],
        typer.Option(help="Checkpoint (.pt) whose parts of the same name and size the network starts from."),
    ] = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train by a recipe, or resume a run."""
    from vpr_lab.training.checkpoint import starting_from
    from vpr_lab.training.loop import train
    from vpr_ros.base.config import save_yaml

    resolved, learnt, kept = _prepared(recipe, set_, cached, held_out)
    prepare = None
    if start and (output / "last.pt").is_file():
        typer.echo(f"{output} is resumed; {start} is not used")
    elif start:
        prepare = starting_from(start, lambda taken: typer.echo(f"starts from {start}: {', '.join(taken)}"))
    output.mkdir(parents=True, exist_ok=True)
    if not (output / "last.pt").is_file():  # else it is there, and train refuses another one
        save_yaml(resolved, output / "recipe.yaml")
    best = train(resolved, learnt, kept, output, device, prepare)
    typer.echo(f"best checkpoint: {best}")


@app.command()
def grid(
    recipe: Annotated[Path, typer.Argument(help="YAML of what all combinations share; its epochs are the best's.")],
    cached: Cached,
    held_out: HeldOut = [],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; an interrupted search is resumed.")] = Path(
        "runs/grid"
    ),
    choices: Annotated[
        Optional[Path], typer.Option("--grid", help="YAML of the choices; the paper's by default.")
    ] = None,
    choose: Annotated[
        list[str],
        typer.Option("--choose", "-c", help="KEY=VALUE of the grid, such as 'lr=[0.001, 0.0001]'; repeatable."),
    ] = [],  # noqa: B006
    device: Device = "cpu",
    set_: Set = [],  # noqa: B006
) -> None:
    """Search losses, miners, optimisers and schedules by successive halving."""
    from rich.console import Console

    from vpr_lab.systems.grid_report import draw_grid, grid_table
    from vpr_lab.training.grid import Grid, Result, run_grid
    from vpr_ros.base.config import from_dict, load_yaml

    chosen = load_yaml(Grid, choices, pairs(choose)) if choices else from_dict(Grid, pairs(choose), "--choose")
    resolved, learnt, kept = _prepared(recipe, set_, cached, held_out)

    def report(done: int, total: int, result: Result) -> None:
        said = result.error or f"{100 * result.score:.1f} % after {result.reached.epochs} epochs"
        typer.echo(f"[{done}/{total}] {result.combination.name}: {said}")

    combinations = len(chosen.combinations(resolved.seed))
    trainings = sum(count for _, count in chosen.rungs(combinations, resolved.epochs))
    typer.echo(f"{combinations} combinations, {trainings} trainings")
    results = run_grid(resolved, chosen, learnt, kept, output, device, report)
    Console().print(grid_table(results))
    typer.echo(f"picture: {draw_grid(results, output / 'grid.png')}")
    typer.echo(f"best checkpoint: {output / results[0].combination.name / 'best.pt'}")


def _prepared(
    recipe: Path, set_: list[str], cached: Path, held_out: list[str]
) -> "tuple[Recipe, list[Shard], list[Shard]]":
    """The recipe, drives of a cache to learn from, and those kept aside to search in those of its condition."""
    from vpr_lab.training.datasets import load_shards
    from vpr_lab.training.recipe import Recipe
    from vpr_lab.training.validate import searches
    from vpr_ros.base.config import load_yaml

    resolved = load_yaml(Recipe, recipe, pairs(set_))
    shards = load_shards(cached)
    worlds = {shard.world for shard in shards}
    if unknown := sorted(set(held_out) - worlds):
        raise ConfigError(f"--held-out: {cached} has no world {', '.join(unknown)}; it has {', '.join(sorted(worlds))}")
    kept = [shard for shard in shards if shard.world in held_out]
    searches(kept, resolved.reference_condition)  # fails now rather than after an epoch
    return resolved, [shard for shard in shards if shard.world not in held_out], kept


def export(
    model: Annotated[str, typer.Argument(help="Checkpoint of `vpr train`, or an exported model by file or name.")],
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Folder, or .onnx file for a checkpoint; the model's folder by default."),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Write NAME_fp16.onnx too, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Write NAME_int8.onnx too, for CPUs; needs --drive.")] = False,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="Build TensorRT's engine, of fp16 if asked.")] = False,
    drives: Annotated[
        list[str],
        typer.Option("--drive", help="To calibrate INT8 and to compare on: a reference, then queries; repeatable."),
    ] = [],  # noqa: B006
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
    threads: Annotated[int, typer.Option(help="CPU threads while measuring, 0 for all.")] = 2,
    licence: Annotated[str, typer.Option(help="Licence and origin of a checkpoint's starting weights.")] = "",
) -> None:
    """Write a checkpoint as ONNX, and smaller variants with a report on accuracy and speed."""
    from vpr_ros.base.errors import ModelError
    from vpr_ros.inference.models import find_model

    if int8 and not drives:
        raise ModelError("--int8 is calibrated on images: name at least one drive with --drive")
    opened = open_drives(drives, drive_option, numbered)
    source = find_model(model)
    if source.suffix == ".onnx" and not (fp16 or int8 or tensorrt):
        raise ModelError(f"{source.name} is exported already: ask for --fp16, --int8 or --tensorrt")
    if tensorrt:
        from vpr_ros.inference.tensorrt import export_engine, import_tensorrt

        import_tensorrt()  # fails now rather than after the other variants
    path = _write_onnx(source, output, licence) if source.suffix == ".pt" else _bring(source, output)
    made = _write_variants(path, fp16, int8, opened)
    if tensorrt:
        typer.echo(f"building the engine of {(made[0] if fp16 else path).name}, which can take minutes")
        made.append(export_engine(made[0] if fp16 else path))
    if made:
        _report(path, made, opened, threads, numbered)


def _write_onnx(checkpoint: Path, output: Path | None, licence: str) -> Path:
    """A checkpoint as ONNX, compared with torch."""
    from vpr_lab.export.checkpoint import export as write
    from vpr_lab.training.checkpoint import Checkpoint

    if output is not None and output.suffix == ".onnx":
        path = output
    else:
        path = (output or checkpoint.parent) / f"{checkpoint.stem}.onnx"
    parity = write(Checkpoint.load(checkpoint), path, {"licence": licence})
    depth = "" if parity.depth_error_max_m is None else f", depth differs by at most {parity.depth_error_max_m:.2g} m"
    typer.echo(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB; over {parity.images} images cosine of descriptors at least "
        f"{parity.cosine_min:.6f}{depth}"
    )
    return path


def _bring(source: Path, output: Path | None) -> Path:
    """An exported model, copied with its manifest and vocabulary into the folder its variants go to."""
    import shutil

    from vpr_ros.base.errors import ModelError
    from vpr_ros.inference.describer import Manifest
    from vpr_ros.inference.vocabulary import vocabulary_path

    if source.suffix != ".onnx":
        raise ModelError(f"{source.name} cannot be exported: give a checkpoint (.pt) or an exported model (.onnx)")
    if output is not None and output.suffix == ".onnx":
        raise ModelError(f"{source.name} is ONNX already: give a folder for its variants with -o, not {output}")
    manifest = Manifest.load(source)
    if output is None or output.resolve() == source.parent.resolve():
        return source
    output.mkdir(parents=True, exist_ok=True)
    path = output / source.name
    if manifest.vocabulary:
        shutil.copyfile(vocabulary_path(source), vocabulary_path(path))
    manifest.save(Path(shutil.copyfile(source, path)))
    return path


def _write_variants(path: Path, fp16: bool, int8: bool, drives: "list[Drive]") -> list[Path]:
    """The variants asked for, fp16 first."""
    from vpr_ros.inference.describer import Manifest
    from vpr_ros.inference.precision import variant_path
    from vpr_ros.inference.quantise import calibration_images, write_float16, write_int8

    made = []
    if fp16:
        made.append(variant_path(path, "fp16"))
        write_float16(path, made[-1])
    if int8:
        images = calibration_images(drives, Manifest.load(path).preprocessing)
        made.append(variant_path(path, "int8"))
        with progress_bar(f"calibrating {made[-1].name}") as progress:
            write_int8(path, made[-1], images, on_progress=progress)
    return made


def _report(path: Path, made: list[Path], drives: "list[Drive]", threads: int, numbered: bool) -> None:
    """Measure model and variants, print the table, and write the figures to each one's report and manifest."""
    from rich.console import Console

    from vpr_ros.base.errors import MissingDependencyError
    from vpr_ros.evaluation.models import measure, open_for_measuring, save_report, table
    from vpr_ros.evaluation.recall import TOLERANCE_M, within_frames

    measured = [path]
    for variant in made:
        try:
            open_for_measuring(variant, threads)
            measured.append(variant)
        except MissingDependencyError as error:
            typer.echo(f"{variant}: written, but not measured here: {error}")
    with reported_tally() as tally, progress_bar("measuring") as progress:
        within = within_frames(TOLERANCE_M) if numbered else TOLERANCE_M
        figures = measure(measured, drives, threads, on_progress=progress, tolerance_m=within, tally=tally)
    for variant, own in zip(measured[1:], figures[1:], strict=True):
        save_report(variant, figures[0], own, [drive.name for drive in drives])
    Console().print(table(figures, unit="frames" if numbered else "m"))
