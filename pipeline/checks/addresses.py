"""Check the addresses that settings name, before a sweep relies on them: trials, results, images, the Ray cluster."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pipeline.checks.ray_address import check_ray
from pipeline.config.compose import compose_surroundings
from pipeline.config.compute import cluster_setting
from pipeline.config.schema import Config, FolderConfig
from pipeline.errors import UserError
from pipeline.storage.address import is_address
from pipeline.storage.probe import probe, probe_reading


def address_faults(config: Config) -> Mapping[str, str]:
    """Return for each setting that is an address why it does not work, '' if it does. Takes 8 s at most for each."""
    paths = config.paths
    written = {"paths.trials": paths.trials, "paths.results": paths.results}
    faults = {name: probe(place) for name, place in written.items() if is_address(place)}
    if isinstance(config.data, FolderConfig) and is_address(config.data.root):
        faults["data.root"] = probe_reading(config.data.root)
    return faults


def require_addresses(overrides: Sequence[str]) -> None:
    """Raise UserError, with a line for each, if the settings name addresses that do not work.

    Faults of the settings themselves are left to the plan.
    """
    faults: Mapping[str, str] = {}
    if any("://" in text for text in overrides):
        with suppress(UserError):
            faults = address_faults(compose_surroundings(overrides))
    if found := [f"{name}={fault}." for name, fault in faults.items() if fault]:
        raise UserError(*found)


def require_cluster(overrides: Sequence[str]) -> None:
    """Raise UserError if the settings, or RAY_ADDRESS, name a Ray cluster that does not let this process in.

    Faults of the settings themselves are left to the plan.
    """
    setting = ""
    if "RAY_ADDRESS" in os.environ or any("compute.cluster" in text for text in overrides):
        with suppress(UserError):
            setting = cluster_setting(compose_surroundings(overrides).compute)
    if setting and (found := check_ray(setting)).status == "fault":
        raise UserError(str(found))
