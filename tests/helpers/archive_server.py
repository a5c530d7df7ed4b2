"""A server on loopback that hands out one zip archive, with the faults that a test asks for."""

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.data import download

Entries = dict[str | zipfile.ZipInfo, bytes]


def zipped(entries: Entries, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILE = zipped({"a/1.png": bytes(range(256)) * 2000, "a/2.png": b"two"})
OTHER = zipped({"b/1.png": bytes(range(255, -1, -1)) * 2500})


class Server(ThreadingHTTPServer):
    """One file, at every path but /lost, /page and /busy."""

    content, etag, date = FILE, '"1"', ""
    ranges, says_length = True, True
    most: int | None = None  # bytes that an answer to a Range holds
    drop_after: int | None = None  # bytes of a body, after which the connection is dropped
    drops_left = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"

    def drop(self, after: int, times: int) -> None:
        self.drop_after, self.drops_left = after, times


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(dict(self.headers))
        match self.path:
            case "/lost":
                return self.send_error(404)
            case "/busy":
                return self.send_error(503)
            case "/page":
                return self.answer(200, b"<!doctype html><title>Log in</title>", {"Content-Type": "text/html"})
        begin = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.etag or server.date)
        if wanted and same and server.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(server.content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(server.content)}"})
        headers = {"ETag": server.etag, "Last-Modified": server.date}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}"
        self.answer(206 if begin else 200, server.content[begin:][: server.most if begin else None], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if self.server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.drops_left and self.server.drop_after is not None:
            self.server.drops_left -= 1
            body = body[: self.server.drop_after]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
