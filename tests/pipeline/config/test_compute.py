"""Which cluster trials run on: that of the settings, else that of the environment, else none."""

import pytest

from pipeline.config.compute import ComputeConfig, cluster_address, cluster_setting


@pytest.mark.parametrize(
    ("setting", "variable", "named"),
    [
        ("", None, ""),
        ("", "", ""),
        ("", "local", ""),
        ("", "one:6379", "RAY_ADDRESS=one:6379"),
        ("two:6379", "one:6379", "compute.cluster=two:6379"),
        ("two:6379", None, "compute.cluster=two:6379"),
    ],
)
def test_the_cluster_of_the_settings_comes_before_that_of_the_environment(
    setting: str, variable: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    compute = ComputeConfig(cluster=setting)
    assert cluster_setting(compute) == named
    assert cluster_address(compute) == named.partition("=")[2]
