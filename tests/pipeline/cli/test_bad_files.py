"""A folder with bad files, through the commands: refused by name, or used without them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.config.sweep_file import load_sweep
from pipeline.data.image_io import read_image, write_png
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements


@pytest.fixture
def arguments(project: Path, tiny_overrides: tuple[str, ...]) -> list[str]:
    rng = np.random.default_rng(0)
    for split in ("trainA", "trainB", "testA", "testB"):
        for number in range(3):
            write_png(project / f"mine/{split}/{number}.png", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    own = [text for text in tiny_overrides if not text.startswith(("task=", "data."))]
    return [*own, "task=folder", "data.root=mine", "data.load_size=64", "data.size=64", "metric.extractor=small-conv"]


def keys(*arguments: str) -> list[str]:
    return [planned.key for planned in plan_sweep(load_sweep("smoke"), arguments).trials]


def test_skipping_bad_files_gives_the_keys_of_the_folder_without_them(
    project: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    without = keys(*arguments)
    assert keys(*arguments, "data.on_bad=skip") == without
    (project / "mine/trainB/caf\udce9.png").write_text("no picture")
    assert main(["plan", "smoke", *arguments]) == 2
    assert r"caf\xe9.png: cannot be read as an image" in capsys.readouterr().err
    assert keys(*arguments, "data.on_bad=skip") == without
    printed = capsys.readouterr()
    assert r"mine: 1 bad file is left out: trainB/caf\xe9.png" in printed.err
    assert printed.out == ""  # what a command prints is for scripts


def test_the_record_counts_the_files_that_were_left_out(project: Path, arguments: list[str]) -> None:
    (project / "mine/trainB/torn.png").write_text("no picture")
    smoke = load_sweep("smoke")
    # Counting a step takes as long as the network is deep.
    shallow = ("model.generator.blocks=1", "model.places=[down1,down2]")
    plan = plan_sweep(replace(smoke, rows=smoke.rows[:1]), [*arguments, *shallow, "data.on_bad=skip"])
    register_trials(plan, estimate_requirements(plan))
    assert {record.tags["images_left_out"] for record in plan.tracker.find_trials().values()} == {"1"}


def test_other_words_for_bad_files_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "smoke", *arguments, "data.on_bad=ignore"]) == 2
    assert "data.on_bad is 'ignore'. It must be 'stop' or 'skip'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_name_that_is_no_utf8_is_trained_on(
    project: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("trainA", "testA"):
        (project / f"mine/{split}/0.png").rename(project / f"mine/{split}/caf\udce9\n.png")
    assert main(["train", *arguments]) == 0
    (trial,) = (project / "trials").glob("[!.]*")
    assert main(["translate", trial.name, str(project / "mine/testA"), str(project / "out")]) == 0
    assert "Wrote 3 images" in capsys.readouterr().out
    assert read_image(project / "out/caf\udce9\n.png").shape == (64, 64, 3)
