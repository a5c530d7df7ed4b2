import numpy as np
from sample_records import finished, make

from analysis.figures.image_grid import compare_outputs, pictured, show_progress

HEIGHT, WIDTH, COUNT = 4, 6, 3


def grid(first: int) -> np.ndarray:
    """Tiles of one level each: inputs from `first` on, outputs from first + 10, neighbours from first + 20."""
    levels = np.array([[first + 10 * line + at for at in range(COUNT)] for line in range(3)], np.uint8)
    return levels.repeat(HEIGHT, axis=0).repeat(WIDTH, axis=1)[..., None].repeat(3, axis=2)


def levels(tiles: tuple[np.ndarray, ...]) -> list[int]:
    assert all(tile.shape == (HEIGHT, WIDTH, 3) and len(np.unique(tile)) == 1 for tile in tiles)
    return [int(tile[0, 0, 0]) for tile in tiles]


def test_inputs_outputs_and_neighbours_are_cut_out_of_each_rows_picture() -> None:
    runs = [finished(row, 0, image_size=f"{HEIGHT} x {WIDTH}") for row in ("a", "b", "c")]
    found = compare_outputs(make(runs, default="b"), {"run0": grid(0), "run1": grid(100)})
    assert found is not None
    assert {row: levels(tiles) for row, tiles in found.outputs.items()} == {"a": [10, 11, 12], "b": [110, 111, 112]}
    assert levels(found.inputs) == [100, 101, 102]
    assert (found.neighbour_of, levels(found.neighbours)) == ("b", [120, 121, 122])


def test_the_default_row_is_pictured_wherever_it_stands_and_what_is_not_is_counted() -> None:
    names = [f"row {number}" for number in range(5)]
    record = make([finished(row, 0, image_size=f"{HEIGHT} x {WIDTH}") for row in names], default="row 3")
    runs = pictured(record, 3)
    assert runs == ["run0", "run1", "run3"]
    found = compare_outputs(record, {run: grid(0) for run in runs})
    assert found is not None
    assert (list(found.outputs), found.neighbour_of, found.left_out) == (["row 0", "row 1", "row 3"], "row 3", 2)


def test_neighbours_are_the_first_rows_where_the_default_has_no_picture() -> None:
    runs = [finished(row, 0, image_size=f"{HEIGHT} x {WIDTH}") for row in ("a", "b")]
    found = compare_outputs(make(runs, default="b"), {"run0": grid(0)})
    assert found is not None and found.neighbour_of == "a"


def test_without_a_recorded_size_images_are_taken_to_be_square() -> None:
    square = np.zeros((12, 20, 3), np.uint8)
    found = compare_outputs(make([finished("a", 0)]), {"run0": square})
    assert found is not None and [tile.shape for tile in found.inputs] == [(4, 4, 3)] * 5


def test_pictures_of_unfinished_trials_are_no_pictures() -> None:
    record = make([{**finished("a", 0), "status": "KILLED"}])
    assert compare_outputs(record, {"run0": grid(0)}) is None
    assert pictured(record, 3) == []


def test_the_seed_that_is_shown_is_the_one_with_the_most_finished_rows() -> None:
    assert pictured(make([finished("a", 0), finished("a", 1), finished("b", 1)]), 3) == ["run1", "run2"]
    assert pictured(make([finished("a", 2), finished("a", 1)]), 3) == ["run0"]


def test_the_first_translation_of_each_row_is_shown_after_each_of_its_evaluations() -> None:
    trained = {"last__epoch": 4.0, "image_size": f"{HEIGHT} x {WIDTH}"}
    record = make([finished("a", 0, last__step=400.0, **trained), finished("b", 0, last__step=800.0, **trained)])
    found = show_progress(record, {"run0": {100: grid(0), 400: grid(50)}, "run1": {200: grid(0), 600: grid(100)}})
    assert found is not None and (found.along, found.xs) == ("epoch", (1.0, 3.0, 4.0))
    shown = {
        row: [image if image is None else levels((image,)) for image in of_row] for row, of_row in found.outputs.items()
    }
    assert shown == {"a": [[10], None, [60]], "b": [[10], [110], None]}
    assert levels((found.source,)) == [0]


def test_without_recorded_epochs_translations_are_shown_by_step_and_one_evaluation_is_no_course() -> None:
    record = make([finished("a", 0, image_size=f"{HEIGHT} x {WIDTH}")])
    found = show_progress(record, {"run0": {100: grid(0), 400: grid(50)}})
    assert found is not None and (found.along, found.xs) == ("step", (100, 400))
    assert show_progress(record, {"run0": {400: grid(50)}}) is None
    assert show_progress(record, {}) is None
