"""Weights from outside, held against the network they are for before any is taken over."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn


def named_tensors(content: object, path: str) -> dict[str, Tensor]:
    """The tensors in what torch.load gave. Raises ValueError, with `path`, where it holds anything else."""
    entries = cast(dict[object, object], content if isinstance(content, dict) else {})
    named = all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in entries.items())
    if not entries or not named:
        raise ValueError(f"{path}: holds something else than named tensors; give a file like latest_net_G.pth")
    return cast(dict[str, Tensor], entries)


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], path: str, names: Mapping[str, str] | None = None
) -> None:
    """Copy every tensor of the network from `weights`.

    names: what the weights call each tensor of the network's state, where that differs. Raises ValueError with
    `path`, the tensor as the weights call it, what was expected and what was found; the network is then unchanged.
    """
    state = network.state_dict()
    called = names or {name: name for name in state}
    known = set(called.values())
    fitting = {name: _fitting(weights, called[name], tensor, path) for name, tensor in state.items()}
    for name, tensor in weights.items():
        if name not in known:
            raise ValueError(f"{path}: {name} of {tuple(tensor.shape)} is one too many; expected no such tensor")
    network.load_state_dict(fitting)


def _fitting(weights: Mapping[str, Tensor], name: str, expected: Tensor, path: str) -> Tensor:
    """The named tensor in the expected one's type."""
    if name not in weights:
        raise ValueError(f"{path}: {name} is missing; expected {tuple(expected.shape)}")
    found = weights[name]
    if found.shape != expected.shape:
        raise ValueError(f"{path}: {name} is {tuple(found.shape)}; expected {tuple(expected.shape)}")
    if found.layout != torch.strided or found.is_meta or found.is_floating_point() != expected.is_floating_point():
        raise ValueError(f"{path}: {name} holds {found.dtype} ({found.layout}); expected plain {expected.dtype}")
    converted = found.to(expected.dtype)
    if not bool(torch.isfinite(converted).all()):
        raise ValueError(f"{path}: {name} holds values that are not finite; expected none")
    return converted
