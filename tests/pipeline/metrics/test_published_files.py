"""Files of other projects: fetched once, from an address on this machine, and used only with the published content."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.metrics.published_files import published_file, published_path, require_own

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a file. torch's folder is not there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "network.pth").write_bytes(CONTENT)
    return (tmp_path / "network.pth").as_uri()


def test_a_file_is_fetched_once_into_torchs_folder(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        file = published_file(url, SHA256[:8])
        assert (file, file.read_bytes()) == (tmp_path / "torch/hub/checkpoints/network.pth", CONTENT)
        (tmp_path / "network.pth").unlink(missing_ok=True)


def test_a_file_is_fetched_into_a_folder_that_holds_others(url: str) -> None:
    published_path(url).parent.mkdir(parents=True)
    assert published_file(url, SHA256).read_bytes() == CONTENT


def test_another_content_gets_no_name_in_torchs_folder(url: str) -> None:
    with pytest.raises(RuntimeError, match="invalid hash"):
        published_file(url, "0" * 64)
    assert list(published_path(url).parent.iterdir()) == []


def test_a_file_that_is_there_with_another_content_is_refused(url: str) -> None:
    published_file(url, SHA256).write_bytes(b"others")
    with pytest.raises(UserError, match=r"network\.pth: its SHA-256 is not the published"):
        published_file(url, SHA256)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code/inner").mkdir(parents=True)
    for name in ("hubconf.py", "inner/layers.py", "inner/layers.pyc"):
        (tmp_path / "code" / name).touch()
    return tmp_path / "code"


def test_code_of_this_user_alone_passes_and_so_does_none(code: Path) -> None:
    require_own(code)
    require_own(code / "none")


@pytest.mark.parametrize("name", [".", "hubconf.py", "inner", "inner/layers.py", "inner/layers.pyc"])
def test_code_into_which_others_may_write_is_refused_by_name(code: Path, name: str) -> None:
    file = code / name
    file.chmod(stat.S_IMODE(file.stat().st_mode) | stat.S_IWOTH)
    with pytest.raises(UserError, match="others can change this code") as caught:
        require_own(code)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.skipif(os.getuid() != 0, reason="only the superuser can give files away")
def test_code_of_the_superuser_and_of_this_user_passes(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    require_own(code)
    os.chown(code / "hubconf.py", 12345, -1)
    require_own(code)


def test_code_of_another_user_is_refused(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid():
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
    else:
        os.chown(code / "inner/layers.py", 12345, -1)
    with pytest.raises(UserError, match="others can change this code"):
        require_own(code)
