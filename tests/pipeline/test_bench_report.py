"""What benches print as JSON is what docs/performance.md is made of."""

import json

import pytest

from analysis.benchmarks import measurements_section, read_measurement
from pipeline.__main__ import main
from pipeline.bench import PARTS


@pytest.mark.slow
def test_the_bench_of_evaluations_prints_json_alone_that_the_documents_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "fid", "--images=4", "--repeats=1", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "4 translated and 4 real images of 256 x 256" in measurements_section([read_measurement(printed, "fid")])
    assert [row["evaluation"] for row in json.loads(printed)["rows"]] == [
        *("first on a machine", "first of a trial", "later")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        ["step", "task=stripes", "data.size=32", "model.generator.channels=4", "model=fastcut", "--ways=plain,default"],
        ["data"],
        ["pack", "data.size=32", "model.generator.channels=4", "--repeats=1"],
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
