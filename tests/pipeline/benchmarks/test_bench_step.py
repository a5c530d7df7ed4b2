import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import stub_ways
import torch

from models.contrast.contrast import CUTFakes, CUTRandomness
from models.cut import CUTObjective
from models.objective import Batch
from pipeline.__main__ import main
from pipeline.benchmarks import step as bench
from pipeline.benchmarks.process import DIED
from pipeline.benchmarks.step import rows_of, time_ways
from pipeline.benchmarks.trial_steps import steps_of_each_kind, take_steps
from pipeline.benchmarks.ways import CHOICES, COMPILED_CUDA_WAYS, CPU_WAYS, CUDA_WAYS, PLAIN, ways_on
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.training.count_step import count_step

SMALL = ["task=stripes", "data.size=32", "model.generator.channels=4", "model.discriminator.channels=4"]
DEFAULT = "channels last = default"


@pytest.fixture
def folder(tmp_path: Path, costs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that keeps what steps cost for the next test."""
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/costs").symlink_to(costs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ways fail, or take as long as their process's number."""
    monkeypatch.setattr(bench, "time_step", stub_ways.time_way)


def parts(names: set[str]) -> set[str]:
    return {way for name in names for way in name.split(" = ")}


def test_ways_that_are_one_on_a_device_are_measured_once() -> None:
    on_cpu, on_cuda = (set(ways_on(device, SMALL)) for device in ("cpu", "cuda"))
    assert DEFAULT in on_cpu and {"default = no switch", "channels last"} <= on_cuda
    assert parts(on_cpu) == {PLAIN, *CPU_WAYS}
    assert parts(on_cuda) == {PLAIN, *CUDA_WAYS}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_choices_of_cut_are_rows_beside_the_plain_step(device: str) -> None:
    found = ways_on(device, [*SMALL, "model=cut"], choices=True)
    assert list(found) == [PLAIN, *CHOICES]
    models = [found[name].model for name in CHOICES]
    assert len({repr(model) for model in models}) == len(models)


def test_on_cuda_ways_that_compile_are_measured_when_asked_for() -> None:
    asked = parts(set(ways_on("cuda", SMALL, compiling=True)))
    assert asked == {PLAIN, *CUDA_WAYS, *COMPILED_CUDA_WAYS}


def test_only_the_ways_that_are_asked_for_are_measured() -> None:
    assert set(ways_on("cpu", SMALL, only=["bf16", "default"])) == {DEFAULT, "bf16"}
    with pytest.raises(UserError, match="'bf61' on cpu; did you mean bf16"):
        ways_on("cpu", SMALL, only=["bf61"])


@pytest.mark.parametrize("model", ["sincut", "dclgan"])
def test_later_methods_have_every_way_but_the_plain_one(model: str) -> None:
    crops = ["task=single", "data.root=none", f"model={model}", "model.num_patches=16"]
    assert parts(set(ways_on("cpu", crops))) == set(CPU_WAYS)
    with pytest.raises(UserError, match="no way is called 'plain' on cpu"):
        ways_on("cpu", crops, only=[PLAIN])


def failing_ways() -> dict[str, Config]:
    given = [PLAIN, "recompute", "no switch", "bf16", "default"]
    found = ways_on("cpu", [*SMALL, "model=cut"], only=given)
    order = [PLAIN, "recompute", "no switch", "bf16", DEFAULT]
    return {name: found[name] for name in order}


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_way_that_raises_and_one_whose_process_dies_become_rows_and_the_others_go_on(
    folder: Path, stub: None, capsys: pytest.CaptureFixture[str], *, sharing: bool
) -> None:
    configs = failing_ways()
    timings = time_ways(configs, 2, 1, sharing=sharing)
    rows = {row["way"]: row for row in rows_of("cut", configs, timings, torch.device("cpu"))}
    assert rows["recompute"]["error"] == DIED
    assert rows["bf16"]["error"] == "CUDA out of memory. Tried to allocate 2 GiB."
    assert rows["bf16"]["seconds"] == [] and rows["bf16"]["seconds_ratio"] is None
    done = (PLAIN, "no switch", DEFAULT)
    assert all(rows[way]["error"] is None and len(rows[way]["seconds"]) == 2 for way in done)
    # The stand-in's seconds are its process's number.
    processes = [second for way in done for second in rows[way]["seconds"]]
    assert len(set(processes)) == (3 if sharing else 6)
    if sharing:
        assert rows["no switch"]["seconds"][0] != rows[PLAIN]["seconds"][0], "a process that died is replaced"
        assert rows[DEFAULT]["seconds"][0] != rows["no switch"]["seconds"][0], "so is one in which a way failed"
        assert len({rows[way]["seconds"][1] for way in done}) == 1, "as long as none fails, all use one"
    assert "bf16: failed: CUDA out of memory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_way_that_compiles_has_a_process_of_its_own_each_time(stub: None) -> None:
    configs = ways_on("cpu", [*SMALL, "model=cut"], only=[PLAIN, "compile"])
    timings = time_ways(configs, 2, 1, sharing=True)
    processes = {way: {timed["seconds"] for timed in found} for way, found in timings.items()}
    assert len(processes[PLAIN]) == 1 and len(processes["compile"]) == 2
    assert not processes[PLAIN] & processes["compile"]


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_failed_way_stands_in_the_json_and_in_the_table(
    folder: Path, stub: None, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    asked = ["bench", "step", *SMALL, "model=cut", "--repeats=1", "--ways=bf16"]
    assert main([*asked, "--json"] if as_json else asked) == 0
    printed = capsys.readouterr().out
    assert "CUDA out of memory. Tried to allocate 2 GiB." in printed
    assert "GPU 0 has too little" not in printed
    assert not as_json or json.loads(printed)["rows"][0]["seconds_median"] is None


def test_steps_of_each_kind_take_turns_and_each_has_a_batch_and_draws_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose_config([*SMALL, "model=fastcut"])
    generate = CUTObjective.generate
    flips: list[bool] = []
    images: list[torch.Tensor] = []

    def watched(objective: CUTObjective, batch: Batch, draws: CUTRandomness, *_: object) -> CUTFakes:
        flips.append(draws.flipped)
        images.append(batch.a)
        return generate(objective, batch, draws)

    monkeypatch.setattr(CUTObjective, "generate", watched)
    for _ in take_steps(config, torch.device("cpu"), 1, steps_of_each_kind(config, 3), plain=False):
        pass
    assert flips == [False, True] * 3
    assert not any(one.equal(other) for one, other in combinations(images, 2))
    assert steps_of_each_kind(compose_config([*SMALL, "model=cut"]), 3) == [0, 1, 2]


@pytest.mark.slow
def test_operations_of_fastcut_are_the_mean_over_both_kinds_of_steps(folder: Path) -> None:
    config = compose_config([*SMALL, "model=fastcut"])
    timings = {"no switch": [{"seconds": 1.0}]}
    (row,) = rows_of("fastcut", {"no switch": config}, timings, torch.device("cpu"))
    unflipped = replace(config, model=replace(config.model, flip_equivariance=False))
    flipped_operations, unflipped_operations = count_step(config).operations, count_step(unflipped).operations
    assert unflipped_operations < flipped_operations
    assert row["operations"] == (flipped_operations + unflipped_operations) / 2


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_the_bench_of_steps_measures_every_way_and_compares_it_to_the_plain_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ",".join({PLAIN, *CPU_WAYS} - {"compile"})  # a minute; test_trial.py compiles
    assert main(["bench", "step", *SMALL, "model=cut", "--repeats=1", f"--ways={ways}", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["part"] == "step" and report["settings"]["image_size"] == [32, 32]
    rows = {row["way"]: row for row in report["rows"]}
    assert set(rows) == set(ways_on("cpu", SMALL)) - {"compile"}
    plain, default = rows[PLAIN], rows[DEFAULT]
    assert plain["seconds_ratio"] == plain["live_ratio"] == 1
    assert plain["operations"] > default["operations"]
    counted = count_step(compose_config([*SMALL, "model=cut"]))
    assert default["live_gb"] == counted.live_gb
    assert default["live_ratio"] == counted.live_gb / plain["live_gb"]
    for row in rows.values():
        assert row["error"] is None and row["utilisation"] is row["host_seconds"] is None
        assert len(row["seconds"]) == 1 and min(row["seconds"]) > 0 and row["process_peak_gb"] > 0.1
