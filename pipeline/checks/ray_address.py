"""Check that the Ray cluster of a sweep lets it in: its address, port, token and version of Ray."""

import subprocess
from urllib.parse import urlsplit

from pipeline.checks.check import Check, last_line, run_python
from pipeline.checks.probe import probe

RAY = "Ray cluster"
RAY_SECONDS = 20.0
# Ray looks for a cluster of this machine.
AUTO = "auto"


def check_ray(setting: str) -> Check:
    """Check that the cluster of a setting, NAME=HOST:PORT, answers and lets this process in.

    Ray itself would print dozens of lines, and try again for more than ten minutes.
    """
    if fault := port_fault(setting):
        return fault
    address = setting.partition("=")[2]
    try:
        # In a child process: Ray's client has no time limit, and an error in it ends its process.
        health = ("-m", "ray.scripts.scripts", "health-check", "--address", address)
        asked = run_python(*health, seconds=RAY_SECONDS)
    except subprocess.TimeoutExpired:
        return _fault(f"Ray at {setting} does not answer within {RAY_SECONDS:g} s", _advice(setting))
    if asked.returncode == 0:
        return Check(RAY, "ok", f"{setting} answers and has this version of Ray")
    if "authentication token" in asked.stderr.lower():
        found = f"{setting} lets only clients with its token in, and this process has none or another one"
        return _fault(found, "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH)")
    if address == AUTO and "could not find" in asked.stderr.lower():
        return _fault(f"{setting}: no Ray cluster runs on this machine", _advice(setting))
    return _fault(f"{setting} is not a cluster of this version of Ray ({last_line(asked)})", _advice(setting))


def port_fault(setting: str) -> Check | None:
    """Return what is wrong with the form of a cluster's address or with its port; None if nothing is."""
    address = setting.partition("=")[2]
    if address == AUTO:
        return None
    if "://" in address:
        found = f"{setting}: a sweep joins a cluster on one of its nodes, as HOST:PORT or {AUTO}"
        return _fault(found, "From elsewhere, submit it: just submit NAME")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        return _fault(f"{setting} is not an address", "Write it as HOST:PORT")
    error = probe(host, port)
    return _fault(f"{setting} does not answer ({error})", _advice(setting)) if error else None


def _fault(found: str, mend: str) -> Check:
    return Check(RAY, "fault", found, mend)


def _advice(setting: str) -> str:
    name = setting.partition("=")[0]
    return f"Start the cluster (ray start --head), or leave out {name} to use only this machine"
