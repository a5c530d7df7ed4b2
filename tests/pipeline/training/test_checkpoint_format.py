"""Checkpoints of every format are read, and faulty ones are refused by a message that names the fault."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.schema import Config, TrainConfig
from pipeline.errors import UserError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.checkpoint_format import FORMAT, checkpoint_content, config_in, migrate
from pipeline.training.state import build_state

FILE = Path("trials/0123/last.pt")
METER = {"peaks": {"training_peak_live_gb": 0.5}, "sums": {"training_seconds": 3.0}, "timed": "on", "steps": [[1, 2]]}
SCORES = {6: {"fd_small_conv": 1.5}}


def format_1(config: Config, **compute: object) -> dict[str, Any]:
    """What versions before the format number wrote."""
    settings = asdict(config)
    settings["compute"] |= compute
    state = build_state(config, torch.device("cpu")).state_dict()
    return {"config": json.dumps(settings, sort_keys=True), **state, "evaluations": SCORES, "meter": METER}


def with_settings(content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    settings = json.loads(content["config"])
    change(settings)
    return {**content, "config": json.dumps(settings)}


def test_what_is_written_today_has_a_number_and_is_read_as_it_is(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny()
    content = checkpoint_content(config, build_state(config, torch.device("cpu")), SCORES, METER)
    save_checkpoint(tmp_path / "last.pt", content)
    found = migrate(load_checkpoint(tmp_path / "last.pt"), FILE)
    assert found["format"] == FORMAT == 2
    assert config_in(found, FILE) == config
    assert (found["step"], found["evaluations"], found["meter"]) == (0, SCORES, METER)


def test_a_file_without_a_number_is_format_1(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny()
    save_checkpoint(tmp_path / "last.pt", format_1(config))
    saved = load_checkpoint(tmp_path / "last.pt")
    found = migrate(saved, FILE)
    assert found["format"] == FORMAT
    assert config_in(found, FILE) == config
    for part in ("step", "evaluations", "meter"):
        assert found[part] == saved[part]
    assert found["objective"] is saved["objective"] and found["optimizers"] is saved["optimizers"]
    assert "format" not in saved


@pytest.mark.parametrize("gpus", [2, 4.0, 0.33333, 1 / 3])
def test_shares_of_gpus_that_format_1_allowed_do_not_hinder(tiny: Callable[..., Config], gpus: float) -> None:
    config = tiny()
    assert config_in(migrate(format_1(config, gpus_per_trial=gpus), FILE), FILE) == config


def test_the_first_checkpoints_had_two_sums_and_no_meter(tiny: Callable[..., Config]) -> None:
    saved = {**format_1(tiny()), "training_seconds": 30.0, "evaluation_seconds": 6.0}
    del saved["meter"]
    assert migrate(saved, FILE)["meter"] == {"sums": {"training_seconds": 30.0, "evaluation_seconds": 6.0}}


@pytest.mark.parametrize("number", [FORMAT + 1, 0, "2"])
def test_a_format_that_is_not_known_is_refused(tiny: Callable[..., Config], number: object) -> None:
    with pytest.raises(UserError) as caught:
        migrate({**format_1(tiny()), "format": number}, FILE)
    said = str(caught.value)
    assert all(fact in said for fact in (str(FILE), f"format {number!r}", f"1 to {FORMAT}", "Use the version"))
    assert "\n" not in said


def test_a_setting_that_came_later_has_its_default(tiny: Callable[..., Config]) -> None:
    config, later = tiny("train.recompute=true"), ("recompute", "cuda_graphs", "checkpoint_every_minutes")

    def drop(settings: dict[str, Any]) -> None:
        for name in later:
            del settings["train"][name]
        del settings["paths"]

    found = config_in(migrate(with_settings(format_1(config), drop), FILE), FILE)
    assert found == replace(config, train=replace(config.train, recompute=TrainConfig().recompute))


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda settings: settings["train"].update(momentum=0.5), ["train.momentum"]),
        (lambda settings: settings.update(colours={"red": 1}), ["colours"]),
        (lambda settings: settings["train"].update(batch_size=0), ["train", "batch_size"]),
        (lambda settings: settings.pop("data"), ["data"]),
    ],
    ids=["unknown field", "unknown part", "not allowed", "missing"],
)
def test_a_configuration_that_does_not_fit_is_refused_by_name(
    tiny: Callable[..., Config], change: Callable[[dict[str, Any]], object], facts: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        config_in(migrate(with_settings(format_1(tiny()), change), FILE), FILE)
    said = str(caught.value)
    assert all(fact in said for fact in (str(FILE), *facts)) and "\n" not in said


def test_a_checkpoint_without_a_configuration_says_so(tiny: Callable[..., Config]) -> None:
    saved = format_1(tiny())
    del saved["config"]
    with pytest.raises(UserError, match="no configuration"):
        config_in(migrate(saved, FILE), FILE)
