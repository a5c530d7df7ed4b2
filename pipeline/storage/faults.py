"""Say in one line why storage did not do what it was asked, without credentials."""

import errno
from typing import Any, Literal

from pipeline.errors import UserError, first_line
from pipeline.files import FULL

# missing: no such bucket or object. refused: credentials or rights. away: the same may succeed later. full: no room.
Kind = Literal["missing", "refused", "away", "full", "other"]

INSUFFICIENT_STORAGE = 507
# Names of errors that stores send when there is no room: S3's own, MinIO's, Ceph's and other servers'.
FULL_CODES = ("InsufficientStorage", "QuotaExceeded", "StorageFull", "EntityTooLarge", "507")
# Names of types, since the libraries that define them are imported only where they are needed.
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError")
AWAY_TYPES = ("BotoCoreError", "ClientConnectionError", "ClientPayloadError", "ConnectionError", "TimeoutError")
CHECK = "Check the network and the endpoint (AWS_ENDPOINT_URL)"
LOGIN = "Check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE) and their rights"


class StoreError(UserError):
    """Storage did not do what it was asked. kind: why."""

    def __init__(self, address: str, kind: Kind, why: str, advice: str) -> None:
        super().__init__(f"{address}: {why}. {advice}")
        self.kind: Kind = kind


def store_error(address: str, error: Exception) -> StoreError:
    """Return an error of fsspec, or of a library below it, in one line that names the address."""
    kind = _kind(error)
    said = first_line(error).rstrip(".")
    match kind:
        case "missing" if "bucket" in said.lower():
            return StoreError(address, kind, "there is no such bucket", "Create it, or correct the address")
        case "missing":
            return StoreError(address, kind, "there is no such object", "Correct the address")
        case "refused":
            return StoreError(address, kind, f"access is refused ({said})", LOGIN)
        case "full":
            return StoreError(address, kind, f"the store is full ({said})", "Free space or raise the quota there")
        case "away":
            return StoreError(address, kind, f"the store does not answer ({said})", CHECK)
        case _:
            return StoreError(address, kind, f"the store refuses it ({said})", "Correct the address or the settings")


def _kind(error: Exception) -> Kind:
    response: Any = getattr(error.__cause__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    number = error.errno if isinstance(error, OSError) else None
    types = {kind.__name__ for kind in type(error).__mro__}
    if status == INSUFFICIENT_STORAGE or any(name in code for name in FULL_CODES) or number in FULL:
        return "full"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, PermissionError | NotImplementedError) or status in (401, 403) or types & {*NO_CREDENTIALS}:
        return "refused"
    if types & {*AWAY_TYPES} or status >= 500 or number in (errno.EIO, errno.EBUSY, errno.EREMOTEIO):
        return "away"
    return "other"
