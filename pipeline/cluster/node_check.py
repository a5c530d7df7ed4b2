"""Whether a node of a cluster can run trials: what is asked there, and what the answers mean.

`examine` runs on the node, everything else where the sweep runs. It imports torch only where there is a GPU.
"""

import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from analysis.records.address import without_password
from analysis.store.database import SQLITE
from pipeline.checks.probe import probe
from pipeline.config.compute import ComputeConfig
from pipeline.errors import UserError, first_line
from pipeline.hardware.device import Machine, find_machine
from pipeline.processes import this_host
from pipeline.storage.node_cache import node_cache
from pipeline.storage.probe import probe as probe_address

# Another version of these changes results, or cannot read what this process writes.
PACKAGES = ("torch", "torchvision", "torch-fidelity", "numpy", "mlflow", "ray", "pydantic")
# A lease is taken over after two minutes without a heartbeat (pipeline/tracking/lease.py).
MOST_SECONDS_APART = 30.0
# For a trial's checkpoints, logs and cached data.
LEAST_DISK_GB = 1.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432}


@dataclass(frozen=True)
class Questions:
    """What a node is asked.

    compute: which device trials use. trials: the folder of checkpoints, '' if they are at the address `stored`. mark:
    the name of a file that this process has written there. data: the folder of the prepared data. cache: that of this
    process. store: the address of the tracking store, without a password. host: that of this process.
    """

    compute: ComputeConfig
    trials: str
    stored: str
    mark: str
    data: str
    cache: str
    store: str
    host: str


@dataclass(frozen=True)
class Answers:
    """What a node says of itself. machine: None with a reason in fault. clock: seconds, by the node's clock."""

    python: str
    packages: Mapping[str, str]
    machine: Machine | None
    fault: str
    disk_gb: float
    sees_mark: bool
    sees_data: bool
    address_fault: str
    store_fault: str
    clock: float


def examine(asked: Questions) -> Answers:
    """Answer the questions on the node where this runs."""
    machine, fault = None, ""
    _show_gpus()
    try:
        machine = find_machine(asked.compute)
    except UserError as error:
        fault = first_line(error)
    return Answers(
        platform.python_version(),
        {name: _version(name) for name in PACKAGES},
        machine,
        fault,
        shutil.disk_usage(_existing(Path(asked.trials) if asked.trials else node_cache(asked.cache))).free / 1e9,
        sees_mark=not asked.trials or Path(asked.trials, asked.mark).exists(),
        sees_data=not asked.trials or Path(asked.data).is_dir(),
        address_fault=probe_address(asked.stored) if asked.stored else "",
        store_fault=_store_fault(asked.store, asked.host),
        clock=time.time(),
    )


def misfits(answers: Answers, asked: Questions, seconds_apart: float) -> list[str]:
    """Return why a node cannot run this sweep's trials, in a phrase each; nothing if it can."""
    found: list[str] = []
    here = platform.python_version()
    if answers.python.rpartition(".")[0] != here.rpartition(".")[0]:
        found.append(f"it has Python {answers.python}, and this process {here}")
    for name, there in answers.packages.items():
        if there != _version(name):
            found.append(f"it has {name} {there or '(not installed)'}, and this process {_version(name)}")
    if answers.fault:
        found.append(answers.fault)
    if not answers.sees_mark:
        found.append(f"it does not share {asked.trials}. Set paths.trials to a shared folder, or to s3://…")
    elif not answers.sees_data:
        found.append(f"it does not share {asked.data}. Set paths.cache to a shared folder, or paths.trials to s3://…")
    if answers.address_fault:
        found.append(answers.address_fault)
    if answers.disk_gb < LEAST_DISK_GB:
        found.append(f"its disk has {answers.disk_gb:.1f} GB free")
    if answers.store_fault:
        found.append(f"it cannot reach the tracking store: {answers.store_fault}")
    if abs(seconds_apart) > MOST_SECONDS_APART:
        found.append(f"its clock differs by {seconds_apart:+.0f} s")
    return found


def describe(address: str, machine: Machine, disk_gb: float) -> str:
    """Return the line of a node that fits. machine: what the cluster offers of it."""
    if machine.device == "cuda":
        has = ", ".join(f"GPU {gpu.index} ({gpu.name}, {gpu.describe_memory()})" for gpu in machine.devices)
    else:
        has = f"{machine.name}, no GPU used, {machine.memory_gb:.0f} GB of memory"
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    return f"node {address}: {has}, {cores}, {disk_gb:.0f} GB of disk free"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _show_gpus() -> None:
    """Let this process see the GPUs of its node. Ray hides them all from a task that asks for none."""
    try:
        of_raylet = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        of_raylet = []
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    for entry in of_raylet:
        if entry.startswith(b"CUDA_VISIBLE_DEVICES="):
            os.environ["CUDA_VISIBLE_DEVICES"] = entry.partition(b"=")[2].decode()


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _store_fault(address: str, host: str) -> str:
    """Return why a store cannot be reached from here, or ''. host: that of the sweep, whose file it may be."""
    shown = without_password(address)
    if address.startswith(SQLITE):
        here = host == this_host() and Path(address.removeprefix(SQLITE)).parent.is_dir()
        return (
            "" if here else f"{shown} is a file of another machine. Set MLFLOW_TRACKING_URI to a server (just server)"
        )
    parts = urlsplit(address)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    error = probe(parts.hostname, port) if parts.hostname and port else "it has no port"
    return f"{shown} does not answer ({error})" if error else ""
