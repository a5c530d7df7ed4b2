from pathlib import Path

import pytest
import yaml

from analysis.statistics.paper_values import REFERENCE
from pipeline.config.compose import TASKS, compose_config
from pipeline.config.sweep_file import expand, load_sweep, read_sweep, require_name, retries_failed, with_seeds
from pipeline.config.trial_key import trial_key
from pipeline.errors import UserError

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


def test_the_row_that_others_are_compared_with_must_be_one(tmp_path: Path) -> None:
    assert read_sweep(sweep_file(tmp_path, f"{GOOD}default: warm\n")).default == "warm"
    with pytest.raises(UserError, match="default is 'wram', which is not a row; did you mean warm"):
        read_sweep(sweep_file(tmp_path, f"{GOOD}default: wram\n"))


def test_a_rows_name_is_one_line_of_what_can_be_printed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains a line break"):
        read_sweep(sweep_file(tmp_path, GOOD.replace("row: cold", 'row: "co\\nld"')))


def test_overrides_reach_every_row(tmp_path: Path) -> None:
    trials = expand(read_sweep(sweep_file(tmp_path, GOOD)), ["model.num_patches=16"])
    assert {trial.config.model.num_patches for trial in trials} == {16}


def test_seeds_can_be_overridden(tmp_path: Path) -> None:
    sweep, rest = with_seeds(read_sweep(sweep_file(tmp_path, GOOD)), ["seeds=[7]", "task=stripes"])
    assert sweep.seeds == (7,)
    assert rest == ["task=stripes"]


COMMITTED = sorted(path.stem for path in Path("sweeps").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name in COMMITTED for task in TASKS if (name, task) != ("photos", "stripes")]
)
def test_committed_sweeps_compose_on_every_task(name: str, task: str) -> None:
    sweep = load_sweep(name)
    overrides = [f"task={task}", *(["data.root=somewhere"] if task in ("folder", "photos") else [])]
    assert len(expand(sweep, overrides)) == len(sweep.rows) * len(sweep.seeds)
    assert sweep.question.endswith("?")


def test_the_sweep_photos_has_the_trials_of_ablation_negatives_with_the_task_photos() -> None:
    one, other = (
        [trial_key(trial.config, "", "") for trial in expand(load_sweep(name), overrides)]
        for name, overrides in (("photos", []), ("ablation_negatives", ["task=photos", "data.root=somewhere"]))
    )
    assert one == other


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_sweeps_say_at_their_head_what_to_expect_and_what_it_costs(name: str) -> None:
    head = [line for line in Path(f"sweeps/{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert len(head) >= 2
    assert "Cost: " in " ".join(head)
    assert max(map(len, Path(f"sweeps/{name}.yaml").read_text().splitlines())) <= 120


def test_cuts_default_stands_in_seven_ablations_and_is_one_trial() -> None:
    """And in the search: whoever trains it first, trains it for all."""
    default = trial_key(compose_config([]), "", "")
    having = [
        name
        for name in COMMITTED
        if default in {trial_key(trial.config, "", "") for trial in expand(load_sweep(name), []) if trial.seed == 0}
    ]
    ablations = ["descendants", "identity", "layers", "negatives", "paper", "temperature", "weighting"]
    assert having == [*(f"ablation_{name}" for name in ablations), "explore", "methods"]


def test_the_papers_rows_stand_in_its_order_and_by_its_names() -> None:
    reference = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))["fid"]
    figure = [name.removeprefix("Fig. 4: ") for name in reference if name.startswith("Fig. 4: ")]
    assert [row.row for row in load_sweep("ablation_paper").rows] == figure


@pytest.mark.parametrize("name", COMMITTED)
def test_every_row_that_names_the_papers_has_a_number_there(name: str) -> None:
    reference = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))
    known = {*reference["fid"], *reference["reported"]}
    assert {row.paper for row in load_sweep(name).rows} - {""} <= known


def test_a_sweep_file_may_lie_anywhere(tmp_path: Path) -> None:
    assert load_sweep(str(sweep_file(tmp_path, GOOD))).name == "mine"
    with pytest.raises(UserError, match=r"nowhere/mine\.yaml: no such file"):
        load_sweep("nowhere/mine.yaml")


def test_more_than_a_thousand_rows_are_refused_before_any_is_composed(tmp_path: Path) -> None:
    rows = "".join(f"  - {{row: r{number}, set: {{model.temperature: {number}}}}}\n" for number in range(1001))
    with pytest.raises(UserError, match=r"mine\.yaml: rows has 1001 entries.* 1000"):
        read_sweep(sweep_file(tmp_path, GOOD[: GOOD.index("  - ")] + rows))


def test_a_thousand_rows_are_taken(tmp_path: Path) -> None:
    rows = "".join(f"  - {{row: r{number}, set: {{model.temperature: {number + 1}.0}}}}\n" for number in range(1000))
    sweep = read_sweep(sweep_file(tmp_path, GOOD[: GOOD.index("  - ")] + rows))
    assert len({trial_key(trial.config, "", "") for trial in expand(sweep, [])}) == 2000


def test_failed_trials_are_tried_again_when_asked() -> None:
    assert retries_failed(["task=stripes", "retry=failed"]) == (True, ["task=stripes"])
    assert retries_failed(["task=stripes"]) == (False, ["task=stripes"])
    with pytest.raises(UserError, match=r"retry is 'all'.*retry=failed"):
        retries_failed(["retry=all"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("warm", "cold", "row 'cold' appears 2 times"),
        ("row: warm", "row: ' '", "row 2 has an empty name"),
        ("seeds: [0, 1]", "seeds: []", "seeds has 0 entries"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "Each seed may appear only once"),
        ("seeds: [0, 1]", "seeds: [a]", "seeds"),
        ("seeds: [0, 1]", "seeds: [0, 2.0]", "seeds.1 is 2.0. It must be a whole number"),
        ("seeds: [0, 1]", "seeds: [true, 1]", "seeds.0 is True. It must be a whole number"),
        ("seeds: [0, 1]", "? [a, b]\n: 1", "mine.yaml:5: a key must be plain text"),
        ("[model=cut]", "[seed=9]", "mine.yaml, base: sets seed"),
        ("model.temperature: 0.01", "seed: 3", "row 'cold': sets seed"),
        ("model.temperature: 0.01", "model.method: cyclegan", "model.method cannot be set by itself. Set model=…"),
        ("seeds: [0, 1]", "seeeds: [0, 1]", "no key is called 'seeeds'; did you mean seeds?"),
        ("row: cold", "rwo: cold", "rows.0: no key is called 'rwo'; did you mean row?"),
        ("name: mine", "name: mine\nplace: here", "no key is called 'place'"),
        ("name: mine", "name: yours", "must be the name of the file, 'mine'"),
        ("name: mine", "name: mine\nname: mine", "mine.yaml:3: 'name' appears twice"),
        ("question: Does it work?", "", "question"),
        ("rows:", "rows: [", "mine.yaml:"),
        (
            "model.temperature: 0.01",
            "model.temprature: 0.01",
            "row 'cold': no field is called 'model.temprature'; did you mean",
        ),
        ("model.temperature: 0.01", "model.temperature: hot", "row 'cold': model.temperature is 'hot'"),
        ("model.temperature: 0.01", 'model.temperature: "${seed}"', "row 'cold': model.temperature is '${seed}'"),
        ("model.temperature: 0.01", "model.temperature: .nan", "It must be finite"),
        ("model.temperature: 0.01", "model.temperature: .inf", "It must be finite"),
        ("model.temperature: 0.01", "model.temperature: {eval: 1 + 1}", "row 'cold': model.temperature is a dict"),
        ("model.temperature: 0.01", "model.temperature: {grid_search: [1, 2]}", "row 'cold': model.temperature is a"),
        (
            "model.temperature: 0.01",
            'model.temperature: "choice(1,2)"',
            "row 'cold': model.temperature is 'choice(1,2)'",
        ),
        ("model.temperature: 0.01", "model.negatives: [[internal]]", "row 'cold': model.negatives"),
        (
            "[model=cut]",
            '["model.temperature=${seed}"]',
            "mine.yaml, base: model.temperature is '${seed}'. Interpolations are not allowed",
        ),
        (
            "[model=cut]",
            '["model.temperature=choice(1,2)"]',
            "mine.yaml, base: 'model.temperature=choice(1,2)' gives several values",
        ),
        ("[model=cut]", "model=cut", "mine.yaml: base"),
        ("rows:\n", "rows:\n  - just words\n", "mine.yaml: rows.0"),
        ("rows:\n", "rows:\n  - {}\n", "mine.yaml: rows.0.row"),
        ("rows:\n", "rows:\n  - {row: nothing}\n", "mine.yaml: rows.0.set"),
        ("name: mine", "name: 'mi ne'", "its name is 'mi ne'. Use letters"),
        ("model.temperature: 0.01", "model: {temperature: 0.01}", "row 'cold': model is a dict"),
        ("model.temperature: 0.01", "task: stripes", "row 'cold': sets 'task', which all rows of a table share"),
        ("model.temperature: 0.01", "tracking.uri: 'http://127.0.0.1:9'", "row 'cold': sets 'tracking.uri'"),
        ("model.temperature: 0.01", "paths.trials: elsewhere", "row 'cold': sets 'paths.trials'"),
        ("model.temperature: 0.01", "compute.device: cpu", "row 'cold': sets 'compute.device'"),
        ("model.temperature: 0.01", "metric.every_epochs: 2", "row 'cold': sets 'metric.every_epochs'"),
        ("model.temperature: 0.01", "data.size: 32", "row 'cold': sets 'data.size'"),
        ("model.temperature: 0.01", "data.root: x", "row 'cold': sets 'data.root'"),
        ("[model=cut]", "[data.root=x]", "base: data.root is a field of other tasks"),
        ("[model=cut]", "[model=cyclegan]", "row 'cold': model.temperature is a field of other models"),
        ("[model=cut]", "['model.external.queue_size=100000000']", "external.queue_size is 100000000; it must be 1 to"),
        (
            "model.temperature: 0.01",
            "model.generator.channels: 1000000000",
            "generator.channels is 1000000000; it must",
        ),
        ("model.temperature: 0.01", "model.generator.blocks: 1000000000", "generator.blocks is 1000000000; it must"),
        ("model.temperature: 0.01", "model.generator.channels: 500, model.generator.blocks: 100", "GB"),
        ("[model=cut]", "[data.train_count=1000000000000]", "data.train_count is 1000000000000. It must be at most"),
        ("[model=cut]", "[data.train_count=10000000]", "GB of memory, and at most 4 are allowed. Lower train_count"),
        ("seeds: [0, 1]", f"seeds: {list(range(1001))}", "seeds has 1001 entries. It must have 1 to 1000"),
        ("seeds: [0, 1]", f"seeds: [{2**63}]", "A seed must be below 2^63"),
        ("[model=cut]", str(["seed=1"] * 101), "base is longer than 100"),
        ("question: Does it work?", f"question: {'why ' * 300}", "question is longer than 1000"),
        ("row: cold", f"row: {'cold' * 100}", "rows.0.row is longer than 100"),
        ("row: cold", "row: &r cold", "mine.yaml:7: anchors and aliases"),
        ("question: Does it work?", "question: !!binary aGVsbG8=", "mine.yaml:3: the tag '!!binary'"),
        ("[model=cut]", "[model=cute]", "mine.yaml, base: no model is called 'cute'"),
        ("[model=cut]", "[train.batch_size=many]", "mine.yaml, base: train.batch_size is 'many'"),
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
        ("model.temperature=0.2", "would override row 'cold' of sweep mine"),
        ("seed=3", "command line: sets seed. A sweep needs seeds"),
        ("model.temprature=0.2", "command line: no field is called"),
        ("train.batch_size=many", "command line: train.batch_size is 'many'"),
    ],
)
def test_faulty_overrides_are_not_blamed_on_a_row(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand(read_sweep(sweep_file(tmp_path, GOOD)), [override])


def test_more_than_ten_thousand_trials_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"  - {{row: r{number}, set: {{model.temperature: {number + 1}}}}}\n" for number in range(101))
    sweep = read_sweep(sweep_file(tmp_path, GOOD[: GOOD.index("  - ")].replace("[0, 1]", str(list(range(100)))) + rows))
    with pytest.raises(UserError, match="101 rows and 100 seeds are 10100 trials"):
        expand(sweep, [])


@pytest.mark.parametrize("override", ["seeds=0,1", "seeds=range(0,3)", "seed=0,1"])
def test_several_seeds_are_written_as_a_list(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match=r"Write seeds=\[0,1\]"):
        expand(*with_seeds(read_sweep(sweep_file(tmp_path, GOOD)), [override]))


@pytest.mark.parametrize("name", ["../mine", "a/b", "..", "a b", "x" * 101, "mine\n", "café", ""])
def test_a_sweeps_name_can_name_a_folder(name: str) -> None:
    with pytest.raises(UserError, match=r"^here: its name "):
        require_name(name, "here")


@pytest.mark.parametrize("override", ["seeds=3", "seeds=[]", "seeds=[a]", "seeds=[1,1]", "seeds=[1.5]", "seeds=1,2"])
def test_faulty_seeds_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match="seed"):
        with_seeds(read_sweep(sweep_file(tmp_path, GOOD)), [override])
