"""Small objects that hold their own checksum, so that one put replaces content and checksum together. Pure."""

import hashlib

SEAL = b"\nsha256 "
_LENGTH = len(SEAL) + 64 + 1


def sealed(content: bytes) -> bytes:
    """Return the content with its SHA-256 as a last line."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def unsealed(content: bytes) -> bytes | None:
    """Return what `sealed` was given; None if a byte of it has changed."""
    inside = content[:-_LENGTH]
    return inside if sealed(inside) == content else None
