"""A file of the user in the settings of a trial: its text is in the key, its path is not."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from pipeline.__main__ import main as pipeline
from pipeline.config.compose import compose_config
from pipeline.config.schema import Config, from_json, to_json
from pipeline.config.sweep_file import Trial, expand, load_sweep
from pipeline.config.trial_key import keyed_fields, trial_key
from pipeline.errors import UserError
from pipeline.training.count_step import count_step

GUIDE = Path(__file__).parents[3] / "docs/own_code.md"
SOURCE = "from models.negatives import internal\n\ndef own(patches):\n    return internal(patches).topk(4).values\n"


def key(config: Config) -> str:
    return trial_key(config, data="", weights="")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_the_key_depends_on_the_text_and_not_on_the_path(written: Callable[..., Path]) -> None:
    used = "model.negatives=[own]"
    first, moved = (compose_config([f"model.code={written(SOURCE, name)}", used]) for name in ("a.py", "b.py"))
    changed = compose_config([f"model.code={written(SOURCE.replace('4', '5'))}", used])
    assert key(first) == key(moved) != key(changed)
    assert len(str(keyed_fields(first)["model.code"])) == 16


def test_a_file_that_is_not_used_changes_no_key(written: Callable[..., Path]) -> None:
    assert key(compose_config([f"model.code={written(SOURCE)}"])) == key(compose_config([]))


def test_a_setting_keeps_the_text_that_the_file_had(written: Callable[..., Path]) -> None:
    file = written(SOURCE)
    config = compose_config([f"model.code={file}", "model.negatives=[own]"])
    file.unlink()
    assert from_json(to_json(config)) == config
    assert asdict(config.model)["code"]["text"] == SOURCE


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.code=none.py"], "command line: model.code: none.py: No such file or directory"),
        (["model.code=."], "command line: model.code: .: a folder. Give the path of a file"),
        (["model.code=4"], "command line: model.code: 4: No such file"),
        (["model.code={file}", "model.negatives=[owm]"], "negatives names owm"),
        (["model.code={file}", "model.extra_loss=own2"], "extra_loss is 'own2'"),
        (["model=cyclegan", "model.code={file}"], "model.code is a field of other models"),
    ],
)
def test_faults_are_named_with_their_place(
    overrides: list[str], said: str, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = written(SOURCE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(said)):
        compose_config([text.format(file=file) for text in overrides])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return internal(patches)[:, :1]", "mine.py: own returned (1, 1, 64); it must return"),
        ("return internal(patches) + undefined", "mine.py, line 4: NameError: name 'undefined' is not defined"),
        ("return internal(patches) @ patches.query_BPD.mT.mT[..., :3].mT", "mine.py, line 4: RuntimeError"),
        ("return internal(patches) * patches.query_BPD.sum().item()", "mine.py, line 4: reads the values of tensors"),
        ("return internal(patches)[internal(patches) > 0]", "mine.py, line 4: reads the values of tensors"),
    ],
)
def test_a_plan_says_what_is_wrong_with_a_function_in_one_line(
    body: str, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "mine.py").write_text(SOURCE.replace("return internal(patches).topk(4).values", body))
    (project / "sweeps/own.yaml").write_text(
        "name: own\nquestion: Does it work?\nbase: [model=cut, model.code=mine.py]\nseeds: [0]\n"
        "rows: [{row: own, set: {model.negatives: [own]}}]\n"
    )
    assert pipeline(["plan", "own"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: ") and said in line


@pytest.fixture
def guide(project: Path) -> list[Trial]:
    """The trials of the guide's sweep with one seed, written to the files that the guide names."""
    for language, block in re.findall(r"```(python|yaml)\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        file = project / re.match(r"# (\S+)\n", block)[1]  # pyright: ignore[reportOptionalSubscript]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block)
        assert language == "python" or yaml.safe_load(block)["seeds"] == [0, 1, 2]
    return [trial for trial in expand(load_sweep("mine/hard.yaml"), []) if trial.seed == 0]


@pytest.mark.slow
def test_the_sweep_of_the_guide_can_be_planned(guide: list[Trial]) -> None:
    shared, *own = guide
    assert key(shared.config) == key(expand(load_sweep("ablation_negatives"), [])[0].config)
    plain = count_step(shared.config)
    assert len(own) == 3
    for trial in own:
        assert count_step(trial.config).operations >= plain.operations
