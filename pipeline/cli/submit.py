"""just submit: let a Ray cluster run a sweep as a job, and follow or end that job."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from analysis.records.address import NOTIFY_ADDRESS, PASSWORD, TOKEN, USER, WHOLE_ADDRESS, without_password
from pipeline.cluster.code_bundle import code_bundle
from pipeline.cluster.job_submission import Jobs, dashboard_address
from pipeline.config.compose import take_options, tracking_uri
from pipeline.config.schema import Config
from pipeline.config.sweep_file import SWEEPS, Sweep, expand, load_sweep, retries_failed, with_seeds
from pipeline.errors import UserError
from pipeline.notify.address import notify_channel

# Secrets are in the environment of the job, never in its command.
SECRETS = (USER, PASSWORD, TOKEN, WHOLE_ADDRESS)
# The job's own folder is gone when its cluster is. A cache is always on a disk.
LASTING = {"trials": ", or to s3://…", "results": ", or to s3://…", "cache": ""}


def submit(name: str | None, overrides: list[str], *, status: str | None, logs: str | None, stop: str | None) -> int:
    """Submit a sweep, or ask about the job of one."""
    match [(name, "NAME"), (status, "--status"), (logs, "--logs"), (stop, "--stop")]:
        case [(str() as sweep, _), (None, _), (None, _), (None, _)]:
            _submit(sweep, overrides)
        case [(None, _), (str() as job, _), (None, _), (None, _)]:
            print(f"{job}: {Jobs().status(job)}")
        case [(None, _), (None, _), (str() as job, _), (None, _)]:
            Jobs().follow(job, lambda text: print(text, end="", flush=True))
        case [(None, _), (None, _), (None, _), (str() as job, _)]:
            Jobs().stop(job)
            print(f"{job} saves its trials and ends. The same command resumes the sweep.")
        case _:
            raise UserError("Give the NAME of a sweep, or one of --status, --logs and --stop with the id of a job")
    return 0


def _submit(name: str, overrides: list[str]) -> None:
    sweep = load_sweep(name)
    dashboard_address(os.environ)  # refuses before the settings are read, which takes longer
    told = os.environ.get(NOTIFY_ADDRESS, "")
    notify_channel(overrides)
    config, faults = _composed(sweep, overrides)
    faults += [*_lost_paths(config), *_store_faults(tracking_uri(config))]
    if faults:
        raise UserError(*faults)
    jobs = Jobs()
    with code_bundle() as code:
        travelled = code.folder / SWEEPS / Path(sweep.place).name
        travelled.parent.mkdir(exist_ok=True)
        shutil.copyfile(sweep.place, travelled)
        command = ["python", "-m", "pipeline", "sweep", str(SWEEPS / travelled.name), *overrides]
        job = jobs.submit(shlex.join(command), code.folder, _variables(tracking_uri(config), told))
    print(f"{job}: {sweep.name} runs on the cluster at {without_password(jobs.address)}. This machine may sleep.")
    for option, does in (("logs", "shows what it prints"), ("status", "says how it is"), ("stop", "saves and ends it")):
        print(f"  just submit --{option} {job}   {does}")
    sys.stdout.flush()


def _composed(sweep: Sweep, overrides: Sequence[str]) -> tuple[Config, list[str]]:
    """Return the settings that all rows share, and a line for each row's file that the job would not find."""
    _, settings = take_options(retries_failed(overrides)[1], ["notify"])
    sweep, settings = with_seeds(sweep, settings)
    configs = [trial.config for trial in expand(sweep, settings)]
    return configs[0], list(dict.fromkeys(fault for config in configs for fault in _local_files(config)))


def _lost_paths(config: Config) -> Iterator[str]:
    for name, more in LASTING.items():
        if _is_relative(path := getattr(config.paths, name)):
            yield (
                f"paths.{name} is {path!r}, which would be in the temporary folder of the job. "
                f"Set it to an absolute path on the cluster{more}"
            )


def _local_files(config: Config) -> Iterator[str]:
    files = {
        "data.root": getattr(config.data, "root", None),
        "metric.weights": config.metric.weights,
        "metric.segmentation": config.metric.segmentation,
        "model.code": getattr(getattr(config.model, "code", None), "name", None),
    }
    for name, path in files.items():
        if path and _is_relative(path):
            yield f"{name} is {path!r}, which does not travel with the job. Set it to an absolute path on the cluster"


def _store_faults(uri: str) -> Iterator[str]:
    if "://" not in uri or urlsplit(uri).scheme in ("sqlite", "file"):
        yield f"The tracking store {uri} is a file of this machine. Set MLFLOW_TRACKING_URI to a server (just server)"


def _is_relative(path: str) -> bool:
    return "://" not in path and not Path(path).is_absolute()


def _variables(store: str, told: str) -> Mapping[str, str]:
    """Return what the job gets in its environment: where records go, and the secrets for that."""
    secrets = {name: os.environ[name] for name in SECRETS if os.environ.get(name)}
    return {"MLFLOW_TRACKING_URI": store, **secrets, **({NOTIFY_ADDRESS: told} if told else {})}
