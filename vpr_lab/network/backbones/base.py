"""The interface of an image encoder, and how it loads its starting weights."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vpr_ros.base.errors import ModelError
from vpr_ros.base.image import IMAGENET, Preprocessing

TORCHVISION = "https://download.pytorch.org/models"
_STATE_DICTS = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "efficientnet_v2_s": "efficientnet_v2_s-dd5fe13b.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "vgg16": "vgg16-397923af.pth",
}
_KERAS = {
    "mobilenet_v1_imagenet.npz": "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
    "mobilenet_1_0_224_tf_no_top.h5",
    "squeezenet1_1_imagenet.npz": "https://github.com/rcmalli/keras-squeezenet/releases/download/v1.0/"
    "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


class Pyramid(NamedTuple):
    """Features (B, C, H / stride, W / stride) at three strides for the depth decoder, and those that describe places.

    Networks that do not pad have a row or two less: AlexNet gives 55, 27 and 13 of 224 pixels. place: see each encoder.
    """

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    place: Tensor


class Backbone(nn.Module):
    """What every encoder offers.

    channels: of its pyramid's levels. place_parts: channels of the layers that ``place`` joins, empty for one layer.
    layout_weights: of these layers where it counts where things are; empty: all count the same.
    preprocessing: mean and std its weights expect. torchvision: the model there
    whose state dict ``load_weights`` reads, and left_out: what its keys that are of no use here begin with.
    """

    channels: tuple[int, int, int, int]
    place_parts: tuple[int, ...] = ()
    layout_weights: tuple[float, ...] = ()
    preprocessing: Preprocessing = IMAGENET
    torchvision: str = ""
    left_out: tuple[str, ...] = ("classifier.",)

    def blocks(self) -> Iterator[nn.Module]:
        """The layers from the image upwards, in groups that are frozen or trained as one."""
        raise NotImplementedError

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights, here torchvision's state dict (.pth) without its classifier.

        Raises ModelError if the file lacks a layer or has another shape.
        """
        load_torchvision(self, path, self.torchvision, self.left_out)

    def encode(self, x: Tensor) -> Pyramid:
        """(B, 3, H, W) float32, normalised -> features."""
        raise NotImplementedError

    def normalised(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, as ``encode`` takes it."""
        own = self.preprocessing
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (own.mean, own.std))
        return (images.float().permute(0, 3, 1, 2) - mean) / std

    def forward(self, images: Tensor) -> Pyramid:
        """(B, H, W, 3) uint8 RGB -> features."""
        return self.encode(self.normalised(images))


class FeatureStack(Backbone):
    """An encoder that is one row of layers, ``features`` as torchvision calls them.

    LEVELS: which layers' outputs are the pyramid's. A block is a layer that has weights.
    """

    LEVELS: tuple[int, int, int, int]

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        for module in features.modules():
            if isinstance(module, nn.Conv2d):  # without this a deep stack without batch norm starts out silent
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def blocks(self) -> Iterator[nn.Module]:
        yield from (layer for layer in self.features if next(layer.parameters(), None) is not None)

    def encode(self, x: Tensor) -> Pyramid:
        outputs = {}
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.LEVELS:
                outputs[number] = x
        return Pyramid(*(outputs[number] for number in self.LEVELS))


def load_torchvision(module: nn.Module, path: Path, name: str, left_out: tuple[str, ...]) -> None:
    """Fill ``module`` from the state dict (.pth) of torchvision's model ``name``.

    left_out: keys that begin so are passed over. Raises ModelError if any other is missing, too many or misshapen.
    """
    if name not in _STATE_DICTS:
        raise ModelError(f"no weights are published for this backbone, so {path} cannot be used: leave weights empty")
    if not path.is_file():
        raise _missing(path, f"download torchvision's {name} state dict from {TORCHVISION}/{_STATE_DICTS[name]}")
    state = _read_state(path, f"torchvision's {name} state dict")
    given = {key: value for key, value in state.items() if not key.startswith(left_out)}
    misfit = _misfit(module.state_dict(), given)
    if misfit:
        raise ModelError(f"{path} is not torchvision's {name} state dict: {misfit}")
    module.load_state_dict(given)


def _missing(path: Path, remedy: str) -> ModelError:
    return ModelError(f"there are no starting weights at {path}: {remedy}, or leave weights empty to start from none")


def _read_state(path: Path, kind: str) -> dict[str, Tensor]:
    """What a .pth holds, nothing if it is no state dict. Raises ModelError if it cannot be read."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise ModelError(f"{path} is not {kind}: {str(error).splitlines()[0]}") from error
    state = isinstance(loaded, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items())
    return dict(loaded) if state else {}


def _misfit(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """Why the given tensors cannot be loaded, or nothing. Old files do not count batch norm's batches."""
    for name, tensor in wanted.items():
        if name not in given:
            if not name.endswith("num_batches_tracked"):
                return f"it has no {name}"
        elif given[name].shape != tensor.shape:
            return f"its {name} is of shape {tuple(given[name].shape)} and not {tuple(tensor.shape)}"
    return next((f"it has {name}, which this backbone has not" for name in given if name not in wanted), "")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of a .npz. Raises ModelError if it is another kind of file, or missing (with its source)."""
    if not path.is_file():
        origin = _KERAS.get(path.name, "Keras' weights")
        raise _missing(path, f"make it of {origin} with tools/convert_weights.py")
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"the starting weights {path} cannot be read as .npz: {error}") from error


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """Every array of a .npz or of a state dict (.pth). Raises ModelError; remedy: what to do if the file is missing."""
    if not path.is_file():
        raise _missing(path, remedy)
    if path.suffix == ".npz":
        return read_npz(path)
    return {name: tensor.float().numpy() for name, tensor in _read_state(path, "a state dict").items()}


def copy_array(arrays: dict[str, np.ndarray], name: str, target: Tensor | None, path: Path) -> None:
    """Copy one array into a parameter or buffer; raises ModelError if it is missing or has another shape."""
    if target is None or name not in arrays or arrays[name].shape != tuple(target.shape):
        raise ModelError(f"{path} has no array {name} of the shape this backbone needs")
    with torch.no_grad():
        target.copy_(torch.from_numpy(arrays[name]))
