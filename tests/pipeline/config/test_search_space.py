from pathlib import Path

import pytest

from pipeline.config.search_space import Distribution, Halving, Search, random_samples
from pipeline.config.sweep_file import expand, read_sweep, with_seeds
from pipeline.errors import UserError
from pipeline.orchestration.sampler import next_sample

SPACE = {
    "model.temperature": Distribution(loguniform=(0.01, 0.5)),
    "model.identity_weight": Distribution(uniform=(0.0, 2.0)),
    "model.places": Distribution(choice=(["res1", "res5"], ["res5"])),
}
SEARCH = Search(samples=40, space=SPACE)

FILE = """
name: mine
question: Which is best?
base: [model=cut]
seeds: [0]
rows: [{row: default, set: {}}]
search:
  samples: 5
  space:
    model.temperature: {loguniform: [0.01, 0.5]}
    model.negatives: {choice: [[internal], [external]]}
"""


def test_samples_lie_in_their_distributions() -> None:
    samples = random_samples(SEARCH)
    assert len(samples) == 40
    temperatures = [sample["model.temperature"] for sample in samples]
    assert all(0.01 <= temperature <= 0.5 for temperature in temperatures)
    # Half of a log-uniform lies below the geometric mean.
    assert 10 <= sum(temperature < (0.01 * 0.5) ** 0.5 for temperature in temperatures) <= 30
    assert all(0 <= sample["model.identity_weight"] <= 2 for sample in samples)
    assert {tuple(sample["model.places"]) for sample in samples} == {("res1", "res5"), ("res5",)}


def test_the_same_search_draws_the_same_samples_and_more_of_them_begin_alike() -> None:
    assert random_samples(SEARCH) == random_samples(SEARCH)
    assert random_samples(Search(samples=50, space=SPACE))[:40] == random_samples(SEARCH)
    assert random_samples(Search(samples=40, space=SPACE, sampler_seed=1)) != random_samples(SEARCH)


def test_no_sample_is_drawn_twice() -> None:
    few = Search(samples=10, space={"model.places": Distribution(choice=(["res1"], ["res5"], ["down1"]))})
    assert sorted(sample["model.places"] for sample in random_samples(few)) == [["down1"], ["res1"], ["res5"]]


@pytest.mark.parametrize(
    ("epochs", "every", "share", "first"), [(400, 20, 0.25, 100), (6, 1, 0.25, 2), (200, 20, 0.01, 20), (2, 5, 0.5, 2)]
)
def test_halving_begins_with_an_evaluation(epochs: int, every: int, share: float, first: int) -> None:
    assert Halving(first_share=share).first_epoch(epochs, every) == first


def test_optuna_learns_from_what_it_is_told() -> None:
    told = [({"model.temperature": 0.01 * number}, abs(number - 20.0)) for number in range(1, 50)]
    search = Search(samples=80, space={"model.temperature": Distribution(loguniform=(0.01, 0.5))}, sampler="optuna")
    asked = [next_sample(search, told, number)["model.temperature"] for number in range(8)]
    assert sum(0.1 < temperature < 0.3 for temperature in asked) >= 6


def test_optuna_samples_every_kind_of_distribution() -> None:
    search = Search(samples=9, space=SPACE, sampler="optuna")
    told: list[tuple[dict[str, object], float]] = []
    for number in range(4):
        sample = next_sample(search, told, number)
        assert set(sample) == set(SPACE)
        assert sample["model.places"] in (["res1", "res5"], ["res5"])
        told.append((sample, float(number)))
    assert next_sample(search, told, 4) == next_sample(search, told, 4)


def test_optuna_is_told_nothing_by_samples_of_another_space() -> None:
    search = Search(samples=9, space={"model.temperature": Distribution(uniform=(0.1, 0.2))}, sampler="optuna")
    told: list[tuple[dict[str, object], float]] = [({"model.temperature": 0.9}, 1.0), ({"model.places": ["res5"]}, 2.0)]
    assert 0.1 <= next_sample(search, told, 2)["model.temperature"] <= 0.2


def sweep_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_samples_are_rows_behind_the_sweeps_own(tmp_path: Path) -> None:
    trials = expand(read_sweep(sweep_file(tmp_path, FILE)), [])
    assert [trial.row for trial in trials] == ["default", *(f"sample {number}" for number in range(5))]
    assert len({trial.config.model.temperature for trial in trials}) == 6


def test_a_search_has_one_seed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a search has one seed"):
        expand(read_sweep(sweep_file(tmp_path, FILE.replace("[0]", "[0, 1]"))), [])
    with pytest.raises(UserError, match="a search has one seed"):
        expand(*with_seeds(read_sweep(sweep_file(tmp_path, FILE)), ["seeds=[0,1]"]))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("samples: 5", "samples: 0", "samples is 0"),
        ("samples: 5", "samples: 5\n  sampels: 5", "search: no key is called 'sampels'; did you mean samples"),
        ("samples: 5", "samples: 5\n  sampler: grid", "search.sampler"),
        ("samples: 5", "samples: 5\n  halving: {reduction: 1}", "reduction is 1"),
        (
            "samples: 5",
            "samples: 5\n  halving: {reductoin: 3}",
            "no key is called 'reductoin'",
        ),
        ("{loguniform: [0.01, 0.5]}", "{}", "give one of uniform"),
        ("samples: 5", "samples: 5\n  halving: {first_share: 2.0}", "first_share is 2.0"),
        ("{loguniform: [0.01, 0.5]}", "{loguniform: [0.0, 0.5]}", "loguniform needs bounds above 0"),
        ("{loguniform: [0.01, 0.5]}", "{uniform: [0.5, 0.1]}", "low must be below high, found 0.5, 0.1"),
        ("{loguniform: [0.01, 0.5]}", "{uniform: [.nan, 0.1]}", "mine.yaml"),
        ("{loguniform: [0.01, 0.5]}", "{uniform: [0.1, 0.5], choice: [1.0]}", "give one of uniform"),
        ("{loguniform: [0.01, 0.5]}", "{normal: [0.1, 0.5]}", "no key is called 'normal'"),
        ("{choice: [[internal], [external]]}", "{choice: []}", "choice is empty"),
        ("model.temperature:", "model.temprature:", "no field is called 'model.temprature'; did you mean"),
        ("model.temperature:", "seed:", "space contains seed"),
        ("row: default", "row: sample 0", "row 'sample 0' begins like the search's samples"),
        ("rows: [{row: default, set: {}}]", "rows: []", "rows has 0 entries"),
    ],
)
def test_faulty_searches_are_refused_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(UserError) as caught:
        expand(read_sweep(sweep_file(tmp_path, FILE.replace(old, new, 1))), [])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
