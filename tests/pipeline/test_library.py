"""The calls of `pipeline.api` that train nothing. `test_library_examples.py` trains."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filled_store import fill
from PIL import Image

from models.configs.networks import GeneratorConfig
from models.networks.generator import Generator
from models.reference.checkpoint import reference_weights
from pipeline import api
from pipeline.__main__ import main
from pipeline.api import UserError, load_generator, plan_sweep, read_comparison, run_sweep, write_sweep
from pipeline.config.sweep_file import read_sweep
from pipeline.data.image_io import write_png
from pipeline.inference.translator import Translator

ROWS = {"low": {"model.temperature": 0.07}, "high": {"model.temperature": 0.3}}


@pytest.fixture
def generator(project: Path) -> Translator:
    """A generator of the reference code, from a file."""
    torch.save(reference_weights(Generator(GeneratorConfig(4, 1))), "latest_net_G.pth")
    return load_generator("latest_net_G.pth", device="cpu")


@pytest.fixture(scope="module")
def store(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sweep 'hand_made' on two tasks, with scores that differ by 5."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(template_store, folder / "mlflow.db")
    fill(folder, task="other", shift=5.0)
    return fill(folder)


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def by_command(file: Path) -> np.ndarray:
    assert main(["translate", "latest_net_G.pth", str(file), "out", "compute.device=cpu"]) == 0
    return np.asarray(Image.open(Path("out") / f"{file.stem}.png"))


def test_the_import_loads_no_library() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'mlflow', 'ray', 'hydra', 'pydantic', 'yaml', 'PIL', 'matplotlib'}"
    subprocess.run(
        [sys.executable, "-c", f"import sys, pipeline.api; assert not {heavy} & set(sys.modules)"], check=True
    )


def test_every_public_name_exists_and_is_described() -> None:
    for name in api.__all__:
        assert getattr(api, name).__doc__


@pytest.mark.parametrize("shape", [(16, 24, 3), (17, 23, 3), (9, 8, 1)])
def test_an_image_in_memory_gives_what_the_command_gives(generator: Translator, shape: tuple[int, ...]) -> None:
    pixels = picture(*shape)
    write_png(Path("a.png"), pixels)
    expected = by_command(Path("a.png"))
    assert np.array_equal(generator.translate(pixels), expected)
    with Image.open("a.png") as image:
        translated = generator.translate(image)
    assert translated.mode == "RGB"
    assert np.array_equal(np.asarray(translated), expected)
    if shape[2] == 3:
        tensor = generator.translate(torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
        assert np.array_equal(((tensor + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), expected)


def test_an_image_is_rotated_as_its_camera_says(generator: Translator) -> None:
    image = Image.fromarray(picture(16, 24, 3))
    rotated = image.getexif()
    rotated[274] = 6
    image.save("a.png", exif=rotated)
    with Image.open("a.png") as opened:
        translated = generator.translate(opened)
    assert translated.size == (16, 24)
    assert np.array_equal(np.asarray(translated), by_command(Path("a.png")))


def test_a_batch_gives_what_its_images_give_alone(generator: Translator) -> None:
    pixels = picture(3, 16, 20, 3)
    alone = [generator.translate(one) for one in pixels]
    assert np.array_equal(generator.translate(pixels), alone)
    assert all(map(np.array_equal, generator.translate(list(pixels)), alone))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.equal(generator.translate(images)[2], generator.translate(images[2]))
    assert generator.translate(pixels[:0]).shape == (0, 16, 20, 3)
    assert generator.translate(images[:0]).shape == (0, 3, 16, 20)


def test_the_output_has_the_kind_of_the_input_and_no_gradient(generator: Translator) -> None:
    assert not generator.network.training
    image = torch.rand(3, 17, 22, dtype=torch.float64, requires_grad=True)
    translated = generator.translate(image)
    assert translated.shape == image.shape
    assert translated.dtype == torch.float64
    assert not translated.requires_grad
    assert bool((translated.abs() <= 1).all())


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "(3, 16, 16) of torch.uint8. It must be of floats in [-1, 1]"),
        (torch.full((3, 16, 16), 255.0), "with values from 255 to 255. They must be in [-1, 1]"),
        (torch.full((3, 16, 16), torch.nan), "with values from nan to nan. They must be in [-1, 1]"),
        (torch.zeros(16, 16, 3), "It must be (3, height, width) or (batch, 3, height, width)"),
        (torch.zeros(16, 16), "The tensor is (16, 16) of torch.float32. It must be (3, height, width)"),
        (torch.zeros(3, 7, 20), "7 x 20 pixels. Each side must be at least 8"),
        (np.zeros((16, 16, 3)), "The array is (16, 16, 3) of float64. It must be of uint8"),
        (np.zeros((3, 16, 16), np.uint8), "It must be (height, width, 1 or 3)"),
        (np.zeros((16, 16), np.uint8), "It must be (height, width, 1 or 3)"),
        (np.zeros((16, 4, 3), np.uint8), "16 x 4 pixels. Each side must be at least 8"),
        (Image.new("RGBA", (16, 16)), 'mode RGBA. It must be RGB or L: image.convert("RGB")'),
        ("cat.png", "The images are of type str. Give a float tensor (C, H, W)"),
        ([None], "The images are of type NoneType"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(generator: Translator, images: object, said: str) -> None:
    with pytest.raises(UserError) as caught:
        generator.translate(images)  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("run", "options", "said"),
    [
        ("nowhere", {}, "nowhere: no such file, no such trial in trials/"),
        ("latest_net_G.pth", {"device": "tpu"}, "compute.device"),
        ("latest_net_G.pth", {"overrides": ["model.temperature=0.1"]}, "Only paths.…, tracking.… can be set"),
    ],
)
def test_what_cannot_be_loaded_is_refused(generator: Translator, run: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_generator(run, **options)  # pyright: ignore[reportArgumentType]


def test_a_frame_has_a_line_for_each_trial(store: str) -> None:
    trials = api.read_trials("hand_made", "stripes", store=store)
    assert list(trials)[:12] == [
        *("sweep", "task", "row", "seed", "baseline", "key", "run_id", "status", "step"),
        *("model.places", "model.negatives", "last/epoch"),
    ]
    assert list(trials)[-32:-27] == ["not_finite", "error", "stopped", "collapsed", "timed"]
    assert [name for name in trials if "/" in name] == [
        *("last/epoch", "last/fd_small_conv", "last/kd_small_conv", "last/step", "best/fd_small_conv"),
        *("source/fd_small_conv", "cost/device_hours", "cost/seconds_per_iteration", "cost/training_peak_live_gb"),
    ]
    assert len(trials) == 8
    types = trials.dtypes.astype(str)
    assert [types[name] for name in ("row", "seed", "baseline", "step", "last/fd_small_conv", "error")] == [
        *("str", "int64", "bool", "int64", "float64", "str"),
    ]
    by_trial = trials.set_index(["row", "seed"])
    assert by_trial.loc[("external", 1), "last/fd_small_conv"] == 31.0
    assert by_trial.loc[("external", 1), "model.negatives"] == "external"
    assert list(trials["status"]) == [*["FINISHED"] * 5, "KILLED", "FAILED", "MISSING"]
    assert by_trial.loc[("never ran", 0), "error"] == "RuntimeError: no_room & <none> | 5%"


def test_a_frame_has_a_line_for_each_evaluation(store: str) -> None:
    scores = api.read_scores("hand_made", "stripes", store=store)
    assert list(scores) == ["sweep", "task", "row", "seed", "step", "epoch", "fd_small_conv"]
    assert [str(kind) for kind in scores.dtypes] == ["str", "str", "str", "int64", "int64", "float64", "float64"]
    assert len(scores) == 5 * 3
    of_trial = scores[(scores["row"] == "internal") & (scores["seed"] == 1)]
    assert of_trial[["step", "epoch", "fd_small_conv"]].to_numpy().tolist() == [
        [256, 1, 50],
        [512, 2, 9],
        [768, 3, 8.5],
    ]


def test_without_a_name_all_sweeps_of_a_store_are_read(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    trials = api.read_trials()
    assert len(trials) == 2 * 8
    assert list(trials["task"].unique()) == ["other", "stripes"]
    assert len(api.read_trials(task="other")) == 8
    assert len(api.read_scores()) == 2 * 15
    with pytest.raises(UserError, match=r"recorded for several tasks \(other, stripes\)"):
        read_comparison("hand_made")
    assert read_comparison("sweeps/hand_made.yaml", "other")["mean"][0] == 16.25


def test_an_empty_store_gives_empty_frames(project: Path) -> None:
    assert api.read_trials().empty
    assert list(api.read_scores()) == ["sweep", "task", "row", "seed", "step", "epoch"]


def test_a_comparison_has_the_numbers_of_the_table(store: str) -> None:
    frame = read_comparison("hand_made", "stripes", store=store).set_index("row")
    assert list(frame) == [
        *("baseline", "n", "mean", "sd", "pairs", "difference", "low", "high", "p", "told_apart"),
    ]
    assert list(frame["baseline"]) == [True, False, False, False]
    assert list(frame["n"]) == [2, 2, 1, 0]
    external = frame.loc["external"]
    assert external["difference"] == (35.0 + 31.0 - 14.0 - 8.5) / 2
    assert external["low"] < external["difference"] < external["high"]
    assert np.isnan(frame.loc["internal", "difference"])
    assert np.isnan(frame.loc["never ran", "mean"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "has no sweep 'nowhere'. It has: hand_made"),
        (("hand_made", "stripes"), "no finished trial has the metric 'last/fod'; did you mean last/"),
    ],
)
def test_what_is_not_recorded_is_refused(store: str, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_comparison(*arguments, metric="last/fod", store=store)
    assert said in str(caught.value)


def test_a_written_sweep_is_read_as_it_was_meant(project: Path) -> None:
    layers = ["res1", "res5"]
    rows = {"α: 1": {"model.places": layers, "model.temperature": np.float32(0.5)}, "no": {"model.places": layers}}
    path = write_sweep("mine", "Does it: run?", rows, seeds=range(2), base=["model=cut"], default="no")
    assert path == Path("sweeps/mine.yaml")
    sweep = read_sweep(path)
    assert [(row.row, row.set) for row in sweep.rows] == [
        ("α: 1", {"model.places": layers, "model.temperature": 0.5}),
        ("no", {"model.places": layers}),
    ]
    assert (sweep.seeds, sweep.base, sweep.default, sweep.question) == ((0, 1), ("model=cut",), "no", "Does it: run?")
    write_sweep("mine", "And now?", ROWS, seeds=[0])
    assert read_sweep(path).question == "And now?"


def test_a_sweep_file_of_others_is_not_overwritten(project: Path) -> None:
    before = Path("sweeps/smoke.yaml").read_bytes()
    with pytest.raises(UserError, match=r"sweeps/smoke\.yaml: was not written by write_sweep"):
        write_sweep("smoke", "Does it run?", ROWS, seeds=[0])
    assert Path("sweeps/smoke.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("../mine", {}, "write_sweep: its name is '../mine'"),
        ("mine", {"seeds": []}, "seeds has 0 entries"),
        ("mine", {"seeds": 3}, "sweeps/mine.yaml: seeds"),
        ("mine", {"rows": {}}, "rows has 0 entries"),
        ("mine", {"rows": {"a": {"model": object}}}, "is of type type. Give text, numbers"),
        ("mine", {"rows": {"a\x07": {}}}, "Control characters are not allowed"),
        ("mine", {"default": "b"}, "default is 'b', which is not a row"),
    ],
)
def test_what_no_sweep_file_holds_is_not_written(
    project: Path, name: str, changed: dict[str, object], said: str
) -> None:
    arguments = {"rows": {"a": {}}, "seeds": [0], **changed}
    with pytest.raises(UserError) as caught:
        write_sweep(name, "Does it run?", **arguments)  # pyright: ignore[reportArgumentType]
    assert said in str(caught.value)
    assert not list(project.rglob("mine.yaml"))


@pytest.mark.parametrize("call", [plan_sweep, run_sweep])
@pytest.mark.parametrize(
    ("sweep", "overrides", "said"),
    [
        ("nowhere", [], "no sweep is called 'nowhere'"),
        ("smoke", ["model.temprature=1"], "did you mean model.temperature"),
        ("smoke", ["--help"], "cannot read '--help'"),
        ("smoke", ["seeds=3"], "It must be a list of whole numbers"),
    ],
)
def test_a_faulty_call_raises_the_command_s_error(
    project: Path, call: type[object], sweep: str, overrides: list[str], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        call(sweep, overrides)  # pyright: ignore[reportCallIssue]
    assert said in str(caught.value)
    assert not list(project.glob("trials"))
