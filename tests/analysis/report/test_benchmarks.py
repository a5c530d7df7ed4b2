"""The tables of docs/performance.md, from reports whose figures are made up."""

import json
from typing import Any

import pytest

from analysis.report.benchmarks import SECTIONS, measurements_section, read_measurement

H100 = "NVIDIA H100 80GB HBM3"
SETTINGS: dict[str, Any] = {"overrides": [], "image_size": [256, 256], "batch_size": 1}
GRAPHS = {"precision": "bf16", "channels_last": True, "recompute": False, "compile": False, "cuda_graphs": True}


def report(part: str, rows: list[dict[str, Any]], measured: dict[str, Any], **changed: Any) -> str:
    known = {"part": part, "device": H100, "device_type": "cuda", "threads": 16, "repeats": 3, "torch": "2.14.1"}
    return json.dumps({**known, "date": "2026-11-28", "settings": measured, "notes": [], "rows": rows, **changed})


def step(model: str, way: str, milliseconds: float, **changed: Any) -> dict[str, Any]:
    seconds = milliseconds / 1000
    known = {"model": model, "way": way, "error": None, "execution": None, "seconds": [seconds]}
    known |= {"seconds_median": seconds, "seconds_ratio": 1.0, "host_ratio": 0.5, "operations": 1.2845e12}
    known |= {"utilisation": 0.162, "live_gb": None, "live_ratio": None, "process_peak_gb": 3.0}
    return {**known, "peak_allocated_gb": 2.4, "peak_reserved_gb": 3.1, **changed}


def failed(model: str, way: str, error: str) -> dict[str, Any]:
    return dict.fromkeys(step(model, way, 1.0)) | {"model": model, "way": way, "error": error, "seconds": []}


def table(text: str) -> list[list[str]]:
    """The cells of every line of the only table."""
    shown = measurements_section([read_measurement(text, "a.json")])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if line[:1] == "|"]


def goals(text: str) -> dict[str, str]:
    head, _, *lines = table(text)
    return {line[1]: line[head.index("goal")] for line in lines}


STEPS = [
    step("cut", "plain", 40.0),
    step("cut", "bf16", 16.0, execution={**GRAPHS, "cuda_graphs": False}, seconds_ratio=0.4),
    step("cut", "bf16 + CUDA graphs", 9.6, execution=GRAPHS, seconds_ratio=0.24),
    step("cut", "bf16 + channels last + CUDA graphs", 8.0, execution=GRAPHS, seconds_ratio=0.26),
]


def test_steps_on_a_gpu_are_shown_with_their_goals_memory_host_and_utilisation() -> None:
    head, _, *lines = table(report("step", STEPS, SETTINGS))
    assert head == ["model", "way", "ms", "/ plain", "goal", "peak GB", "host / step", "of peak FLOP/s"]
    assert lines[2] == [
        *("cut", "bf16 + CUDA graphs", "9.60", "0.24", "≤ 8 ms: missed, ≤ 0.25: met", "2.40 / 3.10", "0.50", "16 %")
    ]


def test_goals_stand_beside_steps_in_bf16_with_graphs_alone() -> None:
    assert goals(report("step", STEPS, SETTINGS)) == {
        "plain": "–",
        "bf16": "–",
        "bf16 + CUDA graphs": "≤ 8 ms: missed, ≤ 0.25: met",
        "bf16 + channels last + CUDA graphs": "≤ 8 ms: met, ≤ 0.25: missed",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "NVIDIA A100-SXM4-80GB"},
        {"device": f"{H100} MIG 1g.10gb"},
        {"settings": {**SETTINGS, "overrides": ["data.size=64", "data.load_size=64"], "image_size": [64, 64]}},
        {"settings": {**SETTINGS, "overrides": ["model.generator.channels=8"]}},
    ],
)
def test_no_goal_is_set_for_another_card_or_task(changed: dict[str, Any]) -> None:
    assert set(goals(report("step", STEPS, SETTINGS, **changed)).values()) == {"–"}


def test_choosing_a_model_leaves_the_goals_as_they_are() -> None:
    asked = {**SETTINGS, "overrides": ["model=fastcut", "task=horse2zebra"]}
    rows = [step("fastcut", "bf16 + CUDA graphs", 4.5, execution=GRAPHS, seconds_ratio=None)]
    assert goals(report("step", rows, asked, device="NVIDIA H200")) == {"bf16 + CUDA graphs": "≤ 4.5 ms: met"}


def test_a_way_that_failed_is_a_row_and_its_error_stands_below_the_table() -> None:
    text = report("step", [*STEPS, failed("cut", "compile", "CUDA out of memory | 2 GiB")], SETTINGS)
    assert table(text)[-1] == ["cut", "compile", "failed", *["–"] * 5]
    assert "- cut, compile: CUDA out of memory \\| 2 GiB" in measurements_section([read_measurement(text, "a")])


def test_steps_on_a_cpu_are_shown_with_operations_and_live_tensors() -> None:
    rows = [step("cut", "plain", 9260.0, utilisation=None, host_ratio=None, live_gb=2.4, live_ratio=1.0)]
    head, _, line = table(report("step", rows, SETTINGS, device="AMD EPYC", device_type="cpu"))
    assert head[2:] == ["s", "/ plain", "10^12 operations", "live GB", "live / plain", "process GB"]
    assert line[2:] == ["9.26", "1.00", "1.284", "2.400", "1.00", "3.00"]


def test_four_trials_on_one_card_are_held_against_their_goal_and_notes_are_kept() -> None:
    known = {"threads": 4, "steps_per_second": 100.0, "error": None}
    rows = [
        {"sharing": "no MPS", "trials": 1, "ratio": 1.0, **known},
        {"sharing": "no MPS", "trials": 4, "ratio": 1.1, **known},
        {"sharing": "MPS", "trials": 4, "ratio": 1.8, **known},
        {
            "sharing": "MPS, cores pinned",
            "trials": 4,
            **known,
            "ratio": None,
            "steps_per_second": None,
            "error": "died",
        },
    ]
    settings = {"overrides": [], "image_size": [32, 32], "task": "stripes", "method": "cut"}
    text = report("pack", rows, settings, notes=["a note"])
    assert [line[-1] for line in table(text)[2:]] == ["–", "≥ 1.8: missed", "≥ 1.8: met", "–"]
    shown = measurements_section([read_measurement(text, "a")])
    assert "- MPS, cores pinned, 4: died\n- a note" in shown
    assert [line[-1] for line in table(report("pack", rows, settings, device_type="cpu"))[2:]] == ["–"] * 4


def test_evaluations_are_held_against_their_goal() -> None:
    rows = [{"evaluation": "later", "seconds": 1.2, "extractor_seconds": 1.0, "ratio": 1.2}]
    settings = {"translated": 120, "real": 140, "image_size": [256, 256]}
    assert table(report("fid", rows, settings))[-1] == ["later", "1.20", "1.00", "1.20", "≤ 1.1: missed"]


def test_devices_of_a_part_have_a_table_each_and_parts_without_one_say_so() -> None:
    one = read_measurement(report("step", STEPS, SETTINGS), "one")
    other = read_measurement(report("step", STEPS[:1], SETTINGS, device="AMD EPYC", device_type="cpu"), "other")
    shown = measurements_section([one, other])
    assert shown.index("**AMD EPYC**") < shown.index(f"**{H100}**")
    assert shown.count("Not measured yet.") == len(SECTIONS) - 1


def test_lines_of_text_are_short_and_tables_have_at_most_eight_columns() -> None:
    shown = measurements_section([read_measurement(report("step", STEPS, SETTINGS), "a")])
    for line in shown.splitlines():
        assert line.count("|") <= 9 if line.startswith("|") else len(line) <= 100
