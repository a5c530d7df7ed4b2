"""Give a sweep to a Ray cluster as a job, which runs there without this machine; follow and end it."""

import asyncio
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from pipeline.checks.probe import PROBE_SECONDS
from pipeline.errors import UserError, first_line

# Ray reads it when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# Of `ray[default]`; Ray's client of jobs needs them.
PACKAGES = ("aiohttp", "requests")
ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
# What every sweep needs in a job. The sweep takes its own copy of the code to the nodes, which Ray takes for a conflict
# with the job's. At a stop its trials need time to save. Its output is read while it runs.
OF_A_JOB = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1", "RAY_JOB_STOP_WAIT_TIME_S": "60", "PYTHONUNBUFFERED": "1"}

# What a head says that has just started, and for how long it may say so.
NOT_YET, START_SECONDS = "No available agent", 60.0
Answer = TypeVar("Answer")


class Jobs:
    """The jobs of a Ray cluster, at the address of its dashboard.

    Raises UserError if no dashboard answers there, or if it does not let this process in.
    """

    def __init__(self) -> None:
        self.address = dashboard_address(os.environ)
        if missing := [name for name in PACKAGES if find_spec(name) is None]:
            raise UserError(f"just submit needs {missing[0]}, which is not installed. Run: pip install 'ray[default]'")
        _require_answer(self.address)
        # Takes a second
        from ray.job_submission import JobSubmissionClient

        logging.disable(logging.INFO)  # Ray's lines on each upload

        self._client = self._asked(lambda: JobSubmissionClient(self.address))

    def submit(self, command: str, code: Path, variables: Mapping[str, str]) -> str:
        """Start a command on the head of the cluster, in a copy of a folder. Return the id of the job."""
        environment = {"working_dir": str(code), "env_vars": {**OF_A_JOB, **variables}}
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._asked(lambda: self._client.submit_job(entrypoint=command, runtime_env=environment))
            except UserError as error:
                if NOT_YET not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def status(self, job: str) -> str:
        """Return what a job does: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED, and Ray's words for it."""
        found = self._asked(lambda: self._client.get_job_info(job), job)
        return f"{found.status.value}{f': {found.message}' if found.message else ''}"

    def stop(self, job: str) -> None:
        """Ask a job to end. Its trials save."""
        self._asked(lambda: self._client.stop_job(job), job)

    def follow(self, job: str, show: Callable[[str], None]) -> None:
        """Show what a job has printed, and what it prints until it ends."""
        self._asked(lambda: asyncio.run(self._follow(job, show)), job)

    async def _follow(self, job: str, show: Callable[[str], None]) -> None:
        self._client.get_job_status(job)  # raises if there is no such job; the stream would wait for one
        async for text in self._client.tail_job_logs(job):
            show(text)

    def _asked(self, ask: Callable[[], Answer], job: str = "") -> Answer:
        try:
            return ask()
        except Exception as error:  # of many kinds, from Ray, requests and aiohttp
            raise UserError(self._fault(error, job)) from None

    def _fault(self, error: Exception, job: str) -> str:
        text = str(error)
        if "Authentication" in type(error).__name__ or re.search(r"\b40[13]\b", text):
            advice = "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH)"
            return f"{self.address} lets only clients with its token in, and this process has none or another. {advice}"
        if job and ("404" in text or "does not exist" in text):
            return f"{self.address} has no job {job}. just submit has printed its id"
        return f"{self.address}: the dashboard refuses ({first_line(error)}). Is it Ray's, of this version?"


def _require_answer(address: str) -> None:
    """Raise UserError if nothing answers at an address. Ray's client would wait for ever."""
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=PROBE_SECONDS).close()  # noqa: S310 (http or https)
    except urllib.error.HTTPError:
        pass  # an answer
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{address} does not answer ({first_line(error)}). Start the cluster with its dashboard (ray start --head "
            "--include-dashboard=true), or forward its port"
        ) from None


def dashboard_address(variables: Mapping[str, str]) -> str:
    """Return the address of Ray's dashboard that the environment names. Raises UserError if it names none."""
    name = next((name for name in ADDRESSES if variables.get(name)), "")
    if not name:
        raise UserError("No cluster is named. Set RAY_API_SERVER_ADDRESS=http://HOST:8265, Ray's dashboard")
    address = variables[name].rstrip("/")
    if re.fullmatch(r"https?://[^\s/:@]+(:\d+)?(/\S*)?", address):
        return address
    raise UserError(
        f"{name}={address} is not the address of Ray's dashboard. Set RAY_API_SERVER_ADDRESS=http://HOST:8265"
    )
