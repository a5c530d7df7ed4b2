"""The words for timing conditions: forecasts read what trials write."""

from collections.abc import Callable
from itertools import product

import pytest
import torch

from models.configs.execution import Execution
from pipeline.config.schema import Config
from pipeline.hardware.share import Share
from pipeline.hardware.timing_conditions import execution_in, execution_name, ran_under_mps, timed_name
from pipeline.trial import record as trial
from pipeline.trial.job import TrialJob

WAYS = [
    Execution(precision=precision, channels_last=layout, recompute=recompute, compile=compiled, cuda_graphs=graphs)
    for precision, layout, recompute, compiled, graphs in product(
        ("float32", "bf16"), (True, False), (True, False), (True, False), (True, False)
    )
]


def test_every_execution_has_a_name_that_no_other_has() -> None:
    assert len({execution_name(way, "cuda") for way in WAYS}) == len(WAYS)


@pytest.mark.parametrize("packed", ["alone", "up to 2 side by side"])
@pytest.mark.parametrize("device_name", ["AMD EPYC 7B13", "A card, with a comma"])
def test_records_from_before_the_tag_say_their_execution_in_another(device_name: str, packed: str) -> None:
    for way in WAYS:
        execution = execution_name(way, "cuda")
        timed = timed_name(device_name, 2, execution, packed, mps=False)
        tags = {"device_name": device_name, "threads": "2", "packed": packed, "timed": timed}
        assert execution_in(tags) == execution
        assert execution_in({**tags, "execution": "another"}) == "another"


def test_the_first_records_had_no_switches() -> None:
    assert execution_in({"device_name": "EPYC", "threads": "1"}) == "float32"
    assert execution_in({"precision": "float32 (convolutions in TF32)"}) == "float32 (convolutions in TF32)"


def test_records_from_before_mps_ran_without_it() -> None:
    assert not ran_under_mps({})
    assert not ran_under_mps({"mps": "no"})
    assert ran_under_mps({"mps": "yes"})


@pytest.fixture
def job(tiny: Callable[..., Config]) -> TrialJob:
    return TrialJob(tiny(), "key", "run", "data", "checkpoint", "cache", "uri", Share(1, 0.0, 4.0, 2))


def test_times_on_a_cpu_are_told_as_ever_so_checkpoints_go_on_with_them(job: TrialJob) -> None:
    tags = trial.device_tags(job)
    assert tags["timed"] == f"on {tags['device_name']} with 1 threads, float32, channels last, up to 2 side by side"
    assert tags["execution"] == "float32, channels last"
    assert "mps" not in tags


@pytest.mark.parametrize("runs", [True, False])
def test_times_on_a_gpu_say_whether_mps_ran(job: TrialJob, monkeypatch: pytest.MonkeyPatch, *, runs: bool) -> None:
    monkeypatch.setattr(trial, "resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(trial, "device_name", lambda device: "H100")
    monkeypatch.setattr(trial, "mps_runs", lambda: runs)
    tags = trial.device_tags(job)
    without = "on H100 with 1 threads, float32 (convolutions in TF32), up to 2 side by side"
    assert tags["timed"] == (f"{without}, under MPS" if runs else without)
    assert (ran_under_mps(tags), tags["mps"]) == (runs, "yes" if runs else "no")
    assert execution_in(tags) == "float32 (convolutions in TF32)"
