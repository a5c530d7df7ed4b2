"""Three nodes without a common folder: code, data and checkpoints reach them, also past an outage of the store."""

import shutil
import time
from pathlib import Path

import pytest
import yaml
from clusters import ray_nodes
from faults import SWEEP, assert_as_undisturbed, assert_each_trial_once, results, start, trials, until
from postgres import PASSWORD, postgres
from served import served

from analysis.records.names import Tag
from pipeline.cluster.code_bundle import PARTS
from pipeline.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("drawn")]
ROOT = Path(__file__).parents[2]
ADDRESSES = ("127.0.0.3", "127.0.0.4", "127.0.0.5")
# Trials of seconds.
TINY = yaml.safe_load(SWEEP)["base"]


def hidden_folders(pair: Path) -> list[Path]:
    """The folder of the sweep, the caches of the user and the code: all that a node could share with the sweep."""
    caches = Path.home() / ".cache"
    caches.mkdir(exist_ok=True)
    return [pair, caches, *(ROOT / part for part in PARTS)]


def test_ablation_negatives_on_three_nodes_that_share_nothing_has_the_table_of_one_machine(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3_server import BUCKET, Proxy, make_bucket, s3_server, use

    shutil.copy(ROOT / "sweeps/ablation_negatives.yaml", pair / "sweeps")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    alone = start("sweep", "ablation_negatives", *TINY, "seeds=[0]", "tracking.uri=sqlite:///alone.db",
                  "paths.trials=alone", "paths.results=alone_results")  # fmt: skip
    assert alone.wait(300) == 0
    expected = results(Path("alone_results/ablation_negatives/stripes"))
    with postgres() as database, s3_server() as s3_port:
        make_bucket(s3_port)
        proxy = Proxy(s3_port)
        use(monkeypatch, proxy.port)
        server_folder = pair.parent / f"{pair.name}_server"
        with (
            served(server_folder, f"--store={database.uri}") as server,
            ray_nodes(*ADDRESSES, hidden=hidden_folders(pair)) as nodes,
        ):
            given = [*TINY, "seeds=[0]", f"paths.trials=s3://{BUCKET}/trials", f"tracking.uri={server.uri}"]
            sweep = start("sweep", "ablation_negatives", *given, **nodes.variables)
            objects = Store(f"s3://{BUCKET}/trials").objects
            until(lambda: sweep.poll() is not None or any(name.endswith("last.pt") for name in objects()))
            proxy.go_away()
            time.sleep(5)
            proxy.come_back()
            said, errors = sweep.communicate(timeout=400)
            assert sweep.returncode == 0, said + errors
            assert_as_undisturbed(results(Path("results/ablation_negatives/stripes")), expected)
            assert_each_trial_once(server.uri)
            assert {run.data.tags[Tag.NODE] for run in trials(server.uri)} == set(ADDRESSES)
        assert list(server_folder.rglob("sweep.json")), "files of runs come through the server"
    assert not (pair / "trials").exists()
