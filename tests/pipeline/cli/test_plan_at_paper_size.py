"""Plans at the paper's size: two dozen steps at 256 x 256 are counted, on tensors without values."""

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main as pipeline
from pipeline.orchestration import forecast

pytestmark = pytest.mark.slow


def test_the_papers_ablation_is_planned_without_its_data(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(forecast, "_rate", lambda *_: 1e11)  # which takes seconds, and is tested elsewhere
    assert pipeline(["plan", "ablation_paper", "task=horse2zebra", "--verbose"]) == 0
    said = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert len(lines) == 8 * 3
    row, _, key, state, _, _, ours, reference, _ = lines[0]
    assert (row, key, state) == ("CUT (default)", "–", "to train")
    assert float(reference) == pytest.approx(2.40, rel=0.03)
    assert 1.9 < float(ours) < float(reference)
    assert "24 trials, 0 done, 24 to train" in said
    assert "datasets/horse2zebra is not here" in said
    assert "just data horse2zebra" in said


def test_memory_is_predicted_beside_that_of_the_references_step(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "_rate", lambda *_: 1e11)
    assert pipeline(["plan", "methods", "task=horse2zebra", "seeds=[0]", "--json"]) == 0
    trials = {trial["row"]: trial for trial in json.loads(capsys.readouterr().out)["trials"]}
    for row, reference in (("CUT", 2.40), ("FastCUT", 1.50), ("CycleGAN, identity 0.5", 3.92)):
        assert trials[row]["reference_live_gb"] == pytest.approx(reference, rel=0.03)
        assert trials[row]["memory_gb"] > trials[row]["live_gb"] > 1
