"""Where all nodes of a cluster find the trials: in a folder that they share, or at a server that speaks S3."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import RayNodes, ray_nodes
from s3_server import BUCKET, S3Server, s3_server, use

from pipeline.cluster.code_bundle import PARTS
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[2]
SECONDS_AWAY = 5.0


@dataclass(frozen=True)
class SharedFolder:
    """A folder that each node sees, as it sees the code."""

    folder: Path

    @property
    def setting(self) -> str:
        return f"paths.trials={self.folder}"

    def nodes(self, *addresses: str) -> AbstractContextManager[RayNodes]:
        return ray_nodes(*addresses, python_path=str(ROOT))

    def saved(self) -> list[str]:
        """The trials that have a checkpoint there."""
        return [file.parent.name for file in self.folder.glob("*/last.pt")]

    def restart(self) -> None:
        """A folder is always there."""


@dataclass(frozen=True)
class AtS3:
    """Folders of a bucket. The nodes have no folder in common: not the code, not the sweep's, not the caches."""

    server: S3Server
    hidden: tuple[Path, ...]
    setting: str = f"paths.trials=s3://{BUCKET}/trials"

    def nodes(self, *addresses: str) -> AbstractContextManager[RayNodes]:
        return ray_nodes(*addresses, hidden=self.hidden)

    def saved(self) -> list[str]:
        """The trials that have a checkpoint there."""
        objects = Store(f"s3://{BUCKET}/trials").objects()
        return [name.partition("/")[0] for name in objects if name.endswith("/last.pt")]

    def restart(self) -> None:
        """Kill the server. Start it again after a while, with its objects."""
        self.server.kill()
        time.sleep(SECONDS_AWAY)
        self.server.start()


@contextmanager
def at_s3(folder: Path, *sweeps: Path) -> Iterator[AtS3]:
    """Serve an empty bucket while the body runs. folder: keeps its objects. sweeps: folders that no node sees."""
    caches = Path.home() / ".cache"
    caches.mkdir(exist_ok=True)
    with s3_server(folder) as server, pytest.MonkeyPatch.context() as patch:
        use(patch, server.port)
        yield AtS3(server, (*sweeps, caches, *(ROOT / part for part in PARTS)))
