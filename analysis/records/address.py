"""The password in the address of a store: in no text, record or file; only in the environment of processes."""

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

# The variable for the whole address of a store whose password MLflow cannot take from a variable of its own.
WHOLE_ADDRESS = "CUT_ABLATION_STORE"
# The variable for the address to which a sweep tells its events. Whoever knows the address can write there.
NOTIFY_ADDRESS = "CUT_ABLATION_NOTIFY"
USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
# 'me:password@' behind '://'. Some libraries accept passwords with '/', but 'host:5000/' is a port and a path.
_LOGIN = re.compile(r"(?<=://)(?:[^\s/?#]*|[^\s/@:]+:(?!\d+[/?#])\S*)@")
_PARAMETER = re.compile(r"([?&][^\s=&]*(?:pass|pwd|token|secret|api_?key|credential)[^\s=&]*=)[^\s&#'\"]+", re.I)
# Shorter passwords are parts of ordinary words.
SHORTEST = 4


def without_password(text: str) -> str:
    """Return a text, such as an address or an error, without logins in addresses, passwords and tokens."""
    for secret in (os.environ.get(PASSWORD, ""), os.environ.get(TOKEN, "").strip()):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    return _PARAMETER.sub(r"\1***", _LOGIN.sub("", text))


def split_password(address: str) -> tuple[str, Mapping[str, str]]:
    """Return a store's address without its password, and the variables from which processes get the password."""
    shown, parts = without_password(address), urlsplit(address)
    if shown == address:
        return address, {}
    if parts.scheme in ("http", "https") and parts.username and parts.password and not parts.query:
        return shown, {USER: unquote(parts.username), PASSWORD: unquote(parts.password)}
    return shown, {WHOLE_ADDRESS: address}


def with_password(address: str) -> str:
    """Return the whole address if this process has got its password."""
    whole = os.environ.get(WHOLE_ADDRESS, "")
    return whole if whole and without_password(whole) == address else address
