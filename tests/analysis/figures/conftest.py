"""Every kind of figure, drawn once."""

import pytest
from sample_figures import HARD, everything

from analysis.figures.data import Drawing


@pytest.fixture(scope="session")
def hard() -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in everything(HARD)}
