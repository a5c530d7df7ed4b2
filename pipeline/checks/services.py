"""Checks of what a sweep asks for elsewhere: the tracking store, Inception's weights, a Ray cluster."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.checks.machine import Check, within
from pipeline.config.schema import MetricConfig
from pipeline.errors import UserError, first_line
from pipeline.files import file_digest
from pipeline.metrics.names import PUBLISHED_WEIGHTS, has_weights

# A server that is there answers in milliseconds; these are for slow networks.
PROBE_SECONDS = 5.0
# Importing MLflow takes seconds on a busy machine.
STORE_SECONDS = 30.0
RAY_SECONDS = 20.0
WEIGHTS_SECONDS = 20.0
RAY_PORT = 10001
WEIGHTS, RAY = "Inception's weights", "Ray cluster"


def service_checks(uri: str, metric: MetricConfig) -> list[Check]:
    """The store, the weights, and the cluster where RAY_ADDRESS names one."""
    address = os.environ.get("RAY_ADDRESS")
    checks = [
        within(STORE_SECONDS, "tracking store", lambda: check_tracking(uri)),
        within(WEIGHTS_SECONDS, WEIGHTS, lambda: check_weights(metric)),
    ]
    return [*checks, check_ray(address)] if address else checks


def check_tracking(uri: str) -> Check:
    """Whether the store answers and its schema fits; a server's port is probed first."""
    from pipeline.checks.store import ANOTHER, check_store, without_password  # MLflow, which takes seconds

    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        error = probe(parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme])
        if error:
            return Check("tracking store", "fault", f"{without_password(uri)} does not answer ({error})", ANOTHER)
    return check_store(uri)


def check_weights(metric: MetricConfig) -> Check:
    """Whether the extractor's file is here and whole, or can be fetched."""
    from pipeline.metrics.extractors import inception_weights  # torch-fidelity, which takes a second

    needed = has_weights(metric.extractor)
    try:
        place = inception_weights(metric.weights)
    except UserError as error:
        return Check(WEIGHTS, "fault", str(error))
    if not place.exists():
        return _absent_weights(place, needed=needed)
    found = file_digest(place)[:8]
    if found == PUBLISHED_WEIGHTS:
        return Check(WEIGHTS, "ok", f"{place}, SHA-256 {found}…")
    if place.name.endswith(f"-{PUBLISHED_WEIGHTS}.pth"):
        named = f"its SHA-256 begins with {found} and its name says {PUBLISHED_WEIGHTS}"
        return Check(WEIGHTS, "fault", f"{place} is damaged: {named}", f"Delete the file and fetch it again: {_url()}")
    return Check(
        WEIGHTS,
        "note",
        f"{place} is not the published file: its SHA-256 begins with {found}, not {PUBLISHED_WEIGHTS}",
        "Its FID is not comparable to published ones",
    )


def check_ray(address: str) -> Check:
    """Whether RAY_ADDRESS names a cluster that answers. Its port is probed first, since Ray tries for a minute."""
    mend = "Start the cluster (ray start --head), or unset RAY_ADDRESS to use this machine alone"
    if address in ("auto", "local"):
        return Check(RAY, "note", f"RAY_ADDRESS={address}: Ray looks for it when the sweep starts")
    client = address.startswith("ray://")
    parts = urlsplit(address if client else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or RAY_PORT
    except ValueError:
        host, port = None, 0
    if not host:
        return Check(RAY, "fault", f"RAY_ADDRESS={address} is no address", "Write it as HOST:PORT")
    error = probe(host, port)
    if error:
        return Check(RAY, "fault", f"RAY_ADDRESS={address} does not answer ({error})", mend)
    if client:
        return Check(RAY, "ok", f"RAY_ADDRESS={address} answers")
    return _ask_ray(address, mend)


def probe(host: str, port: int) -> str:
    """Open a connection and close it again; why that failed, or ''."""
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def _ask_ray(address: str, mend: str) -> Check:
    """In a process of its own: Ray's client cannot be given a time limit, and a fault in it ends the process."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=RAY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Check(RAY, "fault", f"RAY_ADDRESS={address} does not answer as Ray within {RAY_SECONDS:g} s", mend)
    if asked.returncode == 0:
        return Check(RAY, "ok", f"RAY_ADDRESS={address} answers, with this version of Ray")
    last = (asked.stderr.strip() or f"exit code {asked.returncode}").splitlines()[-1]
    return Check(RAY, "fault", f"RAY_ADDRESS={address} is no cluster of this version of Ray ({last})", mend)


def _absent_weights(place: Path, *, needed: bool) -> Check:
    if not needed:
        return Check(WEIGHTS, "note", f"{place} is absent; this task does not need it")
    error = _fetchable(_url())
    if error:
        return Check(
            WEIGHTS,
            "fault",
            f"{place} is absent, and {_url()} cannot be reached ({error})",
            "Fetch the file on another machine and put it there, or set metric.weights to its path",
        )
    return Check(WEIGHTS, "note", f"{place} is absent; the first evaluation downloads it (95 MB)")


def _fetchable(url: str) -> str:
    """Ask for the head of a file; why that failed, or ''."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except OSError as error:  # urllib's own kinds are such
        return first_line(error)
    return ""


def _url() -> str:
    from pipeline.metrics.extractors import URL_INCEPTION_V3  # torch-fidelity, which takes a second

    return URL_INCEPTION_V3
