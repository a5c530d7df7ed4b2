"""Ask a tracking server for an experiment, and say in one line what is wrong and what to do.

MLflow's own client tries for minutes, and its errors are pages long.
"""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from analysis.records.address import PASSWORD, TOKEN, USER, with_password, without_password

# A server answers in milliseconds. This allows for slow networks. To connect takes at most as long again.
ANSWER_SECONDS = 4.0
ASKED = "/api/2.0/mlflow/experiments/search"
# What stands in the middle of the text of an error of the network.
REASONS = (r"\[Errno -?\d+\] ([^'\")\n]+)", r"\[SSL[^\]]*\] ([^'\"(\n]+)", r"(timed out)")
START = "Check MLFLOW_TRACKING_URI or tracking.uri, or start a server: just server"


def server_fault(uri: str) -> tuple[str, str]:
    """Return what is wrong with a server, and what to do; two empty texts if it answers as MLflow does."""
    shown = without_password(uri)
    try:
        answer: Any = http_request(
            get_default_host_creds(with_password(uri)),
            ASKED,
            "GET",
            params={"max_results": 1},
            timeout=ANSWER_SECONDS,
            max_retries=0,
            raise_on_status=False,
        )
    except Exception as error:  # of MLflow, and of an address that is none
        return f"{shown}: no server answers there ({_reason(error)})", START
    match answer.status_code:
        case 200 if _is_mlflow(answer.text):
            return "", ""
        case 401 if user := os.environ.get(USER):
            return f"{shown} does not know the user {user}, or not with this password", f"Check {USER} and {PASSWORD}"
        case 401:
            return f"{shown} asks for a login", f"Set {USER} and {PASSWORD}, or {TOKEN}"
        case 403 if "Invalid Host header" in answer.text:
            host = urlsplit(shown).hostname
            found = f"{shown}: its server accepts no requests for the host {host} (403, Invalid Host header)"
            return found, f"Start the server with: just server --allowed-hosts '{host}:*'"
        case status if status >= 500:
            return f"{shown} answers with status {status}: its server is disturbed", "Look into the log of the server"
        case status:
            return f"{shown} does not answer as MLflow does (status {status})", START


def _is_mlflow(text: str) -> bool:
    """Return whether the answer is a list of experiments, which may be empty."""
    return text.lstrip().startswith("{") and ('"experiments"' in text or "".join(text.split()) == "{}")


def _reason(error: Exception) -> str:
    text = without_password(str(error))
    found = (match[1] for reason in REASONS if (match := re.search(reason, text)))
    return next(found, (text.splitlines() or [type(error).__name__])[0][:200])
