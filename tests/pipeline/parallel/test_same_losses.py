"""Two processes with half of each batch train as one process with the whole batch."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import parallel_steps
import pytest
import torch
from parallel_steps import CPU, METHODS, Taken, help_taking_all, state_of, take_all, take_step, take_steps

from models.configs.cut import CUTConfig
from models.configs.cyclegan import CycleGANConfig
from models.objective import Ranks
from pipeline.parallel.group import join_group, leave_group
from pipeline.parallel.processes import further_processes
from pipeline.training.state import TrainState

Together = dict[tuple[str, torch.dtype], list[Taken]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two processes share the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    """The steps of the first of two processes."""
    folder = tmp_path_factory.mktemp("group")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(parallel_steps.__file__).parent), prepend=os.pathsep)
        with further_processes(help_taking_all, [(str(folder), 1, 2)], [{}]) as further:
            further.wait_until_ready(1)
            try:
                return take_all(join_group(folder, 0, 2, CPU, 1))
            finally:
                leave_group(CPU)


@cache
def alone(method: str) -> list[Taken]:
    """The steps of one process, in float64."""
    return take_steps(method, torch.float64)


@pytest.mark.parametrize("method", METHODS)
def test_ten_steps_in_float64_have_the_losses_of_one_process_to_1e_9(together: Together, method: str) -> None:
    pair = together[method, torch.float64]
    assert len(pair) == 10
    for expected, found in zip(alone(method), pair, strict=True):
        torch.testing.assert_close(found.losses, expected.losses, rtol=1e-9, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_each_step_in_float32_has_the_gradients_of_one_process_to_1e_5(together: Together, method: str) -> None:
    """From the same weights, as a part of each phase's gradient in length."""
    for number, found in enumerate(together[method, torch.float32]):
        expected = take_step(resumed(method, found), number, torch.float32)
        for phase, gradient in expected.gradients.items():
            ours, theirs = (
                torch.cat([part.flatten() for part in parts]) for parts in (found.gradients[phase], gradient)
            )
            assert (ours - theirs).norm() <= 1e-5 * theirs.norm(), f"step {number}, {phase}"


def resumed(method: str, taken: Taken) -> TrainState:
    """A state in one process with the networks, pools and queues that two processes had before a step."""
    state = state_of(method, torch.float32)
    state.load_state_dict(taken.before)
    return state


@pytest.mark.parametrize("method", METHODS)
def test_pools_and_queues_hold_what_the_whole_batch_gives(together: Together, method: str) -> None:
    whole, pair = (taken[-1].before["objective"] for taken in (alone(method), together[method, torch.float64]))
    kept = [name for name in whole if "queues" in name or name.startswith("pool_")]
    config = METHODS[method]
    assert bool(kept) == (isinstance(config, CycleGANConfig) or (isinstance(config, CUTConfig) and config.keeps_queues))
    torch.testing.assert_close([pair[name] for name in kept], [whole[name] for name in kept], rtol=1e-9, atol=1e-12)


def test_parts_of_a_batch_are_its_images_in_order() -> None:
    batch = torch.arange(6.0)
    parts = [Ranks(rank, 3).own(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch)
    second = Ranks(1, 3, gather=lambda part: batch)
    assert second.others(second.own(batch)).tolist() == [0.0, 1.0, 4.0, 5.0]
