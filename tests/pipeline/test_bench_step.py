import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.bench_step import CUDA_WAYS, PLAIN, WAYS, ways_on
from pipeline.config import compose_config
from pipeline.cost import count_step

SMALL = ["task=stripes", "data.size=32", "model.generator.channels=4", "model.discriminator.channels=4"]


def test_ways_that_are_one_on_a_device_are_measured_once() -> None:
    on_cpu, on_cuda = (set(ways_on(device, SMALL)) for device in ("cpu", "cuda"))
    assert {"channels last = default", "no switch"} <= on_cpu
    assert {"no switch = default", "channels last"} <= on_cuda
    for names, ways in ((on_cpu, WAYS), (on_cuda, {**WAYS, **CUDA_WAYS})):
        assert {way for name in names for way in name.split(" = ")} == {PLAIN, *ways}


@pytest.mark.slow
def test_the_bench_of_steps_measures_every_way_and_compares_it_to_the_plain_one(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(WAYS, "compile")  # a minute; test_trial.py compiles
    assert main(["bench", "step", *SMALL, "model=cut", "--repeats=1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    steps = {step["way"]: step for step in report["steps"]}
    assert set(steps) == set(ways_on("cpu", SMALL))
    plain, default = steps[PLAIN], steps["channels last = default"]
    assert plain["seconds_ratio"] == plain["live_ratio"] == 1
    assert plain["cost"]["operations"] > default["cost"]["operations"]
    counted = count_step(compose_config([*SMALL, "model=cut"]))
    assert default["cost"]["live_gb"] == counted.live_gb
    assert default["live_ratio"] == counted.live_gb / plain["cost"]["live_gb"]
    for step in steps.values():
        assert len(step["seconds"]) == 1 and min(step["seconds"]) > 0 and step["process_peak_gb"] > 0.1
