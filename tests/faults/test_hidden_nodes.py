"""Nodes without a common folder: code, data and checkpoints reach them, also past a restart of the object store."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from faults import SWEEP, assert_as_undisturbed, assert_each_trial_once, results, start, trials, until
from postgres import PASSWORD, postgres
from served import served

from analysis.records.names import Tag

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("drawn")]
ROOT = Path(__file__).parents[2]
ADDRESSES = ("127.0.0.3", "127.0.0.4", "127.0.0.5")
# Trials of seconds.
TINY = yaml.safe_load(SWEEP)["base"]


@pytest.mark.parametrize("addresses", [ADDRESSES[:2], ADDRESSES], ids=["two", "three"])
def test_ablation_negatives_on_nodes_that_share_nothing_has_the_table_of_one_machine(
    addresses: Sequence[str], pair: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trial_places import at_s3

    shutil.copy(ROOT / "sweeps/ablation_negatives.yaml", pair / "sweeps")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    alone = start("sweep", "ablation_negatives", *TINY, "seeds=[0]", "tracking.uri=sqlite:///alone.db",
                  "paths.trials=alone", "paths.results=alone_results")  # fmt: skip
    assert alone.wait(300) == 0
    expected = results(Path("alone_results/ablation_negatives/stripes"))
    server_folder = tmp_path_factory.mktemp("server")
    with postgres() as database, at_s3(tmp_path_factory.mktemp("s3"), pair) as place:
        with (
            served(server_folder, f"--store={database.uri}") as server,
            place.nodes(*addresses) as nodes,
        ):
            given = [*TINY, "seeds=[0]", place.setting, f"tracking.uri={server.uri}"]
            sweep = start("sweep", "ablation_negatives", *given, **nodes.variables)
            until(lambda: sweep.poll() is not None or place.saved())
            place.restart()
            said, errors = sweep.communicate(timeout=400)
            assert sweep.returncode == 0, said + errors
            assert_as_undisturbed(results(Path("results/ablation_negatives/stripes")), expected)
            assert_each_trial_once(server.uri)
            assert {run.data.tags[Tag.NODE] for run in trials(server.uri)} == set(addresses)
        assert list(server_folder.rglob("sweep.json")), "files of runs come through the server"
    assert not (pair / "trials").exists()
