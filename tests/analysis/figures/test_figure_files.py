"""Bytes of SVG and PNG files."""

import io
import re
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import sample_figures
from PIL import Image
from sample_figures import digests, drawn, sweep

from analysis.figures.data import Drawing
from analysis.figures.style import INK, LIGHT_INK, for_dark_page, to_png, to_svg


def test_letters_without_a_glyph_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for drawing in drawn(sweep({"猫 🐱": [1, 2]})).values():
            to_png(drawing.figure), to_svg(drawing.figure)


def test_another_process_gives_the_same_bytes_without_pyplot(hard: dict[str, Drawing]) -> None:
    helpers = Path(sample_figures.__file__).parent
    code = f"import sys; sys.path[:0] = [{str(helpers)!r}, {str(helpers.parents[1])!r}]; import sample_figures as its; "
    code += "print('matplotlib.pyplot' in sys.modules, *its.digests(its.everything(its.HARD)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", *digests(hard.values())]


def test_writing_again_gives_the_same_bytes(hard: dict[str, Drawing]) -> None:
    assert digests([hard["cost"]]) == digests([hard["cost"]])


def test_users_own_settings_change_nothing() -> None:
    record = sweep({"a": [1, 2]})
    plain = to_svg(drawn(record)["dots"].figure)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        assert to_svg(drawn(record)["dots"].figure) == plain
        assert dict(matplotlib.rcParams) == before


def test_svg_is_text_as_outlines_without_a_date(hard: dict[str, Drawing]) -> None:
    for drawing in hard.values():
        root = ElementTree.fromstring(to_svg(drawing.figure))
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert root.tag.endswith("svg") and "text" not in tags and "metadata" not in tags


def test_dark_svg_differs_in_ink_alone(hard: dict[str, Drawing]) -> None:
    for drawing in hard.values():
        light, dark = drawing.svg, for_dark_page(drawing.svg)
        assert INK.encode() in light and INK.encode() not in dark
        assert re.sub(LIGHT_INK.encode(), INK.encode(), dark) == light
        # Every use of the ink's value is a color, and nothing is left in black, which no dark page shows.
        assert light.count(INK.encode()) == len(re.findall(rf"(?:fill|stroke): {INK}\b".encode(), light))
        assert b"#000000" not in light


def test_png_has_200_dots_an_inch_on_white(hard: dict[str, Drawing]) -> None:
    with Image.open(io.BytesIO(to_png(hard["dots"].figure))) as image:
        assert image.size == tuple(int(side * 200) for side in hard["dots"].figure.get_size_inches())
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert set(image.info) == {"dpi"}
