"""What benches print as JSON is what docs/performance.md is made of; .ci/run reads that of step, pack and fid."""

import json

import pytest

from analysis.report.benchmarks import measurements_section, read_measurement
from pipeline.__main__ import main
from pipeline.cli.bench import PARTS


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        ["data"],
        ["sweep", "--trials=3"],
        ["tables", "--trials=20"],
    ],
    ids=lambda asked: asked[0],
)
def test_every_bench_prints_json_alone_that_the_documents_read(
    asked: list[str], project: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *asked, "--json"]) == 0
    printed = capfd.readouterr().out
    assert json.loads(printed)["part"] == asked[0]
    assert measurements_section([read_measurement(printed, asked[0])]).count("Not measured yet.") == len(PARTS) - 1


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (["data", "--ways=plain"], "just bench data does not take --ways. It takes --json."),
        (["pack", "--images=4"], "just bench pack does not take --images. It takes --repeats, --json."),
        (["fid", "--images=0"], "--images is '0'; it must be a whole number above 0"),
        (["step", "--ways=quick"], "there is no way 'quick' on"),
        (["steps"], "there is no bench 'steps'; did you mean step"),
    ],
    ids=lambda asked: asked[0] if isinstance(asked, list) else "",
)
def test_options_that_a_bench_does_not_take_are_refused_in_a_line(
    asked: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *asked]) == 2
    assert answer in capsys.readouterr().err
