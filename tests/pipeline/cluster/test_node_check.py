"""Whether a node can run a sweep's trials, and what is said if not."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster.node_check import PACKAGES, Answers, Questions, describe, examine, misfits
from pipeline.config.compute import ComputeConfig
from pipeline.processes import this_host


@pytest.fixture
def asked(tmp_path: Path) -> Questions:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials/mark").touch()
    (tmp_path / "data").mkdir()
    places = (str(tmp_path / name) for name in ("data", "cache"))
    store = f"sqlite:///{tmp_path}/mlflow.db"
    compute = ComputeConfig(device="cpu")
    return Questions(compute, str(tmp_path / "trials"), "", "mark", *places, store, this_host())


@pytest.fixture
def answers(asked: Questions) -> Answers:
    before = dict(os.environ)
    try:
        return examine(asked)
    finally:
        os.environ.update(before)


def test_this_machine_fits_itself(asked: Questions, answers: Answers) -> None:
    assert misfits(answers, asked, 0.0) == []
    assert abs(answers.clock - time.time()) < 60
    assert answers.machine and "127.0.0.3" in describe("127.0.0.3", answers.machine, answers.disk_gb)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "3.9.1"}, "Python 3.9.1"),
        ({"packages": {**dict.fromkeys(PACKAGES, ""), "torch": "1.0"}}, "torch 1.0"),
        ({"fault": "compute.device=cuda: the driver is too old"}, "driver is too old"),
        ({"sees_mark": False}, "does not share"),
        ({"sees_data": False}, "paths.cache"),
        ({"address_fault": "s3://bucket: no such bucket"}, "s3://bucket"),
        ({"disk_gb": 0.2}, "0.2 GB free"),
        ({"store_fault": "http://head:5000 does not answer (Connection refused)"}, "http://head:5000"),
    ],
)
def test_each_misfit_is_named(asked: Questions, answers: Answers, change: dict[str, object], said: str) -> None:
    found = misfits(replace(answers, **change), asked, 0.0)  # pyright: ignore[reportArgumentType]
    assert any(said in reason for reason in found), found


def test_clocks_that_differ_by_more_than_leases_allow_are_named(asked: Questions, answers: Answers) -> None:
    assert misfits(answers, asked, -20.0) == []
    assert misfits(answers, asked, -90.0) == ["its clock differs by -90 s"]


def test_a_store_in_a_file_of_another_machine_is_named_with_the_mend(asked: Questions) -> None:
    elsewhere = replace(asked, host="another")
    (reason,) = [reason for reason in misfits(examine(elsewhere), elsewhere, 0.0) if "store" in reason]
    assert "just server" in reason


def test_a_server_that_is_away_and_a_folder_that_is_not_shared_are_named(asked: Questions) -> None:
    other = replace(asked, store="http://127.0.0.1:9", trials=f"{asked.trials}/elsewhere")
    found = "; ".join(misfits(examine(other), other, 0.0))
    assert "http://127.0.0.1:9 does not answer" in found and "does not share" in found
