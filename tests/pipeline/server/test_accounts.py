"""The files of basic authentication: drawn once, and only for their owner."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.server.accounts import ADMIN, FORMS_KEY, PASSWORD, prepare_accounts


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ADMIN, PASSWORD, FORMS_KEY):
        monkeypatch.delenv(name, raising=False)


def test_secrets_are_drawn_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    first, second = prepare_accounts(tmp_path / "server"), prepare_accounts(tmp_path / "server")
    assert first == second
    assert len(first.variables[PASSWORD]) >= 12 and first.variables[PASSWORD] != first.variables[FORMS_KEY]
    assert first.password_file is not None
    assert first.password_file.read_text().strip() == first.variables[PASSWORD]
    for file in (first.password_file, tmp_path / "server/forms_key"):
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o700
    assert first.variables[PASSWORD] not in repr(first)
    assert first.variables[PASSWORD] not in (tmp_path / "server/auth.ini").read_text()


def test_a_password_of_the_environment_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "aPasswordOfTests")
    monkeypatch.setenv(ADMIN, "me")
    found = prepare_accounts(tmp_path)
    assert (found.admin, found.password_file, found.variables[PASSWORD]) == ("me", None, "aPasswordOfTests")
    assert not [file for file in tmp_path.iterdir() if "aPasswordOfTests" in file.read_text()]


def test_what_mlflow_would_refuse_or_others_could_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "admin_password").write_text("aPasswordOfTests")
    (tmp_path / "admin_password").chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        prepare_accounts(tmp_path)
    monkeypatch.setenv(PASSWORD, "short")
    with pytest.raises(UserError, match="at least 12 characters"):
        prepare_accounts(tmp_path)
