"""Finding model files, by path or by the name of a shipped model."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.base.errors import ModelError
from vpr_ros.base.files import shipped_folders

DEFAULT_MODEL = "demixvpr_mobilenet"
MODEL_SUFFIXES = (".onnx", ".pt", ".engine")  # of this package's backends; a registered one may have others


def find_model(name: str) -> Path:
    """The file of a model, given by path or by the name of a shipped one.

    Names are looked up in the working folder, the repository's models/ and the folders of pip and colcon. Raises
    ModelError, which lists the shipped models.
    """
    given = Path(name).expanduser()
    if given.suffix and given.is_file():
        return given
    if given.suffix in MODEL_SUFFIXES:
        raise ModelError(f"no model file {given}")
    folders = _model_folders()
    for folder in folders:
        if (folder / f"{name}.onnx").is_file():
            return folder / f"{name}.onnx"
    known = sorted({path.stem for folder in folders[1:] for path in folder.glob("*.onnx")})
    raise ModelError(
        f"no model called '{name}': give the path of an .onnx file or one of {', '.join(known) or 'none shipped'}"
    )


def known_models() -> list[Path]:
    """The models that have a name here: the file of each, in the order in which ``find_model`` looks."""
    found: dict[str, Path] = {}
    for folder in _model_folders():
        for path in sorted(folder.glob("*.onnx")):
            if path.with_suffix(".json").is_file():
                found.setdefault(path.stem, path)
    return list(found.values())


def _model_folders() -> list[Path]:
    return [Path(), *shipped_folders("models")]
