"""The option --device of the commands that train."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from vpr_ros.base.errors import ConfigError


def _usable(device: str) -> str:
    """The device, if torch can use it here. Raises ConfigError."""
    if device == "cpu":
        return device
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise ConfigError(f"--device {device}: give cpu, cuda, or cuda:N for one of several cards")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise ConfigError(f"--device {device}: torch finds {count or 'no'} such card(s) here; give --device cpu")
    return device


Device = Annotated[str, typer.Option(callback=_usable, help="cpu, cuda, or cuda:N for one of several cards.")]
