"""What is done with a trained trial: found again, scored, applied, handed on; through the commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from models.configs.networks import DiscriminatorConfig, GeneratorConfig
from models.networks.discriminator import Discriminator
from models.networks.generator import Generator
from models.reference.checkpoint import reference_weights
from pipeline.__main__ import main
from pipeline.data.image_io import read_image, write_png
from pipeline.errors import UserError
from pipeline.inference.find import find_checkpoint
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint

DATA = ("task=stripes", "data.train_count=6", "data.test_count=6", "data.size=32")


def train(*overrides: str) -> tuple[str, str, dict[str, float]]:
    """The key, the run's id and the final metrics of a trial that is trained here."""
    assert main(["train", *overrides]) == 0
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("stripes")
    assert experiment is not None
    newest = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=1)[0]
    return newest.data.tags["trial_key"], newest.info.run_id, newest.data.metrics


def scores(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """What `evaluate` prints, by name."""
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == 0
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {line[1].strip(): line[2].strip() for line in lines}


@pytest.mark.parametrize("model", ["cut", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_run_key_checkpoint_and_exported_file_all_score_as_the_trial_did(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str], model: str
) -> None:
    key, run_id, metrics = train(*tiny_overrides, f"model={model}")
    recorded = {name: f"{metrics[f'last/{name}']:.6g}" for name in ("fd_small_conv", "background_change")}
    assert main(["export", key, "exported"]) == 0
    generator = "exported/latest_net_G.pth" if model == "cut" else "exported/latest_net_G_A.pth"
    for arguments in ((key,), (key[:6],), (run_id,), (f"trials/{key}/last.pt",), (generator, *DATA)):
        found = scores(capsys, *arguments)
        assert {name: found[name] for name in recorded} == recorded
    Path(f"trials/{key}").rename("moved")
    assert main(["evaluate", run_id]) == 2
    assert f"{run_id}: its trial has no checkpoint at trials/{key}/last.pt" in capsys.readouterr().err


def test_translations_of_the_test_images_score_as_their_run(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, metrics = train(*tiny_overrides)
    for number, image in enumerate(np.load(next(Path(".cache/data").glob("*/test_a.npy")))):
        write_png(project / f"{number}.png", image.transpose(1, 2, 0))
    assert main(["translate", key, str(project), "out"]) == 0
    assert scores(capsys, "out", *DATA)["fd_small_conv"] == f"{metrics['last/fd_small_conv']:.6g}"


def test_a_gray_trial_translates_16_bit_gray_into_16_bit_gray(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    key, _, _ = train(*tiny_overrides, "data.channels_a=1", "data.channels_b=1")
    levels = np.random.default_rng(0).integers(0, 65536, (21, 30, 1), dtype=np.uint16)
    write_png(project / "deep.png", levels)
    assert main(["translate", key, "deep.png", "out"]) == 0
    found = read_image(project / "out/deep.png")
    assert (found.shape, found.dtype) == ((21, 30, 1), np.uint16)
    assert len(np.unique(found)) > 256


def test_a_trial_is_scored_by_its_own_settings_or_by_others_that_are_given(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, _ = train(*tiny_overrides)
    assert scores(capsys, key) == scores(capsys, key, "data.test_count=6")
    assert scores(capsys, key) != scores(capsys, key, "data.test_count=5")


def test_exports_that_cannot_be_written_say_so_in_one_line(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, _ = train(*tiny_overrides)
    Path("file").touch()
    capsys.readouterr()
    assert main(["export", key, "file"]) == 2
    assert capsys.readouterr().err == "error: file: File exists. Choose another path.\n"


def test_a_trials_folder_stands_for_its_checkpoint(project: Path, tiny_overrides: tuple[str, ...]) -> None:
    key, _, _ = train(*tiny_overrides)
    assert main(["evaluate", f"trials/{key}"]) == 0


def test_if_the_last_checkpoint_is_damaged_the_one_before_serves_and_a_line_says_so(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, run_id, _ = train(*tiny_overrides)
    last, before = Path(f"trials/{key}/last.pt"), Path(f"trials/{key}/previous.pt")
    expected = scores(capsys, str(before))
    last.write_bytes(last.read_bytes()[:-100])
    for named in (key, run_id, str(last), str(last.parent)):
        capsys.readouterr()
        assert main(["evaluate", named]) == 0
        said = capsys.readouterr()
        (line,) = (found for found in said.err.splitlines() if "last.pt" in found)
        assert "is damaged" in line and f"Using {before} (step 6)" in line
        assert f"translated by {before} (step 6)" in said.out
    last.unlink()
    for named in (key, run_id, str(last.parent)):
        assert scores(capsys, named) == expected
    assert main(["export", key, "exported"]) == 0
    assert f"{last} is missing. Using {before}." in capsys.readouterr().err
    last.write_bytes(b"damaged")
    before.write_bytes(b"damaged")
    assert main(["export", key, "exported"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(before) in line and "damaged" in line


@pytest.mark.parametrize("blocks", [5, pytest.param(6, marks=pytest.mark.slow)])
def test_export_says_that_the_reference_code_cannot_build_a_generator_of_five_blocks(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str], blocks: int
) -> None:
    key, _, _ = train(*tiny_overrides, f"model.generator.blocks={blocks}", "train.decay_epochs=0")
    capsys.readouterr()
    assert main(["export", key, "exported"]) == 0
    assert ("5 residual blocks" in capsys.readouterr().err) == (blocks == 5)


def test_asking_for_a_run_lays_out_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "nothing"]) == 2
    assert not list(tmp_path.iterdir())


def test_a_beginning_that_two_keys_share_is_refused(tmp_path: Path) -> None:
    for key in ("abc1", "abd2"):
        save_checkpoint(tmp_path / key / "last.pt", {})
    with pytest.raises(UserError, match=r"ab: 2 trials begin .*\(abc1, abd2\)"):
        find_checkpoint("ab", [f"paths.trials={tmp_path}"])
    assert find_checkpoint("abc", [f"paths.trials={tmp_path}"]) == tmp_path / "abc1/last.pt"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "nothing"], "nothing: no such file, no such trial in trials/ and no such run in sqlite://"),
        (["evaluate", "D.pth"], "D.pth: holds a discriminator; expected a generator"),
        (["evaluate", "text.pth"], "text.pth is damaged or not a checkpoint"),
        (["evaluate", "gray.pth", *DATA], "gray.pth needs data.channels_a=1, but data.channels_a is 3"),
        (
            ["evaluate", "gray.pth", *DATA, "data.channels_a=1", "data.channels_b=1"],
            "needs data.channels_b=3, but data.channels_b is 1",
        ),
        (
            ["evaluate", "gray.pth", "task=stripes", "data.size=30", "data.channels_a=1"],
            "data.size is [30, 30]. gray.pth needs multiples of 4",
        ),
        (["evaluate", "gray.pth", *DATA, "tracking.uri=nonsense://x", "data.channels_a=2"], "data.channels_a is 2"),
        (["evaluate", "no\nfile"], "no such file, no such trial"),
        (["evaluate", "nothing", "tracking.uri=nonsense://x"], "nonsense://x: the MLflow store does not answer"),
        (
            ["evaluate", "nothing", "tracking.uri=sqlite:///text.pth"],
            "text.pth cannot be read (file is not a database)",
        ),
        (["evaluate", "list.pth"], "list.pth is damaged or not a checkpoint: it holds a list"),
        (["evaluate", "x" * 300], "File name too long"),
        (
            ["translate", "gray.pth", "empty", "out", "data.size=64"],
            "Only compute.…, paths.…, tracking.… can be set",
        ),
        (["export", "gray.pth", "out", "nonsense=3"], "Only paths.…, tracking.… can be set"),
        (["evaluate", "four.pth"], "four.pth: a generator from 4 to 3 channels"),
        (["evaluate", "torn.pth"], "torn.pth is damaged or not a checkpoint"),
        (["evaluate", "narrow.pth"], "narrow.pth: model.8.bias is missing; expected (16,)"),
        (["evaluate", "gray.pth", "data.sizes=3"], "did you mean data.size"),
        (["evaluate", "empty", *DATA], "empty: 0 images found"),
        (["evaluate", "empty"], "empty: its data are not named. Add task=NAME"),
        (["evaluate", "gray.pth", "data.size=32"], "gray.pth: its data are not named. Add task=NAME"),
        (["translate", "D.pth", "in.png", "out"], "D.pth: holds a discriminator"),
        (["translate", "gray.pth", "nothing", "out"], "nothing: no such file or folder"),
        (["export", "gray.pth", "out"], "gray.pth: not a trial's checkpoint"),
        (["export", "old.pt", "out"], "old.pt has no configuration"),
    ],
)
def test_faulty_requests_say_one_line_and_exit_2(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    gray = reference_weights(Generator(GeneratorConfig(4, 1), 1, 3))
    Path("empty").mkdir()
    Path("text.pth").write_text("no weights")
    torch.save(gray, "gray.pth")
    torch.save(reference_weights(Generator(GeneratorConfig(4, 1), 4, 3)), "four.pth")
    torch.save(reference_weights(Discriminator(DiscriminatorConfig(4))), "D.pth")
    torch.save({name: tensor for name, tensor in gray.items() if name != "model.8.bias"}, "narrow.pth")
    torch.save({"objective": {}, "step": 3}, "old.pt")
    torch.save([gray], "list.pth")
    Path("torn.pth").write_bytes(Path("gray.pth").read_bytes()[:3000])
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_what_a_trained_trial_is_cannot_be_changed(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, _ = train(*tiny_overrides)
    for override, said in {
        "model.temperature=1": "Only data.…, metric.…",
        "task=cat2dog": "The model of a trained trial is fixed",
        "data.kind=folder": "data.kind cannot be set by itself",
        "data={size: 64}": "data is a group of fields",
        "data.size=30": "needs multiples of 4",
        "data.channels_b=1": "needs data.channels_b=3, but data.channels_b is 1",
        "data.sise=64": "no field is called 'data.sise'; did you mean data.size",
        "metric.batch_size=0": "metric.batch_size is 0. It must be at least 1",
    }.items():
        assert main(["evaluate", key, override]) == 2
        assert said in capsys.readouterr().err


def test_a_checkpoint_whose_weights_are_not_its_settings_is_refused(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    key, _, _ = train(*tiny_overrides)
    content = load_checkpoint(Path(f"trials/{key}/last.pt"))
    content["objective"]["generator.stages.down1.bias"] = torch.zeros(3)
    save_checkpoint(Path("altered.pt"), content)
    assert main(["translate", "altered.pt", "x.png", "out"]) == 2
    assert "altered.pt: generator.stages.down1.bias is (3,); expected (8,)" in capsys.readouterr().err
