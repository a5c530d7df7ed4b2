"""Files of other projects in torch's folder of this user. They are used only if their content is the published one."""

import os
import stat
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.files import file_digest


def published_path(url: str) -> Path:
    """Return where torch keeps the file of this address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def published_file(url: str, sha256: str) -> Path:
    """Return the file of this address; download it if it is not there. sha256: of its content, or the first digits.

    Raises UserError if its content is another one, and errors of the network.
    """
    file = published_path(url)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        # A download gets its name when it is whole and has this hash.
        torch.hub.download_url_to_file(url, str(file), sha256, progress=False)
    if not file_digest(file).startswith(sha256):
        raise UserError(f"{file}: its SHA-256 is not the published {sha256[:8]}…. Remove it to download it again")
    return file


def require_own(folder: Path) -> None:
    """Raise UserError if somebody else can change the code in a folder. An absent folder is fine."""
    for path in (folder, *folder.rglob("*")):
        if path.exists() and (path.stat().st_uid not in (os.getuid(), 0) or path.stat().st_mode & stat.S_IWOTH):
            raise UserError(f"{path}: others can change this code. Remove {folder} to download it again")
