"""`just data` as a user types it; tests/pipeline/data tests what it brings."""

from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.data.dataset_cache import SPLITS


def test_a_folder_that_has_the_four_splits_needs_no_preparation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in SPLITS:
        (tmp_path / "my photos" / split).mkdir(parents=True)
    assert main(["data", "cat2dog", "--from", "my photos"]) == 0
    said = capsys.readouterr().out
    assert "nothing to prepare" in said and "task=folder 'data.root=my photos'" in said
    assert not (tmp_path / "datasets").exists()


def test_a_folder_that_lacks_a_split_is_read_as_a_copy_of_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/trainA").mkdir(parents=True)
    assert main(["data", "cat2dog", "--from", "photos"]) == 2
    assert "train/cat" in capsys.readouterr().err
