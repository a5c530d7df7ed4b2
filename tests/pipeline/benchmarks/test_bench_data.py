from pathlib import Path

import pytest

from pipeline.benchmarks import data as bench_data


@pytest.mark.slow
def test_the_bench_of_data_reads_a_set_once_and_times_batches_of_it(tmp_path: Path) -> None:
    decode, reopen, batch, batch_95 = bench_data.time_data(tmp_path).values()
    images = 4 * bench_data.IMAGES
    assert len(list(tmp_path.rglob("*.jpg"))) == images
    assert len(list((tmp_path / "cache/data").glob("*/train_a.npy"))) == 1
    assert 0 < reopen < images * decode
    assert 0 < batch <= batch_95
