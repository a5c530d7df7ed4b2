"""Ten steps in float64 against golden cases of the reference's step (tests/helpers/ten_steps.py)."""

from functools import cache
from typing import Any

import pytest
import torch
from ten_steps import FILES, OURS, REFERENCE, STARTS, Implementation, kept_of, make_case, moved_by_rounding, take_steps
from torch import Tensor

CASES: dict[str, Any] = {name: torch.load(FILES / f"{name}.pt", weights_only=True) for name in STARTS}
Weights = dict[str, dict[str, Tensor]]


@cache
def taken(name: str, implementation: Implementation) -> tuple[dict[str, Tensor], Weights]:
    return take_steps(name, implementation, CASES[name]["draws"])


def assert_same_losses(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def assert_same_weights(name: str, found: Weights, expected: Weights) -> None:
    """Compare to 1e-9 of each value. Adam divides by at least 1e-8, so biases whose gradient is rounding move a little.

    Other differences stay below 1e-15, so 1e-13 only spares values that are almost 0.
    """
    free = moved_by_rounding(name)
    for network, tensors in expected.items():
        assert found[network].keys() == tensors.keys()
        for key, tensor in tensors.items():
            atol = 1e-8 if key in free[network] else 1e-13
            difference = (found[network][key] - tensor).abs()
            assert (difference <= 1e-9 * tensor.abs() + atol).all(), f"{network} {key} by {difference.max():.0e}"


@pytest.mark.parametrize("name", STARTS)
def test_ten_steps_in_float64_have_the_golden_losses_and_weights(name: str) -> None:
    losses, weights = taken(name, OURS)
    assert_same_losses(losses, CASES[name]["losses"])
    assert_same_weights(name, kept_of(weights), CASES[name]["weights"])


@pytest.mark.parametrize("name", STARTS)
def test_ten_steps_in_float64_end_with_all_weights_of_the_references_step(name: str) -> None:
    assert_same_weights(name, taken(name, OURS)[1], taken(name, REFERENCE)[1])


@pytest.mark.parametrize("name", STARTS)
def test_ten_golden_steps_made_anew_are_the_same(name: str) -> None:
    made = make_case(name)
    torch.testing.assert_close(made["draws"], CASES[name]["draws"], rtol=0, atol=0)
    assert_same_losses(made["losses"], CASES[name]["losses"])
    assert_same_weights(name, made["weights"], CASES[name]["weights"])


def test_ten_golden_steps_have_flips_and_every_use_of_the_pools() -> None:
    assert {step["flipped"] for step in CASES["fastcut"]["draws"]} == {False, True}
    for pool in ("pool_b", "pool_a"):
        used = {(bool(c["hands_out"]), bool(c["keeps"])) for c in (step[pool] for step in CASES["cyclegan"]["draws"])}
        assert used == {(False, True), (False, False), (True, True)}
