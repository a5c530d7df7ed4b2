"""Which channel an address names. Addresses hold tokens, so no text quotes them."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from analysis.records.address import NOTIFY_ADDRESS
from pipeline.config.compose import COMMAND_LINE, take_options
from pipeline.errors import UserError
from pipeline.notify.channel import Channel

EXAMPLES = "Write https://HOST/PATH for a webhook, or an address of Apprise such as mailto://USER:PASSWORD@HOST"


def notify_channel(overrides: Sequence[str]) -> tuple[Channel | None, list[str]]:
    """Return the channel that notify= or its variable names, if any, and the other overrides. Sends nothing.

    The address leaves the environment, so that trials do not inherit it. Raises UserError for a faulty one.
    """
    values, others = take_options(overrides, ["notify"])
    address = os.environ.pop(NOTIFY_ADDRESS, "").strip()
    return (open_channel(address) if values or address else None), others


def open_channel(address: str) -> Channel:
    """Return the channel of an address. Raises UserError if it is faulty, or needs a package that is not installed."""
    scheme = address.partition("://")[0].lower()
    if "://" not in address or not scheme:
        raise UserError(f"{COMMAND_LINE}: notify is no address. {EXAMPLES}")
    if not address.isprintable() or " " in address:
        raise UserError(f"{COMMAND_LINE}: notify={scheme}://… contains a space or a control character. Remove it")
    if scheme in ("http", "https"):
        return _webhook(scheme, address)
    if find_spec("apprise") is None:
        raise UserError(
            f"{COMMAND_LINE}: notify={scheme}://… needs Apprise, which is not installed. Run: pip install apprise"
        )
    from pipeline.notify.apprise_service import AppriseService

    return AppriseService(scheme, address)


def _webhook(scheme: str, address: str) -> Channel:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port or an IPv6 address that is none
        host, port = None, None
    if not host:
        raise UserError(f"{COMMAND_LINE}: notify={scheme}://… has no host, or a wrong port. {EXAMPLES}")
    # requests, which takes a tenth of a second to import
    from pipeline.notify.webhook import Webhook

    return Webhook(f"{scheme}://{host}{f':{port}' if port else ''}", address)
