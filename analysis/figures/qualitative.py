"""Draw test images beside their translations by the rows of a sweep."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.data import Drawing
from analysis.figures.image_grid import Picture, Qualitative
from analysis.figures.style import LETTER, WIDTH, tell_apart, wrap

# With more rows than columns fit, each row is a line of images.
MOST_COLUMNS, MOST_LINES = 10, 30
PICTURES_OF_A_COLUMN, PICTURES_OF_A_LINE = 4, 6
NAME_WIDTH = 1.7  # inches, left of a line
GAP = 0.02  # of a picture's side

# A name, and its pictures.
Series = tuple[str, tuple[Picture, ...]]


def draw_qualitative(qualitative: Qualitative) -> Drawing:
    """Draw the images of the first rows, among them the one that has neighbours."""
    rows = list(qualitative.outputs)[:MOST_LINES]
    if qualitative.neighbour_of in list(qualitative.outputs)[MOST_LINES:]:
        rows[-1] = qualitative.neighbour_of
    series = [
        ("source", qualitative.inputs),
        *((row, qualitative.outputs[row]) for row in rows),
        ("nearest in B", qualitative.neighbours),
    ]
    in_columns = len(rows) <= MOST_COLUMNS
    count = min(PICTURES_OF_A_COLUMN if in_columns else PICTURES_OF_A_LINE, len(qualitative.inputs))
    hidden = qualitative.left_out + len(qualitative.outputs) - len(rows)
    note = f" {hidden} of the sweep's rows {'is' if hidden == 1 else 'are'} not shown." if hidden else ""
    names = f"source; {'; '.join(rows)}; nearest in B"
    return Drawing(
        "qualitative",
        "The same images translated by every row",
        f"Test images of A and their translations by each row (seed {qualitative.seed}, last evaluation). Last "
        f"{'column' if in_columns else 'line'}: the image of B nearest to the translation by "
        f"“{qualitative.neighbour_of}” in the metric's feature space.{note}",
        f"Grid of {count} test images in {len(series)} columns: {names}."
        if in_columns
        else f"Grid of {len(series)} lines of {count} test images: {names}.",
        (_as_columns if in_columns else _as_lines)(series, count),
    )


def _as_columns(series: Sequence[Series], count: int) -> Figure:
    """Draw each row's images below its name."""
    height, width = series[0][1][0].shape[:2]
    side = min(1.3, WIDTH / len(series))
    letters = int(side / LETTER)
    heads = [wrap(name, letters, 4) for name in _names(series, letters * 3)]
    above = 0.15 * max(1 + head.count("\n") for head in heads) + 0.05
    figure = Figure((side * len(series), side * height / width * count + above))
    axes = figure.add_axes((0, 0, 1, 1 - above / figure.get_figheight()))
    for x, (head, (_, pictures)) in enumerate(zip(heads, series, strict=True)):
        axes.annotate(head, (x + 0.5, 0), (0, 2), "data", "offset points", ha="center", va="bottom")
        for y, picture in enumerate(pictures[:count]):
            _show(axes, picture, x, y)
    _limit(axes, len(series), count)
    return figure


def _as_lines(series: Sequence[Series], count: int) -> Figure:
    """Draw each row's images to the right of its name."""
    height, width = series[0][1][0].shape[:2]
    side = min(0.6, (WIDTH - NAME_WIDTH) / count)
    letters = int(NAME_WIDTH / LETTER)
    figure = Figure((NAME_WIDTH + side * count, side * height / width * len(series)))
    left = NAME_WIDTH / figure.get_figwidth()
    axes = figure.add_axes((left, 0, 1 - left, 1))
    for y, (name, (_, pictures)) in enumerate(zip(_names(series, letters * 2), series, strict=True)):
        place, offset = (0, y + 0.5), (-4, 0)
        axes.annotate(wrap(name, letters, 3), place, offset, "data", "offset points", ha="right", va="center")
        for x, picture in enumerate(pictures[:count]):
            _show(axes, picture, x, y)
    _limit(axes, count, len(series))
    return figure


def _names(series: Sequence[Series], letters: int) -> list[str]:
    (source, _), *rows, (nearest, _) = series
    return [source, *tell_apart([name for name, _ in rows], letters), nearest]


# One axes has all images: their positions are exact, and it is drawn fast.
def _show(axes: Axes, picture: Picture, x: int, y: int) -> None:
    height, width = picture.shape[:2]
    axes.imshow(
        picture,
        extent=(x + GAP, x + 1 - GAP, y + 1 - GAP, y + GAP),
        interpolation="nearest" if min(height, width) < 128 else "antialiased",
        aspect=height / width,
    )


def _limit(axes: Axes, columns: int, lines: int) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, columns)
    axes.set_ylim(lines, 0)
