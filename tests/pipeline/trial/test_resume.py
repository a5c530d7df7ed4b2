"""What a trial does when its checkpoints are damaged, foreign or ahead of their record, or the disk is full."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from trial_jobs import history, job_of, read

from pipeline.__main__ import main
from pipeline.config.schema import Config
from pipeline.training.checkpoint import StorageError, load_checkpoint, save_checkpoint
from pipeline.training.checkpoint_format import checkpoint_content, load_newest
from pipeline.training.state import build_state
from pipeline.trial.run import run_trial

LOGGED = 100


@pytest.fixture
def last(tmp_path: Path, tiny: Callable[..., Config]) -> Path:
    """The last checkpoint of a trial, of step 12. The one before is of step 6."""
    path, config = tmp_path / "0123456789abcdef/last.pt", tiny()
    state = build_state(config, torch.device("cpu"))
    for state.step in (6, 12):
        save_checkpoint(path, checkpoint_content(config, state, {}, {}), keep=path.with_name("previous.pt"))
    return path


def truncate(file: Path, _: Config) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def empty(file: Path, _: Config) -> None:
    file.write_bytes(b"")


def flip(file: Path, _: Config) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def make_later(file: Path, _: Config) -> None:
    save_checkpoint(file, {**load_checkpoint(file), "format": 99})


def make_foreign(file: Path, config: Config) -> None:
    other = replace(config, model=replace(config.model, temperature=0.5))
    save_checkpoint(file, checkpoint_content(other, build_state(other, torch.device("cpu")), {}, {}))


def make_plain(file: Path, _: Config) -> None:
    torch.save({"model.1.weight": torch.zeros(3)}, file)


DAMAGE = {
    truncate: "damaged",
    empty: "damaged",
    flip: "checksum differs",
    make_later: "format 99",
    make_foreign: "another trial: its model.temperature is 0.5, not 0.07",
    make_plain: "not a trial's checkpoint",
}


def test_the_newest_checkpoint_serves(last: Path, tiny: Callable[..., Config]) -> None:
    assert load_newest(last, tiny(), LOGGED)["step"] == 12


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_the_one_before_serves_and_a_line_says_why(
    last: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str], damage: Callable[[Path, Config], None]
) -> None:
    damage(last, tiny())
    damaged = last.read_bytes()
    assert load_newest(last, tiny(), LOGGED)["step"] == 6
    why, then = capsys.readouterr().err.splitlines()
    assert str(last) in why and DAMAGE[damage] in why and "last.pt.unusable" in why
    assert str(last.with_name("previous.pt")) in then and "step 6" in then
    assert last.with_name("last.pt.unusable").read_bytes() == damaged


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_without_a_usable_one_training_starts_from_the_beginning_and_says_so(
    last: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str], damage: Callable[[Path, Config], None]
) -> None:
    for file in (last, last.with_name("previous.pt")):
        damage(file, tiny())
    assert load_newest(last, tiny(), LOGGED) == {}
    *why, then = capsys.readouterr().err.splitlines()
    assert ["last.pt" in why[0], "previous.pt" in why[1], "from the beginning" in then] == [True] * 3
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.pt.unusable", "previous.pt.unusable"]


def test_a_trial_without_checkpoints_says_nothing(
    tmp_path: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_newest(tmp_path / "last.pt", tiny(), LOGGED) == {}
    assert capsys.readouterr().err == ""


def test_the_one_before_serves_where_the_last_was_moved_but_not_yet_replaced(
    last: Path, tiny: Callable[..., Config]
) -> None:
    """A kill between the two renames of a save."""
    last.unlink()
    assert load_newest(last, tiny(), LOGGED)["step"] == 6


def test_a_checkpoint_ahead_of_the_record_stays_and_the_one_before_serves(
    last: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in last.parent.iterdir()}
    assert [load_newest(last, tiny(), step).get("step") for step in (12, 11, 6, 5, -1)] == [12, 6, 6, None, None]
    assert f"{last}, step 12, is ahead of the MLflow run, step 11" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in last.parent.iterdir()} == before


def test_settings_that_cannot_change_a_result_make_no_other_trial(last: Path, tiny: Callable[..., Config]) -> None:
    changed = tiny("compute.cpus_per_trial=2", "train.log_every_steps=7", "paths.trials=elsewhere")
    assert load_newest(last, changed, LOGGED)["step"] == 12


def test_a_checkpoint_that_cannot_be_read_stays(
    last: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(StorageError, match=r"Input/output error: .*last\.pt"):
        load_newest(last, tiny(), LOGGED)
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.pt", "previous.pt"]


def test_a_trial_with_a_damaged_checkpoint_ends_as_an_undisturbed_one(
    project: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, disturbed = (job_of(tiny(f"paths.trials={name}"), name) for name in ("whole", "disturbed"))
    list(run_trial(whole))
    for _ in islice(run_trial(disturbed), 4):  # both checkpoints are saved, and the run is not ended
        pass
    flip(Path(disturbed.checkpoint), disturbed.config)
    assert [progress.step for progress in run_trial(disturbed)] == [8, 12]
    assert "checksum differs" in capsys.readouterr().err
    assert read(disturbed).info.status == "FINISHED"
    assert history(disturbed) == history(whole)
    weights = [load_checkpoint(Path(job.checkpoint))["objective"] for job in (whole, disturbed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_full_disk_ends_a_trial_in_one_line_and_it_goes_on_when_there_is_room(
    project: Path, tiny_overrides: tuple[str, ...], disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def resize(kilobytes: float) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes:.0f}k", disk], check=True)

    assert main(["train", *tiny_overrides, "seed=1"]) == 0
    resize(1.5 * next(Path("trials").glob("*/last.pt")).stat().st_size / 1024)  # one checkpoint has room, not two
    capsys.readouterr()
    train = ["train", *tiny_overrides, f"paths.trials={disk}"]
    assert main(train) == 2
    (folder,) = disk.glob("[0-9a-f]*")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: No space left on device: {folder}/last.pt.")
    assert [file.name for file in folder.iterdir()] == ["last.pt"]
    assert load_checkpoint(folder / "last.pt")["step"] == 6

    resize(50_000)
    assert main(train) == 0
    assert f"{folder}/last.pt, step 6" in capsys.readouterr().err
    assert {file.name: load_checkpoint(file)["step"] for file in folder.iterdir()} == {"last.pt": 12, "previous.pt": 6}
