import os
from contextlib import ExitStack
from pathlib import Path

import pytest
import stub_packed

from pipeline.benchmarks import packing
from pipeline.benchmarks.packing import SIDE_BY_SIDE, Sharing, measure, pinned_cores, run_together, ways_to_share
from pipeline.benchmarks.process import DIED
from pipeline.config.compose import compose_config

SMALL = ["task=stripes", "data.size=32", "model.generator.channels=4", "model.discriminator.channels=4"]
ALL_CORES = Sharing("all cores", {})


def test_a_trial_that_is_killed_while_others_count_becomes_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "count_steps", stub_packed.count_and_die)
    found = run_together(compose_config(SMALL), 2, ALL_CORES, 600.0)
    assert (found["steps_per_second"], found["error"]) == (None, DIED)


def test_a_trial_that_raises_before_the_start_does_not_keep_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = Sharing("MPS", {stub_packed.FIRST_OF_ALL: str(tmp_path / "there")})
    monkeypatch.setattr(packing, "count_steps", stub_packed.raise_at_once)
    found = run_together(compose_config(SMALL), 2, way, 600.0)
    assert found["error"] == "CUDA error: device-side assert"


def test_a_trial_that_exits_early_becomes_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "count_steps", stub_packed.exit_at_once)
    found = run_together(compose_config(SMALL), 1, ALL_CORES, 600.0)
    assert found["error"] == DIED


def test_what_trials_print_does_not_reach_standard_output(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "count_steps", stub_packed.show_surroundings)
    found = run_together(compose_config(SMALL), 1, ALL_CORES, 1.0)
    assert found["steps_per_second"] == found["threads"]
    printed = capfd.readouterr()
    assert printed.out == "" and "not for standard output" in printed.err


def test_pinned_trials_have_cores_of_their_own_as_long_as_there_are_enough() -> None:
    assert [pinned_cores([0, 1, 4, 5], number, 2) for number in range(2)] == [{0, 1}, {4, 5}]
    assert [pinned_cores([2, 7], number, 1) for number in range(4)] == [{2}, {7}, {2}, {7}]


def test_where_mps_cannot_be_had_a_line_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    notes: list[str] = []
    with ExitStack() as daemons:
        (alone,) = ways_to_share("cuda", daemons, notes)
        folder = Path(alone.environment["CUDA_MPS_PIPE_DIRECTORY"])
        assert folder.is_dir() and not any(folder.iterdir()), "CUDA finds no daemon there"
    assert notes == ["MPS was not measured: nvidia-cuda-mps-control is not on the PATH."]


def test_a_daemon_that_does_not_start_leaves_the_plain_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = tmp_path / "nvidia-cuda-mps-control"
    control.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    control.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    notes: list[str] = []
    with ExitStack() as daemons:
        assert len(ways_to_share("cuda", daemons, notes)) == 1
    assert len(notes) == 1 and notes[0].startswith("MPS was not measured: ")


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_the_bench_of_packing_counts_steps_of_all_trials() -> None:
    with ExitStack() as daemons:
        ways = ways_to_share("cpu", daemons, [])
    found = measure(compose_config(SMALL), 1, ways, seconds=1.0)
    assert [(one["sharing"], one["trials"]) for one in found] == [
        *(("all cores", trials) for trials in SIDE_BY_SIDE),
        *(("cores pinned", trials) for trials in SIDE_BY_SIDE if trials > 1),
    ]
    assert all(one["error"] is None and one["steps_per_second"] > 1 for one in found)
