"""Networks of torch for `vpr model import`: a module of the user's, an entry of torch.hub, a model of timm."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vpr_lab.export.trace import trace
from vpr_ros.base.errors import MissingDependencyError, ModelError, brief, nearest_name
from vpr_ros.base.image import IMAGENET, Preprocessing
from vpr_ros.inference.importing import Original, Wanted

_INPUT = "image"


def open_module(text: str, folder: Path, wanted: Wanted) -> Original:
    """``MODULE:FACTORY``, a module of Python or a file's path: a torch module, or what makes one from the options.

    Or the path of a TorchScript file. Modules in the working folder are found. Raises ModelError.
    """
    if Path(text).suffix != ".py" and Path(text).is_file():
        return _original(_torchscript(Path(text)), text, Path(text).stem, folder, wanted)
    module_name, _, factory_name = text.rpartition(":")
    if not module_name or not factory_name:
        raise ModelError(
            f"--torch is '{text}': give MODULE:FACTORY, such as my_network:make for make() of my_network.py"
        )
    try:
        module = _import_module(module_name)
    except (Exception, SystemExit) as error:  # of the user's code, which may read a command line of its own
        raise ModelError(f"{module_name} cannot be imported: {_what(error)}") from error
    if not hasattr(module, factory_name):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise ModelError(f"{module_name} has no '{factory_name}'; {nearest_name(factory_name, names)}")
    found = getattr(module, factory_name)
    network = found if isinstance(found, nn.Module) else _made(found, text, wanted.options)
    return _original(network, text, Path(factory_name).stem, folder, wanted)


def open_hub(text: str, folder: Path, wanted: Wanted) -> Original:
    """``REPOSITORY:ENTRY`` of torch.hub: OWNER/NAME or OWNER/NAME:BRANCH on GitHub, or a clone's folder.

    Runs that repository's code. Raises ModelError.
    """
    repository, _, entry = text.rpartition(":")
    if not repository or not entry:
        raise ModelError(f"--hub is '{text}': give OWNER/NAME:ENTRY, or FOLDER:ENTRY for a clone")
    local = Path(repository).expanduser().is_dir()
    where = {"source": "local"} if local else {"source": "github", "trust_repo": True}
    try:
        repository = str(Path(repository).expanduser()) if local else repository
        network = torch.hub.load(repository, entry, **where, **wanted.options)
    except (Exception, SystemExit) as error:  # of the download, or of the repository's code
        instead = "" if local else "; without internet access, or for another version, give FOLDER:ENTRY of a clone"
        raise ModelError(f"torch.hub cannot load {text}: {_what(error)}{instead}") from error
    return _original(network, f"torch.hub {text}", entry, folder, wanted)


def open_timm(text: str, folder: Path, wanted: Wanted) -> Original:
    """A model of timm without its classifier, with its published weights, or those of a file.

    Size, mean and standard deviation are timm's. Raises ModelError, MissingDependencyError without timm.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise MissingDependencyError(f"--timm needs timm ({error}): pip install timm") from error
    options = {"num_classes": 0, **wanted.options}
    try:
        network = timm.create_model(text, pretrained=wanted.weights is None, **options)
    except Exception as error:  # timm's own, and those of the download
        raise ModelError(f"timm cannot make {text}: {brief(error)}") from error
    config = timm.data.resolve_model_data_config(network)
    _, height, width = config["input_size"]
    mean, std = (tuple(255 * number for number in config[key]) for key in ("mean", "std"))
    own = Preprocessing(height, width, mean, std)
    if classes := getattr(network, "num_classes", 0):  # networks of features have none
        raise ModelError(f"num_classes={classes} makes scores of classes the descriptor: leave it out")
    # Published files have the classifier, and this network has not.
    classifier = getattr(network, "default_cfg", {}).get("classifier") or ()
    unused = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return _original(network, f"timm {text}", text.partition("/")[2] or text, folder, wanted, own, unused)


def _import_module(name: str) -> Any:
    """A module by its name, or by the path of its file."""
    if not name.endswith(".py"):
        if "" not in sys.path:  # a command does not look in the working folder
            sys.path.insert(0, "")
        return importlib.import_module(name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))
    return importlib.import_module(path.stem)


def _made(factory: Any, text: str, options: Mapping[str, Any]) -> nn.Module:
    """What a factory makes of the options."""
    try:
        return factory(**options)  # type: ignore[no-any-return]
    except (Exception, SystemExit) as error:  # of the user's code
        given = f"the options {', '.join(options)}" if options else "no --option"
        raise ModelError(f"{text} cannot be called with {given}: {type(error).__name__}: {_what(error)}") from error


def _what(error: BaseException) -> str:
    """An error of the user's code, to quote."""
    return f"its code ends the program ({error})" if isinstance(error, SystemExit) else brief(error)


def _torchscript(path: Path) -> nn.Module:
    """The network of a TorchScript file. Raises ModelError."""
    try:
        return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call, no-any-return]
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is not TorchScript: give the code of the network as MODULE:FACTORY, and weights with --weights"
        ) from error


def _original(
    network: Any,
    origin: str,
    name: str,
    folder: Path,
    wanted: Wanted,
    own: Preprocessing | None = None,
    unused: Sequence[str] = (),
) -> Original:
    """A torch module as ONNX, and as torch runs it. own: its preprocessing. unused: see _load_weights."""
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{origin} gives a {type(network).__name__}, not a torch.nn.Module: name what makes the network"
        )
    network = getattr(network, "_orig_mod", network)  # of torch.compile, which cannot be traced
    if wanted.weights is not None:
        _load_weights(network, wanted.weights, unused)
    network.eval()  # some return nothing
    network = network.float().to("cpu")
    size = wanted.size or ((own.width, own.height) if own else None)
    if size is None:
        raise ModelError(f"{origin} does not say its images' size: give --size, such as --size 320 or --size 640x480")
    layout, _, dtype = (wanted.input or "nchw_float").partition("_")
    width, height = size
    shape = (1, 3, height, width) if layout == "nchw" else (1, height, width, 3)
    example = torch.zeros(shape, dtype=torch.uint8 if dtype == "uint8" else torch.float32)
    outputs = _Outputs(network)
    try:
        with torch.inference_mode():
            names = list(outputs.named(example))
    except ModelError:
        raise
    except Exception as error:  # of the user's code
        raise ModelError(f"{origin} cannot take an image of {width} x {height} pixels: {brief(error)}") from error
    path = folder / f"{name}.onnx"
    inputs, batched = {_INPUT: example}, [_INPUT, *names]
    with _without_stdout(), torch.no_grad():  # torch prints the graph if it fails
        try:
            trace(_traceable(outputs, example), inputs, names, batched, path)
        except Exception:  # torch's errors have no common base class
            try:
                with _FixedSizes():
                    trace(_traceable(outputs, example), inputs, names, batched, path)
            except Exception as error:
                why = brief(error).partition(" Please feel free")[0].rstrip(".")
                raise ModelError(
                    f"torch cannot write {origin} as ONNX ({why}): change that, or export it yourself, and import "
                    "the file"
                ) from error

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            return {name: tensor.numpy() for name, tensor in outputs.named(torch.from_numpy(image)).items()}

    preprocessing = replace(own or IMAGENET, height=height, width=width)
    return Original(path, run, origin, name, preprocessing)


def _traceable(outputs: _Outputs, example: Tensor) -> nn.Module:
    """What the exporter can trace: it takes TorchScript as a whole only."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in outputs.modules()):
        return torch.jit.trace(outputs, example, check_trace=False)  # type: ignore[no-untyped-call, no-any-return]
    return outputs


@contextlib.contextmanager
def _without_stdout() -> Iterator[None]:
    """What is printed meanwhile is lost, also by libraries in C++."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            kept = os.dup(1)
        except OSError:  # it is closed
            yield
            return
        flush = ctypes.CDLL(None).fflush
        flush(None)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        try:
            yield
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)


class _FixedSizes(TorchFunctionMode):
    """While a network is traced, the sizes of its tensors are numbers, but for the first, which is the batch's.

    Since the batch is free, the exporter takes all sizes for variables, and it cannot pool over a variable window, as
    GeM does. A network that keeps the batch in another dimension needs them as variables.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is Tensor.shape.__get__ or (func is Tensor.size and len(args) == 1 and not kwargs):  # type: ignore[attr-defined]
            return torch.Size([found[0], *map(int, found[1:])]) if len(found) else found
        if func is Tensor.size and (args[1:] or tuple((kwargs or {}).values()))[0] not in (0, -args[0].ndim):
            return int(found)
        return found


class _Outputs(nn.Module):
    """A network whose outputs are one row of tensors with names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """As the network takes it -> its outputs."""
        return tuple(self.named(image).values())

    def named(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs by name: of a dict its keys, of a named tuple its fields, of a tuple output_0, output_1, ..."""
        found: Any = self.network(image)
        if isinstance(found, Tensor):
            return {"output": found}
        if hasattr(found, "_asdict"):
            found = found._asdict()
        if isinstance(found, (tuple, list)):
            found = {f"output_{number}": tensor for number, tensor in enumerate(found)}
        tensors = {str(name): tensor for name, tensor in found.items()} if isinstance(found, Mapping) else {}
        tensors = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
        if not tensors:
            raise ModelError(
                f"the network gives a {type(found).__name__} without tensors: let it return its descriptor"
            )
        return tensors


def _load_weights(network: nn.Module, path: Path, unused: Sequence[str]) -> None:
    """Load a state dict, also one in a checkpoint or of a module that was trained in parallel. Raises ModelError.

    unused: names of modules that the file may have and the network lacks.
    """
    if not path.is_file():
        raise ModelError(f"no file of weights {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read as weights ({brief(error, 60)}): save the state dict alone with torch.save"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise ModelError(f"{path} holds a {type(state).__name__}, not a state dict: save network.state_dict()")
    wanted = network.state_dict()
    state = {str(name): tensor for name, tensor in state.items()}
    for prefix in ("module.", "_orig_mod.", "model."):  # of data parallelism, torch.compile and Lightning
        if state and all(name.startswith(prefix) for name in state) and not state.keys() <= wanted.keys():
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    for module in unused:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{module}.") or name in wanted}
    missing, foreign = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    both = sorted(wanted.keys() & state.keys())
    shaped = [name for name in both if wanted[name].shape != getattr(state[name], "shape", None)]
    for names, what in ((missing, "lacks"), (foreign, "alone has"), (shaped, "has another shape of")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{path} is not of this network: it {what} {names[0]}{more}; check --option and --weights")
    network.load_state_dict(state)
