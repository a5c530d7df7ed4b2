from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.sweep import expand, load_sweep, read_sweep, with_seeds

GOOD = """
name: mine
question: Does it work?
base: [model=cut]
seeds: [0, 1]
rows:
  - {row: cold, set: {model.temperature: 0.01}}
  - {row: warm, set: {model.temperature: 0.5, model.negatives: [internal, external]}}
"""


def sweep_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_rows_times_seeds_run_seed_by_seed(tmp_path: Path) -> None:
    trials = expand(read_sweep(sweep_file(tmp_path, GOOD)), [])
    assert [(trial.row, trial.seed) for trial in trials] == [("cold", 0), ("warm", 0), ("cold", 1), ("warm", 1)]
    assert [trial.config.seed for trial in trials] == [0, 0, 1, 1]
    assert trials[1].config.model.negatives == ("internal", "external")


def test_overrides_reach_every_row(tmp_path: Path) -> None:
    trials = expand(read_sweep(sweep_file(tmp_path, GOOD)), ["model.num_patches=16"])
    assert {trial.config.model.num_patches for trial in trials} == {16}


def test_seeds_can_be_overridden(tmp_path: Path) -> None:
    sweep, rest = with_seeds(read_sweep(sweep_file(tmp_path, GOOD)), ["seeds=[7]", "task=stripes"])
    assert sweep.seeds == (7,)
    assert rest == ["task=stripes"]


@pytest.mark.parametrize("name", ["ablation_negatives", "methods", "smoke"])
def test_committed_sweeps_compose(name: str) -> None:
    sweep = load_sweep(name)
    assert len(expand(sweep, [])) == len(sweep.rows) * len(sweep.seeds)
    assert sweep.question.endswith("?")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("warm", "cold", "row 'cold' stands 2 times"),
        ("row: warm", "row: ' '", "row 2 has an empty name"),
        ("seeds: [0, 1]", "seeds: []", "seeds is empty"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "names one twice"),
        ("seeds: [0, 1]", "seeds: [a]", "seeds"),
        ("seeds: [0, 1]", "seeds: [0, 2.0]", "seeds.1: input should be a valid integer"),
        ("seeds: [0, 1]", "seeds: [true, 1]", "seeds.0: input should be a valid integer"),
        ("seeds: [0, 1]", "? [a, b]\n: 1", "mine.yaml:5: a key must be plain text"),
        ("[model=cut]", "[seed=9]", "base sets seed"),
        ("model.temperature: 0.01", "seed: 3", "row 'cold' sets seed"),
        ("model.temperature: 0.01", "model.method: cyclegan", "model.method follows from the model; set model=…"),
        ("seeds: [0, 1]", "seeeds: [0, 1]", "no key is called 'seeeds'; did you mean seeds?"),
        ("row: cold", "rwo: cold", "row 1: no key is called 'rwo'; did you mean row?"),
        ("name: mine", "name: yours", "must be that of the file, 'mine'"),
        ("name: mine", "name: mine\nname: mine", "mine.yaml:3: 'name' stands twice"),
        ("question: Does it work?", "", "question"),
        ("rows:", "rows: [", "mine.yaml:"),
        (
            "model.temperature: 0.01",
            "model.temprature: 0.01",
            "row 'cold': no field is called 'model.temprature'; did you mean",
        ),
        ("model.temperature: 0.01", "model.temperature: hot", "row 'cold': model.temperature is 'hot'"),
        ("model.temperature: 0.01", 'model.temperature: "${seed}"', "row 'cold': model.temperature is '${seed}'"),
        ("model.temperature: 0.01", "model.temperature: .nan", "numbers must be finite"),
        ("model.temperature: 0.01", "model: {temperature: 0.01}", "row 'cold': model is a dict"),
        ("[model=cut]", "[model=cute]", "sweeps/mine.yaml, base: no model is called 'cute'"),
        ("[model=cut]", "[train.batch_size=many]", "sweeps/mine.yaml, base: train.batch_size is 'many'"),
        (
            "{row: warm, set: {model.temperature: 0.5, model.negatives: [internal, external]}}",
            "{row: warm, set: {model.temperature: 0.010}}",
            "rows 'cold' and 'warm' are the same trial",
        ),
        (
            "{row: warm, set: {model.temperature: 0.5, model.negatives: [internal, external]}}",
            "{row: warm, set: {model.temperature: 0.01, train.log_every_steps: 7}}",
            "rows 'cold' and 'warm' are the same trial",
        ),
    ],
)
def test_faulty_files_are_refused_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        expand(read_sweep(sweep_file(tmp_path, GOOD.replace(old, new, 1))), [])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


NO_ROWS = ["", "just words", "[1, 2]", "rows: 5\nname: mine", "rows: []\nname: mine\nquestion: Why?\nseeds: [0]"]


@pytest.mark.parametrize("text", NO_ROWS)
def test_files_without_rows_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml"):
        read_sweep(sweep_file(tmp_path, text))


def test_unknown_sweep_names_the_near_ones() -> None:
    with pytest.raises(UserError, match="did you mean ablation_negatives"):
        load_sweep("ablation_negative")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.temperature=0.2", "would undo what row 'cold' of sweep mine sets"),
        ("seed=3", "a sweep takes seeds="),
        ("model.temprature=0.2", "command line: no field is called"),
        ("train.batch_size=many", "command line: train.batch_size is 'many'"),
    ],
)
def test_faulty_overrides_are_not_blamed_on_a_row(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand(read_sweep(sweep_file(tmp_path, GOOD)), [override])


@pytest.mark.parametrize("override", ["seeds=3", "seeds=[]", "seeds=[a]", "seeds=[1,1]", "seeds=[1.5]", "seeds=1,2"])
def test_faulty_seeds_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match="seed"):
        with_seeds(read_sweep(sweep_file(tmp_path, GOOD)), [override])
