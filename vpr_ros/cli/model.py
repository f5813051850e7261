"""`vpr model`: import networks of any origin, list, inspect and compare models."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from vpr_ros.base.errors import ConfigError, ModelError
from vpr_ros.cli.common import DriveOption, Numbered, at_least, open_drives, pairs, progress_bar, reported_tally

if TYPE_CHECKING:
    from vpr_ros.inference.describer import Manifest
    from vpr_ros.inference.importing import Imported, Original, Wanted

app = typer.Typer(
    no_args_is_help=True, help="Import networks of any origin as models; list, inspect and compare models."
)

_LICENCE = 24  # characters in a list


@app.command("import")
def import_(
    network: Annotated[Optional[Path], typer.Argument(metavar="[FILE]", help="ONNX file.", show_default=False)] = None,
    torch: Annotated[
        str, typer.Option(help="Torch module instead: MODULE:FACTORY, FILE.py:FACTORY, or a TorchScript file.")
    ] = "",
    hub: Annotated[
        str,
        typer.Option(help="Entry of torch.hub instead: OWNER/NAME:ENTRY, or FOLDER:ENTRY of a clone. Runs its code."),
    ] = "",
    timm: Annotated[str, typer.Option(help="Model of timm instead, without its classifier, such as resnet18.")] = "",
    weights: Annotated[
        Optional[Path], typer.Option(help="State dict (.pth) for --torch, --hub or --timm.", show_default=False)
    ] = None,
    option: Annotated[
        list[str], typer.Option(help="KEY=VALUE for FACTORY, ENTRY or timm, such as fc_output_dim=512; repeatable.")
    ] = [],  # noqa: B006
    from_: Annotated[
        str, typer.Option("--from", help="Network by an importer that another package registers, as IMPORTER:TEXT.")
    ] = "",
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            help="What the network takes: nchw_float, nhwc_float, nhwc_uint8, nchw_uint8.",
            show_default="as its file says",
        ),
    ] = "",
    size: Annotated[
        str, typer.Option(help="Size of the input: PIXELS or WIDTHxHEIGHT.", show_default="as the network says")
    ] = "",
    mean: Annotated[
        str,
        typer.Option(help="Mean of the pixels, for R,G,B in 0..1.", show_default="the network's own, or ImageNet's"),
    ] = "",
    std: Annotated[
        str,
        typer.Option(
            help="Standard deviation of the pixels, likewise.", show_default="the network's own, or ImageNet's"
        ),
    ] = "",
    descriptor: Annotated[str, typer.Option(help="Output that is the descriptor, if there are several.")] = "",
    depth: Annotated[str, typer.Option(help="Output that is depth in metres, if there is one.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, such as MIT; must be given.")] = "",
    source: Annotated[
        str, typer.Option(help="Where the network is from, such as a URL.", show_default="what was given")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the model.", show_default="the network's")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for NAME.onnx and NAME.json.")] = Path(),
) -> None:
    """Make a model of a network that gives a descriptor, from ONNX, torch, torch.hub or timm."""
    from vpr_ros.inference.importing import Wanted, import_model, open_onnx, open_other

    others = {key: text for key, text in {"torch": torch, "hub": hub, "timm": timm}.items() if text}
    if from_:
        framework, colon, text = from_.partition(":")
        if not colon:
            raise ConfigError(f"--from {from_}: give IMPORTER:TEXT, such as keras:model.h5")
        others = {**others, framework: text}
    if len(others) + (network is not None) != 1:
        raise ConfigError("give one network: an .onnx file, --torch, --hub, --timm or --from")
    if network is not None and (weights or option):
        raise ConfigError("--weights and --option are not for an .onnx file: it has its weights")
    wanted = Wanted(
        input=input_,
        size=_size(size),
        mean=_three(mean, "--mean"),
        std=_three(std, "--std"),
        descriptor=descriptor,
        depth=depth,
        weights=weights,
        options=pairs(option, "--option"),
    )

    def open_original(folder: Path) -> "Original":
        if network is not None:
            return open_onnx(network)
        ((framework, text),) = others.items()
        return open_other(framework, text, folder, wanted)

    _print_imported(import_model(open_original, output, name, licence, source, wanted), wanted)


@app.command("list")
def list_() -> None:
    """List the models that have a name: those of the working folder, and the shipped ones."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from vpr_ros.inference.describer import Manifest
    from vpr_ros.inference.models import known_models

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in ("name", "dimension", "depth", "input", "MB", "licence"):
        table.add_column(column, no_wrap=True)
    broken = []
    paths = known_models()
    for path in paths:
        try:
            manifest = Manifest.load(path)
        except ModelError as error:
            broken.append(str(error))
            continue
        size = f"{manifest.preprocessing.width} x {manifest.preprocessing.height}"
        depth, megabytes = "yes" if manifest.depth else "no", f"{path.stat().st_size / 1e6:.1f}"
        licence = manifest.licence.partition(". ")[0][:_LICENCE] or "not said"
        table.add_row(escape(path.stem), str(manifest.dimension), depth, size, megabytes, escape(licence))
    Console().print(table)
    typer.echo(f"in {', '.join(dict.fromkeys(str(path.parent.resolve()) for path in paths)) or 'no folder'}")
    for sentence in broken:
        typer.echo(f"left out: {sentence}", err=True)


@app.command()
def info(model: Annotated[str, typer.Argument(help="Model: a file, or the name of one.")]) -> None:
    """Print what a model's manifest says."""
    from vpr_ros.inference.describer import Manifest
    from vpr_ros.inference.models import find_model

    path = find_model(model)
    manifest = Manifest.load(path)
    size = manifest.preprocessing
    pixels = "as they are"
    if (size.mean, size.std) != ((0, 0, 0), (1, 1, 1)):
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (size.mean, size.std))
        pixels = f"less {mean}, divided by {std}"
    typer.echo(f"{'name':14} {manifest.name}")
    typer.echo(f"{'file':14} {path}, {path.stat().st_size / 1e6:.1f} MB")
    rewritten = f", of the file as it was exported; now {manifest.file}" if manifest.file else ""
    typer.echo(f"{'fingerprint':14} {manifest.fingerprint}{rewritten}")
    typer.echo(f"{'descriptor':14} {manifest.dimension} dimensions, {_place_size(manifest)}")
    typer.echo(f"{'depth':14} {'in metres' if manifest.depth else manifest.missing}")
    typer.echo(f"{'input':14} {size.width} x {size.height} pixels, RGB bytes {pixels}")
    typer.echo(f"{'licence':14} {manifest.licence or 'not said'}")
    typer.echo(f"{'source':14} {manifest.source or 'not said'}")
    calibration = manifest.calibration.get("source", "") if manifest.calibration else ""
    typer.echo(f"{'probabilities':14} {calibration or 'none of its own: cautious until `vpr map calibrate` fits them'}")
    for heading, content in (("training", manifest.training), ("scores", manifest.scores)):
        for key, value in _flat(content):
            typer.echo(f"{heading:14} {key}: {value}")


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="A B...", help="Models: files or names.")],
    drives: Annotated[
        list[str], typer.Option("--drive", help="Drive: the reference first, then queries; repeatable.")
    ] = [],  # noqa: B006
    tolerance: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Largest distance of a right image, metres or frames.")
    ] = 25.0,
    every: Annotated[
        float, typer.Option(callback=at_least(0.0), help="Minimum distance between images, metres; 0 takes every one.")
    ] = 5.0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads, 0 for all.")] = 2,
    numbered: Numbered = False,
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Compare models on the same images: R@1 of single images with its standard error, and time per image."""
    from rich.console import Console

    from vpr_ros.evaluation.models import measure, table
    from vpr_ros.evaluation.recall import within_frames
    from vpr_ros.inference.models import find_model

    if len(models) < 2:
        raise ConfigError("give at least two models to compare")
    if len(drives) == 1:
        raise ConfigError("R@1 needs two drives of one world: --drive REFERENCE --drive QUERY")
    paths = [find_model(model) for model in models]
    opened = open_drives(drives, drive_option, numbered)
    nearer_m = within_frames(tolerance) if numbered else tolerance
    with reported_tally() as tally, progress_bar("measuring") as progress:
        figures = measure(
            paths, opened, threads, every_m=every, on_progress=progress, tolerance_m=nearer_m, tally=tally
        )
    Console().print(table(figures, int(tolerance) if numbered else tolerance, "frames" if numbered else "m"))


def _print_imported(imported: "Imported", wanted: "Wanted") -> None:
    manifest, parity, path = imported.manifest, imported.parity, imported.path
    size = manifest.preprocessing
    depth = "" if parity.depth_error_max_m is None else f", of depth at most {parity.depth_error_max_m:.2g} m"
    typer.echo(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, images of {size.width} x {size.height} pixels, "
        f"{manifest.dimension} dimensions, {_place_size(manifest)}"
    )
    typer.echo(
        f"same as the original over {parity.images} random images: cosine at least {parity.cosine_min:.6f}, "
        f"difference of descriptors at most {parity.difference_max:.2g}{depth}"
    )
    if manifest.training["imported"]["input"].endswith("float"):
        mean, std = (", ".join(f"{number / 255:.3g}" for number in numbers) for numbers in (size.mean, size.std))
        guessed = "" if wanted.mean and wanted.std else "; if it was trained with others, give --mean and --std"
        typer.echo(f"pixels in 0..1 less {mean}, divided by {std}{guessed}")
    typer.echo(f"licence: {manifest.licence}; source: {manifest.source}")
    if manifest.missing:
        typer.echo(f"note: {manifest.missing}")
    typer.echo(
        "note: its probabilities are cautious until `vpr map calibrate` fits them to a map\n"
        f"next: vpr map build DRIVE -o town.vprmap --model {shlex.quote(str(path))}"
    )


def _place_size(manifest: "Manifest") -> str:
    """What the descriptors of a place take in a map."""
    return f"{3 * manifest.dimension / 1e3:.3g} kB a place in a map of 3 views with int8 descriptors"


def _flat(content: Any, name: str = "") -> "list[tuple[str, str]]":
    """Nested data as lines: a.b.c and its value."""
    if isinstance(content, dict) and content:
        return [line for key, value in content.items() for line in _flat(value, f"{name}.{key}" if name else str(key))]
    shown = ", ".join(map(str, content)) if isinstance(content, list) else str(content)
    return [(name, shown)] if name and shown not in ("", "None", "{}") else []


def _size(text: str) -> "Optional[tuple[int, int]]":
    """Width and height."""
    if not text:
        return None
    words = text.lower().split("x")
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ConfigError(f"--size is '{text}': give pixels as 320, or as 640x480 for width and height")
    return numbers[0], numbers[-1]


def _three(text: str, where: str) -> "Optional[tuple[float, float, float]]":
    """Three numbers, or one for all three."""
    if not text:
        return None
    try:
        numbers = [float(word) for word in text.strip("[]() ").replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise ConfigError(f"{where} is '{text}': give one number, or three as 0.485,0.456,0.406")
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]
