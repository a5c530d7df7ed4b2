import errno
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.config.schema import TrainConfig
from pipeline.errors import UserError
from pipeline.training.background_writer import Writer
from pipeline.training.checkpoint import (
    Checkpoints,
    StorageError,
    is_storage_fault,
    load_checkpoint,
    save_checkpoint,
)

STATE = {"step": 3, "weights": {"a": torch.arange(1000.0)}, "evaluations": {2: {"fid": 1.5}}}


def is_state(content: dict[str, object]) -> bool:
    weights = content.pop("weights")
    assert isinstance(weights, dict)
    return torch.equal(weights["a"], torch.arange(1000.0)) and content == {"step": 3, "evaluations": {2: {"fid": 1.5}}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep/last.pt", STATE)
    assert is_state(load_checkpoint(tmp_path / "deep/last.pt"))


def test_a_file_with_a_checksum_is_read_by_torch_alone(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", STATE)
    for mapped in (False, True):
        assert is_state(torch.load(tmp_path / "last.pt", weights_only=True, mmap=mapped))


@pytest.mark.parametrize("is_archive", [True, False])
def test_files_of_earlier_versions_have_no_checksum_and_are_read(tmp_path: Path, is_archive: bool) -> None:
    torch.save(STATE, tmp_path / "last.pt", _use_new_zipfile_serialization=is_archive)
    assert is_state(load_checkpoint(tmp_path / "last.pt"))


def test_a_checkpoint_of_a_gpu_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
        save_checkpoint(tmp_path / "last.pt", STATE)
    content = load_checkpoint(tmp_path / "last.pt")
    assert content["weights"]["a"].device == torch.device("cpu") and is_state(content)


def test_a_crash_while_saving_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)

    def crash(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 4})
    assert load_checkpoint(path)["step"] == 3


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "last.pt", TrainConfig(), Writer(background=False))
    for step in (1, 2, 3):
        checkpoints.save({"step": step})
    assert {file.name: load_checkpoint(file)["step"] for file in tmp_path.iterdir()} == {"last.pt": 3, "previous.pt": 2}


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """The system refuses to write more than this into a file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_wherever_a_write_fails_the_checkpoints_before_are_intact(tmp_path: Path) -> None:
    path, before = tmp_path / "last.pt", tmp_path / "previous.pt"
    save_checkpoint(path, {"step": 1})
    save_checkpoint(path, STATE, keep=before)
    size = path.stat().st_size
    for limit in (0, 1, 64, 1000, size // 2, size - 80, size - 1):
        with longest_file(limit), pytest.raises(StorageError) as caught:
            save_checkpoint(path, STATE, keep=before)
        assert f"File too large: {path}." in str(caught.value) and "\n" not in str(caught.value)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
        assert is_state(load_checkpoint(path)) and load_checkpoint(before)["step"] == 1
    with longest_file(size):
        save_checkpoint(path, STATE, keep=before)


def test_a_write_that_fails_within_the_tensors_is_called_a_fault_of_the_disk(tmp_path: Path) -> None:
    """torch replaces the system's error by its own there, where the file's buffer is full."""
    path = tmp_path / "last.pt"
    with longest_file(1_000_000), pytest.raises(StorageError, match=f"File too large: {path}.") as caught:
        save_checkpoint(path, {"weights": [torch.ones(100_000) for _ in range(9)]})
    assert isinstance(caught.value.__cause__, OSError)


def of_the_disk(number: int) -> OSError:
    return OSError(number, "why")


def reported(cause: Exception) -> StorageError:
    error = StorageError("last.pt could not be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EROFS],
    ids=errno.errorcode.get,
)
def test_a_disk_that_is_full_or_away_is_a_fault_that_may_pass(number: int) -> None:
    assert is_storage_fault(of_the_disk(number)) and is_storage_fault(reported(of_the_disk(number)))


@pytest.mark.parametrize("error", [of_the_disk(errno.EACCES), of_the_disk(errno.ENOENT), ValueError(errno.EIO)])
def test_other_faults_do_not_pass_by_themselves(error: Exception) -> None:
    assert not is_storage_fault(error) and not is_storage_fault(reported(error))


def test_torn_and_altered_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    place = whole.index(torch.arange(1000.0).numpy().tobytes()[400:480])
    for spoiled in (whole[: len(whole) // 2], b"", b"nothing of the kind", whole[:place] + b"X" + whole[place + 1 :]):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match=r"last.pt is damaged.*Train again") as caught:
            load_checkpoint(path, "Train again")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cases", [50, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("has_checksum", [True, False], ids=["of today", "of an earlier version"])
def test_random_damage_never_gives_other_content(tmp_path: Path, cases: int, has_checksum: bool) -> None:
    path, draw = tmp_path / "last.pt", random.Random(0)
    if has_checksum:
        save_checkpoint(path, STATE)
    else:
        torch.save(STATE, path)
    whole, refused = path.read_bytes(), 0
    for _ in range(cases):
        spoiled = bytearray(whole)
        for _ in range(draw.choice([0, 1, 1, 2, 20])):
            spoiled[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.5:
            del spoiled[draw.randrange(len(whole)) :]
        path.write_bytes(spoiled)
        try:
            assert is_state(load_checkpoint(path))
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > cases / 2


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    """Storage that goes and comes back must not cost a checkpoint."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"No such file or directory: .*last\.pt"):
        load_checkpoint(path)
    shutil.copy(tmp_path / "elsewhere", path)
    assert is_state(load_checkpoint(path))


def test_code_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"step": Path("of evil")}, path)
    with pytest.raises(UserError, match=r"last\.pt is damaged") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
