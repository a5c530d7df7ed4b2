import pytest

from pipeline.bench_pack import SIDE_BY_SIDE, measure
from pipeline.config import compose_config

SMALL = ["task=stripes", "data.size=32", "model.generator.channels=4", "model.discriminator.channels=4"]


@pytest.mark.slow
def test_the_bench_of_packing_counts_steps_of_all_trials() -> None:
    found = measure(compose_config(SMALL), repeats=1, seconds=1.0)
    assert [one.trials for one in found] == list(SIDE_BY_SIDE)
    assert all(one.steps_per_second > 1 for one in found)
