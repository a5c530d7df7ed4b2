"""Whole objects at addresses: replaced as a whole, verified, and errors in one line."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.storage import store as store_module
from pipeline.storage.address import address_fault, is_address, joined, parent_of
from pipeline.storage.faults import StoreError
from pipeline.storage.folder import delete_all, put_results
from pipeline.storage.node_cache import node_cache
from pipeline.storage.probe import probe
from pipeline.storage.sealed import sealed, unsealed
from pipeline.storage.store import Store


@given(st.binary(max_size=300), st.data())
def test_a_sealed_object_gives_its_content_and_any_other_byte_is_noticed(content: bytes, data: st.DataObject) -> None:
    whole = sealed(content)
    assert unsealed(whole) == content
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert unsealed(bytes(changed)) is None
    assert unsealed(whole[:place]) is None


def test_addresses_are_told_from_paths_and_joined() -> None:
    assert is_address("s3://b/x") and is_address("file:///x") and not is_address("/a/b") and not is_address("C:/a")
    assert joined("s3://b/x/", "k", "last.pt") == "s3://b/x/k/last.pt"
    assert parent_of("s3://b/x/k") == "s3://b/x"
    assert address_fault("s3://b") == ""
    assert "login" in address_fault("s3://key:secret@b/x") and "names no bucket" in address_fault("s3://")


@pytest.fixture(params=["s3", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return Store(request.getfixturevalue("s3"))
    return Store(f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}")


def test_what_is_put_is_fetched_listed_copied_and_deleted(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    store.put(file, "key/last.pt")
    store.write("key/empty", b"")
    store.copy("key/last.pt", "key/previous.pt")
    store.fetch("key/last.pt", tmp_path / "there/fetched")
    assert (tmp_path / "there/fetched").read_bytes() == b"0123456789"
    assert store.end_of("key/last.pt", 3) == b"789"
    assert store.end_of("key/last.pt", 30) == b"0123456789" and store.end_of("key/empty", 3) == b""
    sizes = {name: found.size for name, found in store.objects().items()}
    assert sizes == {"key/last.pt": 10, "key/previous.pt": 10, "key/empty": 0}
    assert store.folders() == ["key"]
    assert store.exists("key/empty") and not store.exists("key/other")
    store.delete("key/empty")
    store.delete("key/empty")
    delete_all(joined(store.address, "key"))
    assert store.objects() == {}


def test_a_new_content_has_a_new_version(store: Store) -> None:
    store.write("one", b"1")
    before = store.objects()["one"]
    time.sleep(0.01)
    store.write("one", b"2")
    assert store.objects()["one"] != before


@pytest.mark.slow
def test_a_large_object_is_put_in_parts_and_comes_back_whole(s3: str, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(2**20) * 110)  # s3fs puts 100 MiB and more in parts
    Store(s3).put(file, "large")
    Store(s3).fetch("large", tmp_path / "back", file.stat().st_size)
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()


def test_an_object_is_always_the_old_one_or_the_new_one(store: Store) -> None:
    contents = [bytes([number]) * 300_000 for number in (1, 2)]
    store.write("one", contents[0])
    ended = threading.Event()

    def write() -> None:
        for number in range(12):
            Store(store.address).write("one", contents[number % 2])
        ended.set()

    # The tests' S3 server may break off an answer while it replaces the object. Then the reader asks again.
    reader = Store(store.address, patience=30)
    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        assert reader.read("one") in contents
    writer.join()
    assert list(store.objects()) == ["one"]


def test_a_damaged_object_is_noticed(store: Store) -> None:
    store.write_sealed("unsent.json", b"{}")
    assert store.read_sealed("unsent.json") == b"{}"
    store.write("unsent.json", store.read("unsent.json").replace(b"{", b"["))
    with pytest.raises(StoreError, match=r"unsent.json: it is damaged \(its checksum differs\)"):
        store.read_sealed("unsent.json")


def test_results_are_put_as_a_whole_and_once(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tmp_path / "mini/stripes"
    (task / "figures").mkdir(parents=True)
    for name in ("index.html", "written.json", "figures/a.svg"):
        (task / name).write_text(name)
    (tmp_path / "index.html").write_text("all")
    Store(s3).write("mini/stripes/figures/old.svg", b"old")
    put_results(tmp_path, s3, "mini", "stripes")
    there = {"index.html", *(f"mini/stripes/{name}" for name in ("index.html", "written.json", "figures/a.svg"))}
    assert Store(s3).objects().keys() == there
    monkeypatch.setattr(Store, "put", lambda *_: pytest.fail("it is there already"))
    put_results(tmp_path, s3, "mini", "stripes")


def test_a_call_is_repeated_while_the_store_is_away(s3: str, s3_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3_server import Proxy, use

    proxy = Proxy(s3_port)
    use(monkeypatch, proxy.port)
    monkeypatch.setattr(store_module, "ASK_AGAIN_SECONDS", 0.1)
    Store(s3).write("one", b"1")
    proxy.go_away()
    with pytest.raises(StoreError, match="the store does not answer") as raised:
        Store(s3).read("one")
    assert raised.value.kind == "away"
    threading.Timer(1.0, proxy.come_back).start()
    assert Store(s3, patience=20).read("one") == b"1"
    proxy.go_away()


def test_a_server_that_takes_connections_and_says_nothing_is_left_in_time(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3_server import use
    from servers import silence

    with silence() as port:
        use(monkeypatch, port)
        started = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"):
            Store(s3, call_seconds=1.0).write("one", b"1")
        assert time.monotonic() - started < 5


def test_a_transfer_that_breaks_off_is_a_store_that_is_away(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3_server import use
    from servers import breaking_off

    with breaking_off() as port:
        use(monkeypatch, port)
        for transfer in (lambda: Store(s3).read("one"), lambda: Store(s3).fetch("one", tmp_path / "one")):
            with pytest.raises(StoreError) as raised:
                transfer()
            assert raised.value.kind == "away"
    assert not list(tmp_path.iterdir()), "no part of it stays"


def test_a_working_address_passes_and_keeps_nothing(s3: str, tmp_path: Path) -> None:
    assert probe(s3) == "" and Store(s3).objects() == {}
    assert probe(f"file://{tmp_path}/new") == ""
    assert "is lost when a process ends" in probe("memory://x")


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (507, "InsufficientStorage", "the store is full"),
        (403, "QuotaExceeded", "the store is full"),
        (403, "AccessDenied", "access is refused (AccessDenied)"),
        (403, "InvalidAccessKeyId", "access is refused (InvalidAccessKeyId)"),
        (405, "MethodNotAllowed", "access is refused"),
        (500, "InternalError", "the store does not answer"),
    ],
)
def test_each_answer_of_a_store_is_one_line(status: int, code: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3_server import answering, use

    with answering(status, code) as port:
        bucket = use(monkeypatch, port)
        fault = probe(f"{bucket}/trials")
    assert fault.startswith(f"{bucket}/trials: {said}") and "\n" not in fault and "of-no-account" not in fault


def test_a_bucket_that_is_not_there_and_a_server_that_is_away_are_one_line(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3_server import use_address

    assert probe("s3://another-bucket/x").startswith("s3://another-bucket/x: there is no such bucket. Create it")
    use_address(monkeypatch, "http://127.0.0.1:9")
    assert "the store does not answer" in probe(s3)
    use_address(monkeypatch, "nonsense")
    assert probe(s3).startswith(s3) and "nonsense" in probe(s3)


def test_without_credentials_one_line_says_so(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from s3_server import use_address

    use_address(monkeypatch, "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "access is refused (Unable to locate credentials). Check the credentials" in probe(s3)


def test_a_protocol_without_its_package_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nosuch://x: Protocol not known: nosuch"):
        Store("nosuch://x")
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UserError, match=r"pip install 'cut-ablation\[s3\]'"):
        Store("s3://b/x")


def test_the_cache_of_a_node_is_that_of_the_command_where_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    missing = str(tmp_path / "missing")
    assert node_cache(str(tmp_path)) == tmp_path
    assert node_cache(missing) == tmp_path / "home/.cache/cut-ablation"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert node_cache(missing) == tmp_path / "xdg/cut-ablation"
    monkeypatch.setenv("CUT_ABLATION_CACHE", str(tmp_path / "own"))
    assert node_cache(missing) == tmp_path / "own"
    assert node_cache(str(tmp_path)) == tmp_path
