from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"step": 3, "weights": {"a": torch.arange(1000.0)}, "evaluations": {2: {"fid": 1.5}}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep/last.pt", STATE)
    loaded = load_checkpoint(tmp_path / "deep/last.pt")
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])  # type: ignore[index]
    assert loaded["evaluations"] == STATE["evaluations"]


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


def test_torn_and_altered_files_are_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    place = whole.index(torch.arange(1000.0).numpy().tobytes()[400:480])
    for spoiled in (whole[: len(whole) // 2], b"", b"nothing of the kind", whole[:place] + b"X" + whole[place + 1 :]):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match=r"last.pt is damaged.*Remove the file"):
            load_checkpoint(path)


def test_code_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"step": Path("of evil")}, path)
    with pytest.raises(UserError, match=r"last\.pt is damaged") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
