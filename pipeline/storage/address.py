"""Addresses of storage, such as s3://bucket/trials: recognised, checked and joined. Pure."""

import re
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")


def is_address(text: str) -> bool:
    """Return whether a text is an address and not a path of this machine's file system."""
    return _ADDRESS.match(text) is not None


def address_fault(address: str) -> str:
    """Return what is wrong with an address of storage, and what to do; '' if nothing is."""
    parts = urlsplit(address)
    if parts.password is not None:
        return "it holds a login. Give the login in the environment (docs/storage.md)"
    if parts.query or parts.fragment:
        return "it has a query or a fragment. Write PROTOCOL://BUCKET/FOLDER"
    if not (parts.netloc or parts.path.strip("/")):
        return "it names no bucket. Write PROTOCOL://BUCKET/FOLDER"
    return ""


def protocol_of(address: str) -> str:
    """Return the protocol of an address, such as 's3'."""
    return address.partition("://")[0].lower()


def joined(address: str, *names: str) -> str:
    """Return the address of what has this path below an address."""
    return "/".join((address.rstrip("/"), *names))


def parent_of(address: str) -> str:
    """Return the address of the folder that holds an address."""
    return address.rstrip("/").rpartition("/")[0]
