"""One S3 server for all tests of storage; each test has a folder of its own in its bucket."""

import secrets
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    from s3_server import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server.port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder at a server that speaks S3."""
    from s3_server import use

    return f"{use(monkeypatch, s3_port)}/{secrets.token_hex(4)}"
