"""Weights from outside, held against the network they are for before any is taken over."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], place: str, names: Mapping[str, str] | None = None
) -> None:
    """Copy every tensor of the network from `weights`.

    names: what the weights call each tensor of the network's state, where that differs. Raises ValueError with
    `place`, the tensor as the weights call it, what was expected and what was found; the network is then unchanged.
    """
    state = network.state_dict()
    called = names or {name: name for name in state}
    expected = {called[name]: tensor for name, tensor in state.items()}
    for name, tensor in expected.items():
        if name not in weights:
            raise ValueError(f"{place}: {name} is missing; expected {tuple(tensor.shape)}")
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"{place}: {name} is {tuple(weights[name].shape)}; expected {tuple(tensor.shape)} "
                "beside the tensors before it"
            )
        if not bool(torch.isfinite(weights[name]).all()):
            raise ValueError(f"{place}: {name} holds values that are not finite; expected none")
    for name, tensor in weights.items():
        if name not in expected:
            raise ValueError(f"{place}: {name} of {tuple(tensor.shape)} is one too many; expected no such tensor")
    network.load_state_dict({name: weights[called[name]] for name in state})
