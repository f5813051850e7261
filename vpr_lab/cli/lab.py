"""`vpr lab`: published systems of place recognition, trained and measured on the same drives."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from vpr_lab.cli.device import Device
from vpr_ros.cli.common import pairs, progress_bar

app = typer.Typer(no_args_is_help=True, help="Train published systems and set them side by side on your drives.")

Data = Annotated[Path, typer.Option("--data", help="Folder with train/ and test/, as `vpr lab data` writes it.")]
Runs = Annotated[Path, typer.Option("--output", "-o", help="Folder for a folder of each recipe.")]


@app.command()
def data(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; existing drives are kept.")],
    towns: Annotated[int, typer.Option(min=2, help="Towns to learn from, about 45 s of one core each.")] = 20,
    test_towns: Annotated[int, typer.Option(min=1, help="Towns to be measured on.")] = 3,
) -> None:
    """Render towns to work on. For drives of your own: vpr train cache DRIVE... -o FOLDER/train, and -o FOLDER/test."""
    from vpr_lab.systems.data import render

    with progress_bar("rendering towns") as progress:
        render(output, towns, test_towns, on_progress=progress)


@app.command("list")
def list_() -> None:
    """The recipes that ship."""
    from vpr_lab.systems.recipe import known_recipes, load_recipe

    for name in known_recipes():
        typer.echo(f"{name:24} {load_recipe(name).about}")


@app.command()
def run(
    recipes: Annotated[
        list[str], typer.Argument(help="Names (vpr lab list) or .yaml files; a list, such as gain, runs all.")
    ],
    data: Data = Path("lab"),
    output: Runs = Path("runs/lab"),
    full: Annotated[bool, typer.Option("--full", help="Train by the paper's schedule, not for minutes.")] = False,
    weights: Annotated[Path, typer.Option(help="Folder with the recipes' starting weights.")] = Path("weights"),
    seed: Annotated[int, typer.Option(help="Added to every recipe's seed.")] = 0,
    validation: Annotated[int, typer.Option(min=1, help="Training worlds held out for validation.")] = 1,
    reference: Annotated[str, typer.Option(help="Condition of the reference drives.")] = "overcast",
    device: Device = "cpu",
    set_: Annotated[
        list[str], typer.Option("--set", "-s", help="KEY=VALUE of every recipe, such as train.lr=0.001.")
    ] = [],  # noqa: B006
) -> None:
    """Train and measure recipes, their ingredients first; what is trained already is kept."""
    from vpr_lab.systems.bench import Bench
    from vpr_lab.systems.data import LabData
    from vpr_lab.systems.recipe import with_variants

    names = [own for name in recipes for own in with_variants(name)]
    opened = LabData.open(data, validation, reference)
    bench = Bench(opened, output, full, pairs(set_), weights, seed, device)
    for name in names:
        row = bench.run(name)
        recall = ", ".join(f"{condition} {100 * own['recall'][1]:.1f}" for condition, own in row["scores"].items())
        typer.echo(f"{row['recipe']}: R@1 {recall}; {output / row['recipe'] / 'row.json'}")


@app.command()
def table(
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(help="Folders that recipes were run in, one for each seed.", show_default="runs/lab"),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Page whose table is replaced; lab.md of the first of RUNS by default."),
    ] = None,
) -> None:
    """Write every system's row and the papers' own as Markdown, with a picture."""
    from vpr_lab.systems.table import draw, markdown, put_into, read_rows

    runs = runs or [Path("runs/lab")]
    page = output or runs[0] / "lab.md"
    rows = read_rows(runs)
    put_into(page, markdown(rows))
    picture = draw(rows, runs[0] / "lab.png")
    typer.echo(f"{len(rows)} rows: {page}, {picture}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a trained recipe, such as runs/lab/gem.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file; of a GeoWarp, NAME of its files.")],
) -> None:
    """Export a trained recipe for a robot: a model, or a GeoWarp for the re-ranker geowarp."""
    from vpr_lab.export.systems import export_run

    typer.echo(export_run(run, output))
