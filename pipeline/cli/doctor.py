"""just doctor: check this machine before a sweep, and print one line per check."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.checks.addresses import address_faults
from pipeline.checks.check import Check, within
from pipeline.checks.gpu import gpu_checks, self_tests
from pipeline.checks.machine import check_writable, folder_checks, machine_checks
from pipeline.checks.services import service_checks
from pipeline.config.compose import compose_surroundings, tracking_uri
from pipeline.config.schema import Config
from pipeline.errors import UserError
from pipeline.hardware.allocation import needed_gb, share_of
from pipeline.hardware.cuda import find_cuda
from pipeline.hardware.device import Machine, find_machine
from pipeline.hardware.share import Share
from pipeline.training.step_cost import step_cost

# The first sweep in README: three rows, three seeds.
DEFAULT_SWEEP, DEFAULT_TRIALS = "ablation_negatives", 9
# Counting the cost of a step takes about one second per model, and is cached.
SHARE_SECONDS = 60.0
_STYLES = {"ok": "green", "note": "yellow", "fault": "red"}


def doctor(overrides: list[str], *, as_json: bool) -> int:
    """Check GPUs, folders, locks, disk, MLflow store, weights and Ray. Return 1 if a check is a fault."""
    config = compose_surroundings(overrides)
    facts = find_cuda()
    console = Console(quiet=as_json)
    checks = [
        *_printed(machine_checks(), console),
        *_printed(gpu_checks(facts, config.compute), console),
        *_printed(folder_checks(config), console),
        *_printed(address_checks(config), console),
        *_printed(service_checks(tracking_uri(config), config), console),
    ]
    machine = None
    if not any(check.check == "CUDA" and check.status == "fault" for check in checks):
        machine = find_machine(config.compute)
        if machine.device == "cuda":
            checks += _printed(self_tests(facts), console)
        checks += _printed([within(SHARE_SECONDS, "a sweep here", lambda: check_share(config, machine))], console)
    if as_json:
        found = {"checks": checks, "machine": machine, "cuda": facts}
        print(json.dumps(found, indent=2, default=asdict))
    else:
        counts = Counter(check.status for check in checks)
        console.print(f"ok: {counts['ok']}, notes: {counts['note']}, faults: {counts['fault']}", highlight=False)
    return 1 if any(check.status == "fault" for check in checks) else 0


def address_checks(config: Config) -> list[Check]:
    """Check the addresses of trials, results and images."""
    return [
        Check(name, "fault", fault) if fault else Check(name, "ok", "the address answers")
        for name, fault in address_faults(config).items()
    ]


def check_share(config: Config, machine: Machine) -> Check:
    """Work out how a sweep of nine trials would share the machine."""
    name, cache = "a sweep here", Path(config.paths.cache)
    if check_writable("paths.cache", cache.absolute()).status == "fault":
        return Check(name, "note", "unknown, because the cost of a step cannot be cached in paths.cache")
    try:
        need = needed_gb(step_cost(config, cache).live_gb, machine.device)
    except ValueError as error:
        return Check(name, "note", f"unknown, because the model does not fit the images ({error})")
    try:
        share = share_of(machine, config.compute, need, DEFAULT_TRIALS)
    except UserError as error:
        return Check(name, "fault", str(error).rstrip("."))
    return Check(name, "ok", describe_share(share, machine, need, config.data.name))


def describe_share(share: Share, machine: Machine, need_gb: float, task: str) -> str:
    """Say how many trials would run at once, and with which share of the machine each."""
    cores = f"{share.cpus} core{'s' * (share.cpus != 1)}"
    if machine.device == "cuda":
        gpus = f"{machine.gpus} GPU{'s' * (machine.gpus != 1)} ({machine.name})"
        each = f"{share.gpus:.2g} {'GPUs' if share.gpus > 1 else 'of a GPU'} and {cores}"
    else:
        gpus, each = f"the CPU ({machine.name})", cores
    count = min(share.slots, DEFAULT_TRIALS)
    return (
        f"{DEFAULT_SWEEP} on {task} would run {count} of its {DEFAULT_TRIALS} trials at once on {gpus}, each with "
        f"{each}; a trial needs {need_gb:.1f} GB"
    )


def _printed(checks: Sequence[Check], console: Console) -> Sequence[Check]:
    for check in checks:
        style = _STYLES[check.status]
        console.print(f"[{style}]{check.status:<5}[/] ", end="")
        console.print(str(check), markup=False, highlight=False, soft_wrap=True)
    return checks
