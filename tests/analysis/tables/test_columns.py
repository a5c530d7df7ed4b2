import pytest
from sample_records import finished, make

from analysis.records.schema import Setting, SweepRecord
from analysis.tables.columns import setting_columns

ALL = "pixels, down1, down2, res1, res5"
CUT: dict[str, Setting] = {
    "model.identity_weight": 1.0,
    "model.num_patches": 256,
    "model.external.num_negatives": 255,
    "model.places": ALL,
    "model.negatives": "internal",
    "model.temperature": 0.07,
}


def sweep(*asked: str, **rows: dict[str, Setting]) -> SweepRecord:
    found = make([finished(row, 0) for row in rows], settings={row: {**CUT, **own} for row, own in rows.items()})
    return SweepRecord(**{**vars(found), "axes": asked})


def test_the_papers_ablation_has_the_columns_of_its_figure_4() -> None:
    fig4 = {
        "default": {},
        "no id": {"model.identity_weight": 0.0},
        "no id, 15 neg, last": {"model.identity_weight": 0.0, "model.num_patches": 16, "model.places": "res5"},
        "int and ext": {"model.negatives": "internal, external"},
        "ext only": {"model.negatives": "external"},
    }
    asked = ("model.identity_weight", "model.num_patches", "model.places", "model.negatives")
    cells = setting_columns(sweep(*asked, **fig4))
    assert list(cells) == ["Id", "Negs", "Layers", "Int", "Ext"]
    assert cells.loc["default"].to_list() == ["yes", "255", "all", "yes", "no"]
    assert cells.loc["no id"].to_list() == ["no", "255", "all", "yes", "no"]
    assert cells.loc["no id, 15 neg, last"].to_list() == ["no", "15", "last", "yes", "no"]
    assert cells.loc["int and ext"].to_list() == ["yes", "255 + 255", "all", "yes", "yes"]
    assert cells.loc["ext only"].to_list() == ["yes", "255", "all", "no", "yes"]


def test_negatives_of_the_users_own_have_a_column_with_their_names() -> None:
    rows = {"a": {}, "b": {"model.negatives": "internal, hardest"}, "c": {"model.negatives": "near, far"}}
    cells = setting_columns(sweep("model.negatives", **rows))
    assert cells["Int"].to_list() == ["yes", "yes", "no"]
    assert cells["own negatives"].to_list() == ["–", "hardest", "near, far"]


def test_a_source_of_negatives_has_a_column_where_a_row_uses_it() -> None:
    rows = {"a": {}, "b": {"model.negatives": "internal, other_domain"}, "c": {"model.negatives": "generated"}}
    cells = setting_columns(sweep("model.negatives", **rows))
    assert list(cells) == ["Int", "Ext", "Gen", "Other"]
    assert cells["Gen"].to_list() == ["no", "no", "yes"]


def test_identity_is_a_weight_where_it_is_more_than_on_and_off() -> None:
    cells = setting_columns(sweep("model.identity_weight", a={}, b={"model.identity_weight": 0.25}))
    assert cells["v"].to_list() == ["1", "0.25"]


@pytest.mark.parametrize(
    ("field", "title", "values", "texts"),
    [
        ("model.temperature", "τ", (0.07, 0.5), ["0.07", "0.5"]),
        ("model.nce_weight", "w", (1.0, 10.0), ["1", "10"]),
        ("train.batch_size", "train.batch_size", (1, 4), ["1", "4"]),
        ("model.generator.antialias", "generator.antialias", (True, False), ["yes", "no"]),
        ("model", "method", ("cut", "cyclegan"), ["CUT", "CycleGAN"]),
    ],
)
def test_a_setting_has_the_name_that_the_field_knows(
    field: str, title: str, values: tuple[Setting, Setting], texts: list[str]
) -> None:
    cells = setting_columns(sweep(field, a={field: values[0]}, b={field: values[1]}))
    assert list(cells) == [title]
    assert cells[title].to_list() == texts


def test_a_method_without_the_setting_has_a_dash() -> None:
    found = make(
        [finished(row, 0) for row in ("a", "b")],
        settings={"a": {"model": "cut", "model.temperature": 0.07}, "b": {"model": "cyclegan"}},
    )
    assert setting_columns(found)["τ"].to_list() == ["0.07", "–"]


def test_a_method_without_negatives_has_dashes_for_them() -> None:
    rows = {"a": {**CUT, "model.negatives": "internal"}, "b": {"model": "cyclegan"}}
    found = make([finished(row, 0) for row in rows], settings=rows)
    cells = setting_columns(SweepRecord(**{**vars(found), "axes": ("model.negatives", "model.num_patches")}))
    assert cells.loc["b"].to_list() == ["–", "–", "–"]


def test_sincuts_negatives_are_those_of_its_batch() -> None:
    rows: dict[str, dict[str, Setting]] = {"a": {"model.num_patches": 1}, "b": {"model.num_patches": 4}}
    found = make([finished(row, 0) for row in rows], settings=rows)
    cells = setting_columns(SweepRecord(**{**vars(found), "axes": ("model.num_patches",)}))
    assert cells["Negs"].to_list() == ["1 x batch − 1", "4 x batch − 1"]


def test_a_method_without_external_negatives_has_the_number_of_its_others() -> None:
    dclgan: dict[str, Setting] = {"model": "dclgan", "model.num_patches": 64, "model.negatives": "internal"}
    rows = {"a": CUT, "b": dclgan}
    found = make([finished(row, 0) for row in rows], settings=rows)
    cells = setting_columns(SweepRecord(**{**vars(found), "axes": ("model.num_patches",)}))
    assert cells["Negs"].to_list() == ["255", "63"]


def test_settings_keep_their_digits() -> None:
    rows = {"a": {"train.learning_rate": 0.00012345678}, "b": {"train.learning_rate": 1234567}, "c": {}}
    found = make([finished(row, 0) for row in rows], settings=rows)
    assert setting_columns(found)["train.learning_rate"].to_list() == ["0.00012345678", "1234567", "–"]


def test_settings_that_no_row_sets_are_no_columns() -> None:
    assert list(setting_columns(sweep("model.temperature", a={}, b={"model.temperature": 0.5}))) == ["τ"]
