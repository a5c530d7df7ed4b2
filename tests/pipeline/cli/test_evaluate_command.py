"""`just evaluate` as a user types it: what it says, what it records, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from models.configs.networks import GeneratorConfig
from models.networks.generator import Generator
from models.reference.checkpoint import reference_weights
from pipeline.__main__ import main
from pipeline.data.image_io import write_png
from pipeline.metrics import other_fid
from pipeline.metrics.extractors import untrained_inception

Draw = Callable[..., np.ndarray]
DATA = ("task=stripes", "data.train_count=6", "data.test_count=6", "data.size=32")


@pytest.fixture
def folder(project: Path, pictures: Draw) -> Path:
    """Five images of the task's size."""
    (project / "images").mkdir()
    for number, image in enumerate(pictures(3, striped=True, count=5)):
        write_png(project / f"images/{number}.png", image.transpose(1, 2, 0))
    return project / "images"


def evaluations(task: str = "stripes") -> list[Run]:
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name(task)
    return client.search_runs([experiment.experiment_id], "tags.kind = 'evaluation'") if experiment else []


def artefacts(run: Run, folder: str) -> list[Path]:
    return sorted((Path(run.info.artifact_uri.removeprefix("file://")) / folder).iterdir())


def test_scores_and_what_they_were_made_with_are_said_and_recorded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "images", *DATA]) == 0
    said = capsys.readouterr().out
    compared = "5 images of images (32 x 32) with 6 test images of B of stripes (32 x 32)"
    assert said.startswith(f"Comparing {compared} by small-conv (144 features)\n")
    assert "stripes: 5 images of images" in said
    (run,) = evaluations()
    assert run.data.tags["evaluated"] == "images"
    assert len(run.data.tags["evaluated_hash"]) == 16
    for name, value in {"images_a": "5", "images_b": "6", "extractor": "small-conv", "kid_subset_size": "2"}.items():
        assert run.data.tags[name] == value
        assert f"{name.replace('_', ' ')}: {value}" in said
    assert "FD (small-conv) is biased upwards: 5 and 6 images are fewer than its 144 dimensions" in said
    assert run.info.run_id in said
    (kept,) = artefacts(run, "evaluations")
    scores = json.loads(kept.read_text())["scores"]
    assert scores == {name.removeprefix("eval/"): value for name, value in run.data.metrics.items()}
    assert f"{scores['fd_small_conv']:.6g}" in said
    assert any(path.suffix == ".png" for path in artefacts(run, "images"))
    assert run.info.status == "FINISHED"


def test_images_of_another_size_are_refused_or_resized_when_asked(
    folder: Path, pictures: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    (large,) = pictures(9, striped=True, count=1, side=48)
    write_png(folder / "2.png", large.transpose(1, 2, 0))
    assert main(["evaluate", "images", *DATA]) == 2
    said = capsys.readouterr().err
    assert all(fact in said for fact in ("images/2.png", "48 x 48", "32 x 32", "resize=yes"))
    assert evaluations() == []
    assert main(["evaluate", "images", *DATA, "resize=yes"]) == 0
    assert "5 images of images, resized to 32 x 32" in capsys.readouterr().out
    assert evaluations()[0].data.tags["evaluated"] == "images, resized to 32 x 32"


def test_gray_and_transparent_images_are_scored_as_they_look(
    folder: Path, pictures: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for number in range(5):
        with Image.open(folder / f"{number}.png") as image:
            image.convert("L").save(folder / f"{number}.png")
    assert main(["evaluate", "images", *DATA]) == 0
    gray = evaluations()[0].data.metrics
    for number in range(5):
        with Image.open(folder / f"{number}.png") as image:
            image.convert("RGBA").save(folder / f"{number}.png")
    assert main(["evaluate", "images", *DATA]) == 0
    assert evaluations()[0].data.metrics == gray


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resize=perhaps"], "resize is 'perhaps'"),
        (["compare=fid-score"], "compare=fid-score: no such implementation"),
        (["compare="], "compare=: no such implementation"),
        (["metric.also=[lpips]"], "images: lpips and segmentation need the input"),
        (["metric.also=[edges]"], "images: lpips and segmentation need the input"),
        (["metric.also=[lpisp]"], "metric.also.0 is 'lpisp'"),
        (["metric.weights=nowhere.pth", "metric.extractor=inception-v3-compat"], "nowhere.pth: no such file"),
        (["tracking.uri=nonsense://x"], "nonsense://x"),
    ],
)
def test_faulty_requests_for_a_folder_say_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["evaluate", "images", *DATA, *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert evaluations() == []


@pytest.mark.parametrize("damage", ["torn", "loop", "single", "text"])
def test_faulty_folders_say_one_line_that_names_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    file = folder / "3.png"
    match damage:
        case "torn":
            file.write_bytes(file.read_bytes()[:200])
        case "loop":
            file.unlink()
            file.symlink_to(file)
        case "text":
            file.write_text("no image")
        case _:
            for path in folder.iterdir():
                path.unlink(missing_ok=path != file)
            write_png(file, np.zeros((32, 32, 3), np.uint8))
    assert main(["evaluate", "images", *DATA]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert ("images: 1 images found" if damage == "single" else "images/3.png: cannot be read") in line


def test_resizing_is_for_folders(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(reference_weights(Generator(GeneratorConfig(4, 1), 3, 3)), "latest_net_G.pth")
    assert main(["evaluate", "latest_net_G.pth", *DATA, "resize=yes"]) == 2
    said = capsys.readouterr().err
    assert "resize=yes" in said and "latest_net_G.pth" in said


def test_a_folder_that_leads_to_itself_is_no_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("loop").symlink_to("loop")
    assert main(["evaluate", "loop", *DATA]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_further_scores_of_a_done_trial_are_had_without_training_again(
    project: Path, tiny_overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny_overrides]) == 0
    assert main(["train", *tiny_overrides, "metric.also=[precision_recall]"]) == 0
    said = capsys.readouterr().out
    assert "is done already; nothing to train" in said
    for score in ("precision_small_conv", "recall_small_conv"):
        assert f"1 finished trial has no {score}" in said
    (key,) = (path.parent.name for path in Path("trials").glob("*/last.pt"))
    assert main(["evaluate", key, "metric.also=[precision_recall]"]) == 0
    (run,) = evaluations()
    assert 0 <= run.data.metrics["eval/precision_small_conv"] <= 1
    assert run.data.tags["evaluated"] == f"trials/{key}/last.pt (step 12)"


def test_what_was_computed_is_kept_where_another_implementation_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert main(["evaluate", "images", *DATA, "compare=pytorch-fid"]) == 2
    assert "compare=pytorch-fid: its weights are not at" in capsys.readouterr().err
    assert "eval/fd_small_conv" in evaluations()[0].data.metrics


@pytest.mark.slow
def test_the_fid_of_another_implementation_stands_beside_ours(
    folder: Path, pictures: Draw, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = folder / "hub/checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(untrained_inception(0), checkpoints / "pt_inception-2015-12-05-6726825d.pth")
    monkeypatch.setattr(other_fid, "SHA256", {"pytorch-fid": ""})
    monkeypatch.setenv("TORCH_HOME", str(folder))
    assert main(["evaluate", "images", *DATA, "compare=pytorch-fid"]) == 0
    said = capsys.readouterr().out
    metrics = evaluations()[0].data.metrics
    assert f"pytorch-fid: {metrics['eval/fid_pytorch-fid']:.6g} on the same images. pytorch-fid resizes" in said


def test_a_reference_checkpoint_can_be_truncated_which_is_said_and_recorded(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(reference_weights(Generator(GeneratorConfig(4, 1), 3, 3)), "latest_net_G.pth")
    assert main(["evaluate", "latest_net_G.pth", *DATA, "metric.to_8_bits=truncate"]) == 0
    assert "to 8 bits: truncate" in (said := capsys.readouterr().out)
    assert "truncated to 8 bits, as the reference code does" in said
    (run,) = evaluations()
    assert run.data.tags["to_8_bits"] == "truncate"
    assert "truncated to 8 bits" in run.data.tags["remarks"]
    assert main(["evaluate", "latest_net_G.pth", *DATA]) == 0
    assert "truncate" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_network_that_may_be_the_authors_is_held_against_their_scores(
    project: Path, pictures: Draw, random_inception: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("trainA", "trainB", "testA", "testB"):
        (project / "horses" / split).mkdir(parents=True)
        for number, image in enumerate(pictures(0, striped=split.endswith("B"), count=4, side=64)):
            write_png(project / "horses" / split / f"{number}.png", image.transpose(1, 2, 0))
    torch.save(reference_weights(Generator(GeneratorConfig(4, 1), 3, 3)), "latest_net_G.pth")
    task = ["task=horse2zebra", "data.root=horses", "data.size=64", "data.load_size=64"]
    assert main(["evaluate", "latest_net_G.pth", *task, f"metric.weights={random_inception}"]) == 0
    said = capsys.readouterr().out
    assert "FID is biased upwards: 4 and 4 images are fewer than its 2048 dimensions" in said
    assert "calibration: not by the published protocol (weights " in said
    assert "images_a 4 for 120, images_b 4 for 140" in said
    assert "to 8 bits: truncate" in said
    assert "to_8_bits round" not in said
    assert "calibration: not by" in evaluations("horse2zebra")[0].data.tags["remarks"]
    assert (
        main(["evaluate", "latest_net_G.pth", *task, f"metric.weights={random_inception}", "metric.to_8_bits=round"])
        == 0
    )
    assert "to_8_bits round for truncate" in capsys.readouterr().out
