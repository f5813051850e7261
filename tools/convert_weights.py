#!/usr/bin/env python3
"""Turn Keras' ImageNet weights (.h5) into a .npz that MobileNetV1 and SqueezeNet 1.1 start from; needs h5py.

Usage: python tools/convert_weights.py mobilenet_1_0_224_tf_no_top.h5 weights/mobilenet_v1_imagenet.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np


def convert(source: Path) -> dict[str, np.ndarray]:
    """Every array by its layer and kind, such as "conv_pw_3/kernel"; kernels as (out, in, h, w), float32.

    Keras has them as (h, w, in, out), and as (h, w, channels, 1) where they are depthwise. Raises OSError for a file
    that is no HDF5, KeyError for one without Keras' names.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with h5py.File(source) as file:
        layers = file if "layer_names" in file.attrs else file["model_weights"]
        for layer in _names(layers, "layer_names"):
            for name in _names(layers[layer], "weight_names"):
                kind = name.rpartition("/")[2].partition(":")[0]
                array = np.asarray(layers[layer][name], np.float32)
                if array.ndim == 4:
                    array = array.transpose((2, 3, 0, 1) if kind == "depthwise_kernel" else (3, 2, 0, 1))
                arrays[f"{layer}/{kind}"] = np.ascontiguousarray(array)
    return arrays


def _names(group: Any, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def main() -> None:
    """Parse, convert, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="Keras' file, .h5")
    parser.add_argument("target", type=Path, help="file to write, .npz")
    given = parser.parse_args()
    try:
        arrays = convert(given.source)
    except ImportError:
        sys.exit("reading .h5 needs h5py: pip install h5py")
    except (OSError, KeyError) as error:
        sys.exit(f"{given.source} holds no weights of Keras: {error}")
    given.target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.target, **arrays)  # type: ignore[arg-type]
    print(f"{given.target}: {len(arrays)} arrays")


if __name__ == "__main__":
    main()
