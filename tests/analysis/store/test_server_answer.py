"""Each way in which a server does not answer as MLflow does is one line with its mend."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from servers import silence, website

from analysis.records.schema import RecordsError
from analysis.store import server_answer
from analysis.store.open_store import open_store
from analysis.store.server_answer import server_fault


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """A server that gives one answer to all requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_mlflow_answers_with_experiments_or_with_an_empty_object() -> None:
    for text in ("{}", "{ }", '{"experiments": [{"experiment_id": "0"}]}'):
        with answering(200, text) as uri:
            assert server_fault(uri) == ("", "")


@pytest.mark.parametrize(
    ("status", "text", "facts"),
    [
        (401, "You are not authenticated.", ("asks for a login", "MLFLOW_TRACKING_PASSWORD")),
        (
            403,
            "Invalid Host header - possible DNS rebinding attack detected",
            ("the host 127.0.0.1", "just server --allowed-hosts '127.0.0.1:*'"),
        ),
        (403, "no", ("does not answer as MLflow does (status 403)", "MLFLOW_TRACKING_URI")),
        (404, "<html>", ("does not answer as MLflow does (status 404)", "just server")),
        (200, "<html>Hello</html>", ("does not answer as MLflow does (status 200)", "just server")),
        (200, '{"films": []}', ("does not answer as MLflow does (status 200)", "just server")),
        (503, "{}", ("status 503", "log of the server")),
    ],
)
def test_another_answer_is_named_with_what_to_do(status: int, text: str, facts: tuple[str, ...]) -> None:
    with answering(status, text) as uri:
        found, mend = server_fault(f"{uri}/")
        assert found.startswith(uri) and "\n" not in found + mend
        assert all(fact in f"{found}. {mend}" for fact in facts)
        with pytest.raises(RecordsError, match=r"\.$"):
            open_store(uri)


def test_a_wrong_login_is_named_by_its_user_and_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cretPassword")
    with answering(401, "You are not authenticated.") as uri:
        found, mend = server_fault(uri)
    assert "does not know the user me" in found and "MLFLOW_TRACKING_PASSWORD" in mend
    assert "s3cretPassword" not in found + mend


def test_nobody_a_stranger_and_silence_are_named_within_ten_seconds() -> None:
    began = time.monotonic()
    with silence() as silent, website() as other:
        for uri, reason in (
            ("http://127.0.0.1:9", "Connection refused"),
            ("http://", ""),
            ("http://127.0.0.1:port", ""),
            (f"http://127.0.0.1:{other}", "501"),
            (f"https://127.0.0.1:{other}", "wrong version number"),
            (f"http://127.0.0.1:{silent}", "timed out"),
        ):
            found, mend = server_fault(uri)
            assert reason in found and mend and len(found) < 300, uri
    assert time.monotonic() - began < 10


def test_a_server_without_a_port_open_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_answer, "ANSWER_SECONDS", 0.2)
    began = time.monotonic()
    with silence() as silent:
        assert "timed out" in server_fault(f"http://127.0.0.1:{silent}")[0]
    assert time.monotonic() - began < 2
