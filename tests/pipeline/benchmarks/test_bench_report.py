"""What benches print as JSON is what docs/performance.md is made of; .ci/run reads that of step, pack and fid."""

import json

import pytest

from analysis.report.benchmarks import measurements_section, read_measurement
from pipeline.__main__ import main


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        ["data"],
        ["sweep", "--trials=3"],
        ["tables", "--trials=20"],
        ["scale", "--trials=3"],
    ],
    ids=lambda asked: asked[0],
)
def test_every_bench_prints_json_alone_that_the_documents_read(
    asked: list[str], project: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *asked, "--json"]) == 0
    printed = capfd.readouterr().out
    assert json.loads(printed)["part"] == asked[0]
    assert measurements_section([read_measurement(printed, asked[0])]).count("Not measured yet.") == 7, (
        "all parts but one"
    )


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        (["data", "--ways=plain"], ("just bench data", "--ways")),
        (["data", "data.size=64"], ("just bench data", "data.size=64")),
        (["pack", "--images=4"], ("just bench pack", "--images")),
        (["fid", "--images=0"], ("just bench fid", "--images", "'0'", "above 0")),
        (["step", "--ways=quick"], ("--ways", "'quick'")),
        (["steps"], ("just bench", "'steps'", "'step'")),
    ],
    ids=lambda asked: asked[0],
)
def test_options_that_a_bench_does_not_have_are_refused_in_a_line(
    asked: list[str], facts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fact in line for fact in facts)
