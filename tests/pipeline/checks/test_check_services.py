"""Each fault of the weights and of a Ray cluster is provoked."""

import http.server
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from servers import silence

from pipeline.checks import ray_address
from pipeline.checks.ray_address import check_ray
from pipeline.checks.services import check_weights
from pipeline.config.schema import MetricConfig
from pipeline.metrics.names import PUBLISHED_WEIGHTS

SMALL_CONV, INCEPTION = MetricConfig(extractor="small-conv"), MetricConfig()


def test_weights_that_are_absent_and_cannot_be_fetched_are_a_fault_of_tasks_that_need_them(offline: Path) -> None:
    needed = check_weights(INCEPTION)
    assert needed.status == "fault" and "cannot be reached" in needed.found and str(offline) in needed.found
    unneeded = check_weights(SMALL_CONV)
    assert unneeded.status == "note" and "this task does not need it" in unneeded.found
    missing = check_weights(replace(INCEPTION, weights=str(offline / "none.pth")))
    assert missing.status == "fault" and "no such file" in missing.found


def test_weights_that_can_be_fetched_are_noted(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Found(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Found) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/w.pth"
        monkeypatch.setattr("pipeline.metrics.extractors.URL_INCEPTION_V3", url)
        found = check_weights(INCEPTION)
        server.shutdown()
    assert found.status == "note" and "the first evaluation downloads it" in found.found


def test_weights_with_a_wrong_hash_are_a_fault(offline: Path) -> None:
    place = offline / f"weights-inception-2015-12-05-{PUBLISHED_WEIGHTS}.pth"
    place.write_bytes(b"half of it")
    for metric in (INCEPTION, SMALL_CONV):
        found = check_weights(metric)
        assert found.status == "fault" and "is damaged" in found.found and "download it again" in found.mend
    own = offline / "own.pth"
    own.write_bytes(b"of another training")
    other = check_weights(replace(INCEPTION, weights=str(own)))
    assert other.status == "note" and "is not the published file" in other.found


def test_a_cluster_that_is_away_is_a_fault_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(Connection refused)" in check_ray("RAY_ADDRESS=127.0.0.1:9").found
    for address in ("127.0.0.1:port", "127.0.0.1", ":9", "two words"):
        assert "is not an address" in check_ray(f"RAY_ADDRESS={address}").found
    client = check_ray("compute.cluster=ray://127.0.0.1:9")
    assert client.status == "fault" and "just submit" in client.mend


def test_a_port_that_is_none_of_rays_is_a_fault_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "RAY_SECONDS", 1.0)
    with silence() as port:
        found = check_ray(f"RAY_ADDRESS=127.0.0.1:{port}")
    assert found.status == "fault" and "does not answer within 1 s" in found.found


@pytest.mark.slow
def test_a_cluster_of_this_ray_answers() -> None:
    import ray

    from pipeline.cluster.ray_cluster import own_cluster

    with own_cluster(1, 0, 1.0):
        found = check_ray(f"RAY_ADDRESS={ray.get_runtime_context().gcs_address}")
    assert found.status == "ok" and "this version of Ray" in found.found
