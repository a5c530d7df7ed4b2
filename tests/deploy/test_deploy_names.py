"""What the files of deploy/ name exists: commands, options, settings, ports, versions and variables."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.command_line import parse
from pipeline.config.sweep_file import expand, load_sweep
from pipeline.trial.server import SECONDS_TO_SAVE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = {file.name: file.read_text() for file in DEPLOY.iterdir()}
COMPOSE, JOB, CLUSTER = (yaml.safe_load(FILES[name]) for name in ("compose.yaml", "rayjob.yaml", "ray-cluster.yaml"))
LOCK = (ROOT / "requirements.lock").read_text()
# Of other programs: Ray, Slurm, Docker's PostgreSQL and MinIO, libpq, AWS's clients, the shell.
OF_OTHERS = re.compile(
    r"(RAY|SLURM|SLURMD|POSTGRES|MINIO_ROOT|AWS|SRUN)_\w+|PGPASSWORD|PATH|PWD|SECONDS|HOME|DATABASE_PASSWORD|"
    r"STORAGE_PASSWORD|(START|SAVE)_SECONDS|SBATCH|SIGTERM|SIGINT|TERM|INT|EXIT|RUNNING|HOST"
)


def worker() -> Any:
    (group,) = JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return group["template"]["spec"]


def commands() -> Iterator[list[str]]:
    """The arguments of each `python -m pipeline` with words of its own."""
    yield COMPOSE["services"]["tracking"]["command"][3:]
    yield shlex.split(JOB["spec"]["entrypoint"].partition("python -m pipeline ")[2])


def test_each_command_of_the_project_is_one() -> None:
    (tracking, sweep) = commands()
    given = parse(tracking)
    assert (given.command, given.port, given.host) == ("server", 5000, "0.0.0.0")
    given = parse(sweep)
    assert given.command == "sweep"
    assert expand(load_sweep(str(ROOT / f"sweeps/{given.name}.yaml")), given.overrides)
    assert 'python -m pipeline sweep "$@"' in FILES["slurm.sh"]


def ray_calls() -> Iterator[list[str]]:
    """Each `ray start` and `ray health-check`: its name, then its options. Those of slurm.sh run in test_slurm.py."""
    for service in ("head", "worker"):
        yield COMPOSE["services"][service]["command"][1:]
    yield COMPOSE["services"]["head"]["healthcheck"]["test"][2:]
    for line in [*CLUSTER["head_start_ray_commands"], *CLUSTER["worker_start_ray_commands"]]:
        yield shlex.split(line)[1:]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_option_of_ray_is_one() -> None:
    from ray.scripts.scripts import cli

    seen: set[str] = set()
    for name, *options in ray_calls():
        known = {option for parameter in cli.commands[name].params for option in parameter.opts}
        for option in options:
            if option.startswith("--"):
                assert option.partition("=")[0] in known, (name, option)
                seen.add(option.partition("=")[0])
    assert {"--head", "--address", "--block", "--num-cpus", "--port", "--dashboard-host"} <= seen


def test_the_image_has_one_name_and_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = [tag for text in FILES.values() for tag in re.findall(r"cut-ablation:([\w.]+)", text)]
    assert len(named) >= 5
    assert set(named) == {version}


def test_versions_are_those_of_the_lock() -> None:
    spec = JOB["spec"]["rayClusterSpec"]
    assert f"\nray=={spec['rayVersion']}\n" in LOCK
    for package in ("psycopg", "s3fs", "boto3", "aiohttp"):
        assert f"\n{package}==" in LOCK, f"the image lacks {package}"


def test_ports_agree() -> None:
    services = COMPOSE["services"]
    head = services["head"]["command"]
    assert "--port=6379" in head and "--address=head:6379" in services["worker"]["command"]
    assert services["head"]["ports"] == ["127.0.0.1:8265:8265"]
    assert services["tracking"]["ports"] == ["127.0.0.1:5000:5000"]
    for service in ("head", "worker"):
        assert services[service]["environment"]["MLFLOW_TRACKING_URI"] == "http://tracking:5000"
    ports = JOB["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    assert {port["name"]: port["containerPort"] for port in ports} == {"gcs-server": 6379, "dashboard": 8265}
    assert "--port=6379" in CLUSTER["head_start_ray_commands"][1]
    assert "$RAY_HEAD_IP:6379" in CLUSTER["worker_start_ray_commands"][1]


def test_paths_of_pods_are_mounted_and_each_volume_exists() -> None:
    head = JOB["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    for pod in (head, worker()):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        for path in re.findall(r"paths\.\w+=(\S+)", JOB["spec"]["entrypoint"]):
            assert path.startswith(f"{mounts['shared']}/")
    assert "/srv/cut-ablation" in FILES["Containerfile"] and "mkdir /shared" in FILES["Containerfile"]
    services = COMPOSE["services"].values()
    used = {volume.partition(":")[0] for service in services for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_trials_get_the_time_to_save_everywhere() -> None:
    stop = worker()["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    seconds = int(stop.rpartition("sleep ")[2])
    assert SECONDS_TO_SAVE < seconds < worker()["terminationGracePeriodSeconds"]
    script = FILES["slurm.sh"]
    waits = int(script.partition("SAVE_SECONDS=")[2].split()[0])
    before = int(script.partition("--signal=B:TERM@")[2].split()[0])
    assert SECONDS_TO_SAVE < waits < before - SECONDS_TO_SAVE


@pytest.mark.parametrize("name", FILES)
def test_each_variable_is_one_of_the_project_or_of_a_known_program(name: str) -> None:
    code = "\n".join(file.read_text() for part in ("pipeline", "analysis") for file in (ROOT / part).rglob("*.py"))
    text = re.sub(r"#[^\n]*", "", FILES[name])
    for variable in set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", text)):
        assert OF_OTHERS.fullmatch(variable) or variable in code, variable
