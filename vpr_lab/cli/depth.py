"""`vpr evaluate-depth`: error of a model's hallucinated depth."""

from pathlib import Path
from typing import Annotated

import typer

from vpr_ros.cli.common import Backend, DriveOption, at_least, open_drives, output_folder, progress_bar


def evaluate_depth(
    model: Annotated[str, typer.Argument(help="Model file, or the name of a shipped one.")],
    drives: Annotated[list[str], typer.Argument(help="Drives with true depth: lidar, stereo, or a simulator's.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for results.json and depth.jpg.")] = Path(
        "runs/evaluate-depth"
    ),
    every: Annotated[
        float,
        typer.Option(callback=at_least(0.0), help="Minimum distance between images, metres; 0: every image."),
    ] = 0.0,
    cap: Annotated[float, typer.Option(callback=at_least(0.1), help="Maximum true depth that counts, metres.")] = 80.0,
    backend: Backend = "auto",
    drive_option: DriveOption = [],  # noqa: B006
) -> None:
    """Measure hallucinated depth against true depth: abs-rel, RMSE, δ < 1.25, in metres and median-scaled."""
    import json

    from rich.console import Console

    from vpr_lab.comparison.depth import DepthScore, depth_table, evaluate_depth
    from vpr_lab.comparison.depth_pictures import draw_depth
    from vpr_ros.drives.views import SampledDrive
    from vpr_ros.inference.open import open_describer

    opened = open_drives(drives, drive_option)
    describer = open_describer(model, backend)
    with output_folder(output):  # before the work, not after it
        scores = []
        for drive in opened:
            with progress_bar(f"depth of {drive.name}") as progress:
                sampled = SampledDrive(drive, every) if every > 0 else drive
                scores.append(DepthScore.of(drive.name, *evaluate_depth(describer, sampled, cap, progress)))
        results = {
            "model": describer.manifest.name,
            "fingerprint": describer.manifest.fingerprint,
            "backend": describer.backend,
            "cap_m": cap,
            "drives": [score.to_dict() for score in scores],
        }
        (output / "results.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
        Console().print(depth_table(scores, cap))
        typer.echo(f"figures: {output / 'results.json'}")
        typer.echo(f"picture: {draw_depth(describer, opened, output / 'depth.jpg')}")
