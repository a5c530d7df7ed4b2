"""Which trials several processes can train together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.parallel import processes_of
from pipeline.config.schema import ComputeConfig, Config
from pipeline.config.trial_key import trial_key
from pipeline.errors import UserError

TWO = ("compute.gpus_per_trial=2", "train.batch_size=4")


@pytest.mark.parametrize(("gpus", "processes"), [("auto", 1), (0.25, 1), (1.0, 1), (2.0, 2), (8.0, 8)])
def test_each_whole_gpu_above_one_is_a_process(gpus: float, processes: int) -> None:
    assert processes_of(ComputeConfig(gpus_per_trial=gpus)) == processes  # pyright: ignore[reportArgumentType]


def test_a_trial_has_the_same_key_in_any_number_of_processes(tiny: Callable[..., Config]) -> None:
    one, two, four = (tiny("train.batch_size=4", f"compute.gpus_per_trial={count}") for count in (1, 2, 4))
    assert trial_key(one, "data", "") == trial_key(two, "data", "") == trial_key(four, "data", "")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("train.batch_size=3",), "but train.batch_size is 3; set train.batch_size to a multiple of 2"),
        (("train.batch_size=1",), "but train.batch_size is 1; set train.batch_size to a multiple of 2"),
        (("train.cuda_graphs=true",), "train.cuda_graphs=true records the steps of one process"),
    ],
)
def test_what_several_processes_cannot_train_is_refused(
    tiny: Callable[..., Config], overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=f"^command line: .*{said}"):
        tiny(*TWO, *overrides)


def test_functions_of_the_users_file_see_whole_batches(tiny: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def mine(source, output):\n    return (output - source).abs().mean()\n")
    used = (f"model.code={file}", "model.extra_loss=mine")
    with pytest.raises(UserError, match=r"compute.gpus_per_trial=2 shows the functions of .*mine.py only a part"):
        tiny(*TWO, *used)
    assert tiny(*TWO, *used, "model.extra_weight=0").model
    assert replace(tiny(*used), compute=ComputeConfig(gpus_per_trial=1.0))
