"""Connect to a Ray cluster or start one, and ask its nodes. With `orchestration.ray_tune` the only file with Ray."""

import logging
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

# Ray reads these when it is imported: no telemetry, no loggers beside MLflow, relative paths stay valid.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# The command handles Ctrl-C.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
# Only reports that follow an evaluation have a score for the scheduler.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")

# A cluster of the sweep's own listens on loopback alone. Ray has this one variable for it, whatever the system.
if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.checks.ray_address import port_fault
from pipeline.cluster.code_bundle import CodeBundle
from pipeline.cluster.node_check import Answers, Questions, examine
from pipeline.environment import ray_sessions
from pipeline.errors import UserError, first_line
from pipeline.processes import children_in_own_groups

# A trial passes a few numbers through Ray's object store. Ray's default reserves 30 % of the memory.
OBJECT_STORE_BYTES = 100 * 2**20
# A node that starts its first worker for this code takes seconds.
NODE_SECONDS = 60.0


@contextmanager
def own_cluster(cores: int, gpus: int, memory_gb: float) -> Iterator[str]:
    """Start a Ray cluster on this machine that offers these resources; end it after the body.

    Yields the address of its control service, HOST:PORT.
    """
    # Only who knows this token gets in. It is in the environment alone; Ray would keep one in the home folder.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    settings: dict[str, Any] = {"address": "local", "num_cpus": cores, "num_gpus": gpus}
    settings |= {"_memory": int(memory_gb * 1e9), "include_dashboard": False, "_temp_dir": str(ray_sessions())}
    with _connected("Ray could not be started", object_store_memory=OBJECT_STORE_BYTES, **settings) as address:
        yield address


@contextmanager
def joined_cluster(setting: str, code: CodeBundle) -> Iterator[str]:
    """Connect to the Ray cluster of a setting, NAME=HOST:PORT, for the body, and let its workers run this code.

    Yields the address of its control service, HOST:PORT. Raises UserError if it does not let this process in.
    """
    # The command has asked the cluster itself, but its plan may have taken minutes.
    if fault := port_fault(setting):
        raise UserError(str(fault))
    not_in = f"{setting}: this machine is no node of the cluster, or cannot join it"
    with _connected(not_in, runtime_env={"working_dir": str(code.folder)}) as address:
        yield address


@contextmanager
def _connected(fault: str, **settings: Any) -> Iterator[str]:
    # Ray puts its own handler in its place, which ends the command at once.
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # Without Ray's processes, the driver may exit before its trials have saved.
        with children_in_own_groups():
            ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
    except SystemExit:  # by that handler
        raise KeyboardInterrupt from None
    except Exception as error:  # of many kinds, from Ray's processes, sockets and files
        raise UserError(f"{fault} ({first_line(error)}). Run the same command again.") from None
    finally:
        signal.signal(signal.SIGTERM, at_sigterm)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def live_nodes() -> dict[str, tuple[str, Mapping[str, float]]]:
    """Return address and resources (CPU, GPU, memory in bytes) of each node that is alive, by Ray's id."""
    return {node["NodeID"]: (node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]}


def free_resources() -> dict[str, Mapping[str, float]]:
    """Return what each node can still give, by Ray's id. Others may use the cluster too."""
    return available_resources_per_node()


def this_node() -> str:
    """Return Ray's id of the node to which this process is connected."""
    return ray.get_runtime_context().get_node_id()


def ask_nodes(ids: Sequence[str], questions: Questions) -> dict[str, tuple[Answers, float] | str]:
    """Ask nodes of the cluster. Return the answers with how many seconds the clock is ahead, or why there are none."""
    ask = ray.remote(num_cpus=0, max_retries=0)(examine)
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(id, soft=False)).remote(questions): id
        for id in ids
    }
    began, found, waiting = time.time(), dict[str, tuple[Answers, float] | str](), list(asked)
    while waiting and (left := began + NODE_SECONDS - time.time()) > 0:
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=left)
        now = time.time()
        for answer in ready:
            try:
                answers: Answers = ray.get(answer)
                # It has answered between the two moments.
                ahead = answers.clock - min(max(answers.clock, began), now)
                found[asked[answer]] = answers, ahead
            except RayError as error:
                found[asked[answer]] = f"it does not run this code ({_last_line(error)})"
    for answer in waiting:
        ray.cancel(answer, force=True)
        found[asked[answer]] = f"it gave no answer within {NODE_SECONDS:g} s"
    return found


def _last_line(error: Exception) -> str:
    """Return the last line of a remote error, which names it; those before are its traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
