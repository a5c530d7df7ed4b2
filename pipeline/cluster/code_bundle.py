"""The code that a sweep takes to the nodes of a cluster: what runs here, also what is not committed."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.environment import process_folder

ROOT = Path(__file__).parents[2]
# What a trial runs, and what a command on the cluster reads.
PARTS = ("models", "pipeline", "analysis", "sweeps")


@dataclass(frozen=True)
class CodeBundle:
    """A folder with a copy of the code, and the hash of its content."""

    folder: Path
    digest: str


@contextmanager
def code_bundle() -> Iterator[CodeBundle]:
    """Copy the code that git knows or would add, or all code where there is no repository, for the body."""
    with tempfile.TemporaryDirectory(dir=process_folder()) as folder:
        digest = hashlib.sha256()
        for name in sorted(code_files()):
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            digest.update(f"{name}\0{hashlib.sha256(target.read_bytes()).hexdigest()}\n".encode())
        yield CodeBundle(Path(folder), digest.hexdigest()[:12])


def code_files() -> list[str]:
    """Return the files of the code, relative to the project's folder."""
    asked = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS]
    with suppress(FileNotFoundError):  # git is not installed
        known = subprocess.run(asked, capture_output=True, text=True, check=False)
        if known.returncode == 0 and known.stdout:
            return [name for name in known.stdout.split("\0") if name and (ROOT / name).is_file()]
    found = [file for part in PARTS for file in (ROOT / part).rglob("*") if file.is_file()]
    return [file.relative_to(ROOT).as_posix() for file in found if "__pycache__" not in file.parts]
