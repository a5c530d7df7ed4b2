import threading
from pathlib import Path

import pytest
import torch

from pipeline.config.schema import TrainConfig
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import SECONDS_APART, Checkpoints, load_checkpoint


@pytest.mark.parametrize("background", [False, True])
def test_all_jobs_are_done_in_their_order(background: bool) -> None:
    done: list[int] = []
    with Writer(background=background) as writer:
        for number in range(50):
            writer.write(lambda number=number: done.append(number))
    assert done == list(range(50))


def test_a_background_job_does_not_delay_the_caller() -> None:
    may_end, order = threading.Event(), []
    with Writer(background=True) as writer:
        writer.write(lambda: (may_end.wait(60), order.append("work")))
        order.append("training")
        may_end.set()
    assert order == ["training", "work"]


@pytest.mark.parametrize("background", [False, True])
def test_an_error_is_raised_and_no_later_job_is_done(background: bool) -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError("No space left on device")

    def run() -> None:
        with Writer(background=background) as writer:
            writer.write(lambda: done.append("before"))
            writer.write(fail)
            writer.write(lambda: done.append("behind"))

    with pytest.raises(OSError, match="No space left"):
        run()
    assert done == ["before"]


def test_an_error_of_the_training_is_not_hidden_by_one_of_writing() -> None:
    def fail() -> None:
        raise OSError("No space left on device")

    def run() -> None:
        with Writer(background=True) as writer:
            writer.write(fail)
            raise ValueError("the training's own")

    with pytest.raises(ValueError, match="the training's own"):
        run()


def test_a_background_checkpoint_has_the_state_at_the_call(tmp_path: Path) -> None:
    weight, may_write = torch.ones(3), threading.Event()
    with Writer(background=True) as writer:
        writer.write(lambda: may_write.wait(60))
        Checkpoints(tmp_path / "last.pt", TrainConfig(), writer).save({"weight": weight})
        weight.fill_(2)
        may_write.set()
    assert torch.equal(load_checkpoint(tmp_path / "last.pt")["weight"], torch.ones(3))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pipeline.training.checkpoint.time.monotonic", clock)
    return clock


def due(checkpoints: Checkpoints, epoch: int) -> bool:
    return checkpoints.due(epoch, epoch_ends=True, last=False)


def test_a_checkpoint_is_due_at_the_end_of_every_so_many_epochs(tmp_path: Path, clock: Clock) -> None:
    checkpoints = Checkpoints(tmp_path / "last.pt", TrainConfig(checkpoint_every_epochs=2), Writer(background=False))
    assert [due(checkpoints, epoch) for epoch in (1, 2, 3, 4)] == [False, True, False, True]
    assert not checkpoints.due(2, epoch_ends=False, last=False)
    assert checkpoints.due(1, epoch_ends=False, last=True)


def test_a_checkpoint_is_due_within_a_long_epoch(tmp_path: Path, clock: Clock) -> None:
    checkpoints = Checkpoints(tmp_path / "last.pt", TrainConfig(checkpoint_every_minutes=3), Writer(background=False))
    clock.now += 179
    assert not checkpoints.due(0, epoch_ends=False, last=False)
    clock.now += 1
    assert checkpoints.due(0, epoch_ends=False, last=False)
    checkpoints.save({})
    assert not checkpoints.due(0, epoch_ends=False, last=False)


def test_short_epochs_share_a_background_checkpoint(tmp_path: Path, clock: Clock) -> None:
    with Writer(background=True) as writer:
        checkpoints = Checkpoints(tmp_path / "last.pt", TrainConfig(), writer)
        assert due(checkpoints, 1)
        checkpoints.save({})
        assert checkpoints._saving is not None
        checkpoints._saving.result(60)
        clock.now += SECONDS_APART - 1
        assert not due(checkpoints, 2)
        assert checkpoints.due(2, epoch_ends=True, last=True)
        clock.now += 1
        assert due(checkpoints, 3)


def test_no_second_checkpoint_is_begun_while_one_is_written(tmp_path: Path, clock: Clock) -> None:
    may_write = threading.Event()
    with Writer(background=True) as writer:
        writer.write(lambda: may_write.wait(60))
        checkpoints = Checkpoints(tmp_path / "last.pt", TrainConfig(), writer)
        checkpoints.save({})
        clock.now += 10_000
        assert not due(checkpoints, 7)
        may_write.set()
