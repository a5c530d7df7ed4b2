"""The figure of translated images."""

from itertools import pairwise

import numpy as np
import pytest
from sample_figures import NO_COURSE, sweep

from analysis.figures.data import Drawing
from analysis.figures.draw import draw
from analysis.figures.image_grid import Qualitative
from analysis.figures.qualitative import MOST_COLUMNS, MOST_LINES, PICTURES_OF_A_LINE


def pictures(rows: int, lines_of: int = 6, side: int = 8, default: int = 0, left_out: int = 0) -> Drawing:
    shown = tuple(np.full((side, side, 3), at, np.uint8) for at in range(lines_of))
    outputs = {f"row {row}": shown for row in range(rows)}
    qualitative = Qualitative(4, f"row {default}", shown, outputs, shown, left_out)
    return draw(sweep({"a": [1]}), NO_COURSE, {}, qualitative)[-1]


def test_pictures_are_four_lines_of_source_rows_and_nearest() -> None:
    drawing = pictures(rows=3)
    axes = drawing.figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["source", "row 0", "row 1", "row 2", "nearest in B"]
    assert len(axes.images) == 4 * 5
    lefts = sorted({image.get_extent()[0] for image in axes.images})
    assert [right - left for left, right in pairwise(lefts)] == pytest.approx([1.0] * 4)


def test_with_many_rows_each_row_is_a_line_of_pictures() -> None:
    drawing = pictures(rows=MOST_COLUMNS + 1, lines_of=7)
    axes = drawing.figure.axes[0]
    assert [text.get_text() for text in axes.texts][1:-1] == [f"row {row}" for row in range(MOST_COLUMNS + 1)]
    assert "Last line: " in drawing.caption
    tops = sorted({image.get_extent()[3] for image in axes.images})
    assert [below - above for above, below in pairwise(tops)] == pytest.approx([1.0] * (MOST_COLUMNS + 2))
    assert len(axes.images) == len(tops) * PICTURES_OF_A_LINE


@pytest.mark.parametrize(
    ("rows", "left_out", "said"),
    [(3, 0, ""), (3, 1, "1 of the sweep's rows is not shown."), (33, 2, "5 of the sweep's rows are not shown.")],
)
def test_pictures_say_how_many_rows_are_not_shown(rows: int, left_out: int, said: str) -> None:
    drawing = pictures(rows, left_out=left_out)
    assert len(drawing.figure.axes[0].texts) == min(rows, MOST_LINES) + 2
    assert drawing.caption.endswith(said) and ("not shown" in drawing.caption) == bool(said)


def test_default_row_is_among_the_pictures() -> None:
    heads = [text.get_text() for text in pictures(rows=33, default=32).figure.axes[0].texts]
    assert heads[-3:] == ["row 28", "row 32", "nearest in B"]


@pytest.mark.parametrize(("side", "kept"), [(64, True), (128, False)])
def test_small_pictures_keep_their_pixels(side: int, kept: bool) -> None:
    (image, *_) = pictures(rows=1, lines_of=1, side=side).figure.axes[0].images
    assert (image.get_interpolation() == "nearest") == kept
