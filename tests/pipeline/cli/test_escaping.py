"""What users write shows literally in the terminal: no markup, no control codes."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.__main__ import main as pipeline
from pipeline.errors import UserError, first_line

ODD = ["[red]a[/red]", "[/blue]", "[link=x]y", "<script>alert(1)</script>", "a & b | `c` \\ $d$ %", "'\" --", "..%2f"]
SWEEP = {
    "name": "odd",
    "question": "[/blue] Is it [red]red[/red] & <b>?",
    "base": [
        *("model.generator.channels=4", "model.discriminator.channels=4"),
        *("data.size=32", "data.train_count=6", "data.test_count=6"),
    ],
    "seeds": [0],
    "rows": [{"row": row, "set": {"model.temperature": 0.07 + 0.01 * n}} for n, row in enumerate(ODD)],
}


def test_names_and_questions_show_literally_in_plan_and_status(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "sweeps/odd.yaml").write_text(json.dumps(SWEEP))
    assert pipeline(["plan", "odd"]) == 0
    printed = capsys.readouterr().out
    assert str(SWEEP["question"]) in printed
    assert [row for row in ODD if row not in printed] == []
    assert pipeline(["plan", "odd", "--json"]) == 0
    assert [trial["row"] for trial in json.loads(capsys.readouterr().out)["trials"]] == ODD


@pytest.mark.parametrize("name", ["[/red]", "x' or kind = 'trial", "a`b", "../up", "\x1b[31mred"])
def test_odd_names_of_sweeps_are_one_line_without_control_codes(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for command in (["status", name], ["tables", name], ["plan", name], ["drop", name, name]):
        assert pipeline(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert "\x1b" not in line


def test_control_codes_in_the_errors_of_libraries_are_printed_as_codes() -> None:
    assert first_line(OSError("a\x1b[31m\x07b\nc")) == r"a\x1b[31m\x07b"


def test_odd_rows_are_found_in_the_store(project: Path) -> None:
    """Row names are values of tags, and names of sweeps are parts of them."""
    from pipeline.config.sweep_file import load_sweep
    from pipeline.orchestration.planner import plan_sweep
    from pipeline.orchestration.registration import register_trials
    from pipeline.orchestration.requirements import estimate_requirements

    (project / "sweeps/odd.yaml").write_text(json.dumps(SWEEP))
    plan = plan_sweep(load_sweep("odd"), [])
    register_trials(plan, estimate_requirements(plan))
    again = plan_sweep(load_sweep("odd"), [])
    assert all(planned.record for planned in again.trials)
    client = MlflowClient(plan.tracker.uri)
    runs = client.search_runs([plan.tracker.experiment_id], "tags.kind = 'trial'")
    assert sorted(run.data.tags["row.odd"] for run in runs) == sorted(ODD)
    assert pipeline(["status", "odd"]) == 0


def test_a_user_error_keeps_its_text() -> None:
    assert str(UserError("[red] é 猫")) == "[red] é 猫"
