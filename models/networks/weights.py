"""Load weights from files, after checking all of them against the network."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn


def named_tensors(content: object, path: str) -> dict[str, Tensor]:
    """Return the named tensors that torch.load gave. Raise ValueError, with `path`, for anything else."""
    entries = cast(dict[object, object], content if isinstance(content, dict) else {})
    named = all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in entries.items())
    if not entries or not named:
        raise ValueError(f"{path}: does not hold named tensors; give a file like latest_net_G.pth")
    return cast(dict[str, Tensor], entries)


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], path: str, names: Mapping[str, str] | None = None
) -> None:
    """Copy every tensor of the network from `weights`.

    names: the name in `weights` of each tensor of the network's state, if it differs. Raises ValueError with `path`,
    the tensor's name in `weights`, what was expected and what was found. The network is then unchanged. A network on
    the device 'meta' gets its memory only when all weights fit.
    """
    state = network.state_dict()
    called = names or {name: name for name in state}
    known = set(called.values())
    fitting = {name: _fitting(weights, called[name], tensor, path) for name, tensor in state.items()}
    for name, tensor in weights.items():
        if name not in known:
            raise ValueError(f"{path}: {name} of {tuple(tensor.shape)} is not expected; the network has no such tensor")
    if any(tensor.is_meta for tensor in state.values()):
        network.to_empty(device="cpu")
    network.load_state_dict(fitting)


def matrix_in(weights: Mapping[str, Tensor], name: str, path: str) -> Tensor:
    """Return the named tensor. Raise ValueError, with `path`, if it is missing or no weight of a layer."""
    if name not in weights or weights[name].dim() < 2 or weights[name].numel() == 0:
        raise ValueError(f"{path}: {name} is missing or no matrix; expected the weight of a layer")
    return weights[name]


def _fitting(weights: Mapping[str, Tensor], name: str, expected: Tensor, path: str) -> Tensor:
    """Return the named tensor in the type of the expected one."""
    if name not in weights:
        raise ValueError(f"{path}: {name} is missing; expected {tuple(expected.shape)}")
    found = weights[name]
    if found.shape != expected.shape:
        raise ValueError(f"{path}: {name} is {tuple(found.shape)}; expected {tuple(expected.shape)}")
    if found.layout != torch.strided or found.is_meta or found.is_floating_point() != expected.is_floating_point():
        raise ValueError(f"{path}: {name} holds {found.dtype} ({found.layout}); expected plain {expected.dtype}")
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise ValueError(f"{path}: {name} repeats its values; expected a value for each of {tuple(expected.shape)}")
    converted = found.to(expected.dtype)
    if not bool(torch.isfinite(converted).all()):
        raise ValueError(f"{path}: {name} holds values that are not finite; expected none")
    return converted
